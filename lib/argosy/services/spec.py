"""Pure. The Swarm service of one generation of a scheduled service: ServiceSpec of the Engine API v1.41.

https://docs.docker.com/engine/api/v1.41/#tag/Service/operation/ServiceCreate

Ports are published on the machine that the instance runs on (host mode), where the machine's agent finds and registers
them; no network is attached, so instances are on the machine's bridge as system services are, and there is neither
a virtual address (endpoint mode dnsrr) nor the ingress mesh.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.config.loading import ScheduledSettings, Settings, VolumeSettings
from argosy.config.scheduled import MACHINE, Constraint
from argosy.config.scheduled_rules import reserved_ports
from argosy.engine.swarm_model import NANOSECONDS
from argosy.errors import ConfigError
from argosy.rendering.service_unit import discovery_labels, http_check
from argosy.schema.declared import parse_labels
from argosy.schema.labels import GENERATION, HOME_LABEL, MACHINE_LABEL, SCHEDULED, SYSTEM, VERSION
from argosy.schema.values import DEFAULT_WEIGHT
from argosy.services.record import Generation

MEGABYTE = 1024 * 1024
APART_PORT = 9
"""The container's port behind those that only keep two services apart: discard, where nothing listens."""
FAILURES = 3
"""Checks that fail in a row until an instance counts as ill."""
LOG = {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}}
"""What `service.journal` reads through Swarm. It goes with the container."""
HELD = "argosy.held"
"""A label of a service that was created and is not to run yet."""
NOWHERE = "node.id == nowhere"


@dataclass(frozen=True, slots=True)
class Routing:
    """How the instances of a generation are routed to when it is in charge. `attributes`: of the service's own keys;
    None where it leaves them alone."""

    weight: int = DEFAULT_WEIGHT
    attributes: Mapping[str, str] | None = None


def service_name(system: str, name: str, generation: int) -> str:
    """Return the name of a generation's service in Swarm; its containers are NAME.SLOT.TASK."""
    return f"{system}-{name}-{generation}"


def service_labels(system: str, name: str = "", generation: int | None = None) -> dict[str, str]:
    """Return the labels of the services in Swarm: of this system, of one scheduled service, of one generation."""
    labels = {SYSTEM: system}
    if name:
        labels[SCHEDULED] = name
    if generation is not None:
        labels[GENERATION] = str(generation)
    return labels


def render_spec(
    settings: Settings, name: str, generation: Generation, replicas: int | None, homes: Collection[str] = ()
) -> dict[str, Any]:
    """Return the ServiceSpec of a generation. `replicas`: how many instances, ignored for a global service; `homes`:
    the machines that have its volumes, if any have them yet."""
    entry = generation.definition
    labels = service_labels(settings.system, name, generation.number)
    mode: dict[str, Any] = {"Global": {}} if entry.everywhere else {"Replicated": {"Replicas": replicas or 0}}
    spec = {
        "Name": service_name(settings.system, name, generation.number),
        "Labels": labels,
        "TaskTemplate": {
            "ContainerSpec": _container(settings, name, generation),
            "Resources": _resources(entry),
            "RestartPolicy": _restart(entry),
            "Placement": _placement(entry),
            "LogDriver": LOG,
            "ForceUpdate": 0,
            "Networks": [],
        },
        "Mode": mode,
        "EndpointSpec": {"Mode": "dnsrr", "Ports": _ports(name, generation)},
    }
    return at_home(spec, name, entry, homes) if entry.keeps_home and homes else spec


def at_home(
    spec: Mapping[str, Any], name: str, definition: ScheduledSettings, homes: Collection[str]
) -> dict[str, Any]:
    """Return a service's spec by which its instances stay on the machines `homes`; without any, they are where it fits.

    Swarm leaves instances alone of which no more than the placement changes, and which fit it (swarmkit,
    orchestrator.IsTaskDirty). Of several machines none takes the instances of another, whose volume it does not have.
    """
    task = spec["TaskTemplate"]
    placement = dict(task.get("Placement") or {})
    home = home_constraint(name)
    constraints = [*(text for text in placement.get("Constraints") or () if text != home), *([home] if homes else [])]
    replicas = spec["Mode"].get("Replicated", {}).get("Replicas") or 0
    shared = -(-replicas // len(homes)) if len(homes) > 1 else 0
    placement |= {"Constraints": constraints, "MaxReplicas": definition.max_per_machine or shared}
    return {**spec, "TaskTemplate": {**task, "Placement": {key: found for key, found in placement.items() if found}}}


def home_constraint(name: str) -> str:
    return f"node.labels.{HOME_LABEL}{name} == true"


def with_replicas(spec: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Return a replicated service's spec with another number of instances; nothing else of it changes."""
    return {**spec, "Mode": {"Replicated": {"Replicas": replicas}}}


def held_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of the same service while nothing of it runs. One that nobody ever lets run does no harm."""
    labels = {**spec["Labels"], HELD: "true"}
    if "Replicated" in spec["Mode"]:
        return {**with_replicas(spec, 0), "Labels": labels}
    task, placement = spec["TaskTemplate"], spec["TaskTemplate"]["Placement"]
    nowhere = {**placement, "Constraints": [*placement.get("Constraints", ()), NOWHERE]}
    return {**spec, "Labels": labels, "TaskTemplate": {**task, "Placement": nowhere}}


def routing_of(settings: Settings, name: str, generation: Generation) -> Routing:
    """Return how the instances of a generation are routed to when it is in charge, as agents read its labels."""
    if generation.definition.discovery is None:
        return Routing()
    declared, problems = parse_labels(name, instance_labels(settings, name, generation))
    if declared is None:
        raise ConfigError("; ".join(map(str, problems)), f"scheduled.{name}.discovery")
    return Routing(int(declared.weight or DEFAULT_WEIGHT), declared.attributes)


def instance_labels(settings: Settings, name: str, generation: Generation) -> dict[str, str]:
    """Return the labels of a generation's containers."""
    entry = generation.definition
    labels = {SYSTEM: settings.system, VERSION: generation.image.version, GENERATION: str(generation.number)}
    if entry.discovery:
        http = entry.check.http if entry.check else None
        labels |= discovery_labels(
            name, entry.discovery, entry.discovery.check or (http_check(http) if http else "tcp")
        )
    return labels


def _container(settings: Settings, name: str, generation: Generation) -> dict[str, Any]:
    entry = generation.definition
    found: dict[str, Any] = {
        "Image": generation.image.reference,
        "Labels": instance_labels(settings, name, generation),
        "Env": _environment(settings.system, name, generation),
        "Mounts": [*(_secret(settings.system, secret) for secret in entry.secrets), *map(_mount, entry.volumes)],
        "StopSignal": entry.stop.signal,
        "StopGracePeriod": entry.stop.grace_seconds * NANOSECONDS,
    }
    if entry.entrypoint:
        found["Command"] = entry.entrypoint
    if entry.command:
        found["Args"] = entry.command
    if entry.check and entry.check.command:
        found["Healthcheck"] = {
            "Test": ["CMD", *entry.check.command],
            "Interval": _nanoseconds(settings.discovery.check_seconds),
            "Timeout": _nanoseconds(entry.check.timeout_seconds),
            "Retries": FAILURES,
            "StartPeriod": _nanoseconds(entry.check.deadline_seconds),
        }
    return found


def _environment(system: str, name: str, generation: Generation) -> list[str]:
    """Swarm fills in what stands in double braces, also what the user means to be just that."""
    ours = {
        "ARGOSY_SYSTEM": system,
        "ARGOSY_SERVICE": name,
        "ARGOSY_VERSION": _literal(generation.image.version),
        "ARGOSY_GENERATION": str(generation.number),
        "ARGOSY_MACHINE": "{{.Node.Hostname}}",
        "ARGOSY_SLOT": "{{.Task.Slot}}",
        "ARGOSY_INSTANCE": "{{.Task.Name}}",
    }
    given = {variable: _literal(value) for variable, value in generation.definition.env.items()}
    return [f"{variable}={value}" for variable, value in {**ours, **given}.items()]


def _literal(text: str) -> str:
    """Return what Swarm's templates turn into `text`. https://pkg.go.dev/text/template"""
    return text.replace("{{", '{{"{{"}}')


def _secret(system: str, name: str) -> dict[str, Any]:
    """The file that the machine has from the cluster's secrets folder; an instance does not start where it lacks."""
    return _bind(f"/etc/{system}/secrets/{name}", f"/run/secrets/{name}", read_only=True)


def _mount(volume: VolumeSettings) -> dict[str, Any]:
    source, target = _literal(volume.source), _literal(volume.target)
    if not volume.named:
        return _bind(source, target, volume.read_only)
    return {"Type": "volume", "Source": source, "Target": target, "ReadOnly": volume.read_only}


def _bind(source: str, target: str, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _resources(entry: ScheduledSettings) -> dict[str, Any]:
    return {
        "Limits": _amounts(entry.cpus, entry.memory_megabytes),
        "Reservations": _amounts(entry.reserve.cpus, entry.reserve.memory_megabytes),
    }


def _amounts(cpus: float, megabytes: int) -> dict[str, int]:
    found = {}
    if cpus:
        found["NanoCPUs"] = _nanoseconds(cpus)
    if megabytes:
        found["MemoryBytes"] = megabytes * MEGABYTE
    return found


def _restart(entry: ScheduledSettings) -> dict[str, Any]:
    return {
        "Condition": entry.restart.condition,
        "Delay": _nanoseconds(entry.restart.delay_seconds),
        "MaxAttempts": entry.restart.attempts,
        "Window": _nanoseconds(entry.restart.window_seconds),
    }


def _placement(entry: ScheduledSettings) -> dict[str, Any]:
    found: dict[str, Any] = {"Constraints": [_constraint(constraint) for constraint in entry.placed_by]}
    if entry.spread:
        found["Preferences"] = [{"Spread": {"SpreadDescriptor": _node_label(key)}} for key in entry.spread]
    if entry.max_per_machine:
        found["MaxReplicas"] = entry.max_per_machine
    return found


def _constraint(constraint: Constraint) -> str:
    return f"{_node_label(constraint.key)} {'==' if constraint.equal else '!='} {constraint.value}"


def _node_label(key: str) -> str:
    return f"node.labels.{MACHINE_LABEL if key == MACHINE else key}"


def _ports(name: str, generation: Generation) -> list[dict[str, Any]]:
    entry = generation.definition
    fixed = entry.fixed_ports
    ports = [_port(inside, outside, protocol) for outside, inside, protocol in fixed]
    if entry.discovery and not any(inside == entry.discovery.port and name == "tcp" for _, inside, name in fixed):
        ports.append(_port(entry.discovery.port, 0, "tcp"))
    apart = [port for other in entry.conflicts for port in reserved_ports(name, other, generation.number)]
    return [*ports, *(_port(APART_PORT, port, "udp") for port in sorted(apart))]


def _port(inside: int, outside: int, protocol: str) -> dict[str, Any]:
    """A port of the machine that the instance runs on; 0 lets Docker choose a free one."""
    return {"Protocol": protocol, "TargetPort": inside, "PublishedPort": outside, "PublishMode": "host"}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
