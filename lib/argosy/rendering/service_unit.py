"""Pure. The systemd unit of a system service: `docker run`, attached, of one digest-pinned image."""

from __future__ import annotations

import hashlib
from math import ceil

from argosy.config.loading import EndpointSettings, HttpCheck, ServiceSettings, Settings, VolumeSettings
from argosy.model import Image
from argosy.rendering.rendering import render
from argosy.rendering.systemd import Expanded, command_line
from argosy.schema import labels
from argosy.schema.inspection import parse_signal

DOCKER = "/usr/bin/docker"
CURL = "/usr/bin/curl"
START_SECONDS = 120
"""How long a unit may take at least to have its container running, as the installer waits for it."""
STOP_MARGIN_SECONDS = 10
"""What systemd waits beyond the grace period, for Docker's own work, before it kills the docker client."""

DEREGISTER_SECONDS = 5
"""How long a planned stop waits at most for the routers of all machines to have left the instance."""

DEFAULT_WEIGHT = 100


def marker(system: str) -> str:
    """Return the first line of a service's unit, by which the installer knows the files that it may remove."""
    return f"# argosy: a service of the system {system}"


def unit_name(system: str, service: str) -> str:
    return f"{system}-{service}.service"


def container_name(system: str, service: str) -> str:
    return f"{system}-{service}"


def render_unit(settings: Settings, service: str, image: Image) -> tuple[str, str]:
    """Return the unit file of `service`, and its revision: a hash of all that it says.

    The unit gives its container the revision as a label, so that a machine can be asked whether what runs is what
    the unit on its disk describes.
    """
    revision = hashlib.sha256(_render(settings, service, image, "").encode()).hexdigest()[:16]
    return _render(settings, service, image, revision), revision


def _render(settings: Settings, service: str, image: Image, revision: str) -> str:
    system, entry = settings.system, settings.services[service]
    container = container_name(system, service)
    required = [unit_name(system, name) for name in entry.requires]
    return render(
        "systemd/service.service.j2",
        marker=marker(system),
        system=system,
        container=container,
        description=f"{service} of {system}",
        wants=["docker.service", "network-online.target", *required],
        after=["docker.service", "network-online.target", f"{system}-etcd.service", *required],
        remove_leftover=_quietly("rm --force", container),
        read_settings=command_line(_read_settings(system, service, entry)) if entry.settings else "",
        run=command_line(run_argv(settings, service, image, revision)),
        deregister=_deregister(system, container) if entry.discovery else "",
        stop=_quietly("stop", container),
        stop_status=exit_status(entry.stop.signal),
        start_timeout_seconds=max(START_SECONDS, ceil(entry.check.deadline_seconds) if entry.check else 0),
        stop_timeout_seconds=entry.stop.grace_seconds
        + STOP_MARGIN_SECONDS
        + (2 * DEREGISTER_SECONDS if entry.discovery else 0),
    )


def run_argv(settings: Settings, service: str, image: Image, revision: str) -> list[str]:
    """Return the argv of `docker run`. Docker's client gets the registry's password by `--config`, so that it can
    pull the image again should somebody have pruned it."""
    system, entry = settings.system, settings.services[service]
    argv = [DOCKER, "--config", f"/etc/{system}/secrets/registry", "run", "--rm"]
    argv += ["--name", container_name(system, service), "--log-driver", "none"]
    argv += ["--stop-signal", entry.stop.signal, "--stop-timeout", str(entry.stop.grace_seconds)]
    argv += _labels(system, service, entry, image, revision)
    argv += _environment(system, service, entry, image)
    if entry.memory_megabytes:
        argv += ["--memory", f"{entry.memory_megabytes}m"]
    if entry.open_files:
        argv += ["--ulimit", f"nofile={entry.open_files}"]
    if entry.capabilities is not None:
        argv += ["--cap-drop", "ALL"]
        argv += [word for name in entry.capabilities for word in ("--cap-add", name)]
    if entry.network != "bridge":
        argv += ["--network", entry.network]
    for port in entry.ports:
        argv += ["--publish", port]
    for name in entry.secrets:
        argv += ["--mount", _secret_mount(system, name)]
    for volume in entry.volumes:
        argv += ["--volume", _volume(volume)]
    return [*argv, Expanded(f"${{REGISTRY}}/{image.repository}@{image.digest}"), *entry.command]


def _labels(system: str, service: str, entry: ServiceSettings, image: Image, revision: str) -> list[str]:
    pairs = {labels.SYSTEM: system, labels.UNIT: service, labels.VERSION: image.version, labels.REVISION: revision}
    if entry.discovery:
        check = entry.discovery.check or _router_check(entry, entry.discovery.port)
        pairs |= discovery_labels(service, entry.discovery, check)
    return [word for name, value in pairs.items() for word in ("--label", f"{name}={value}")]


def discovery_labels(service: str, found: EndpointSettings, check: str) -> dict[str, str]:
    """Return what the agent registers a container by (docs/discovery.md). `check`: how routers ask it."""
    pairs = {labels.SERVICE: service, labels.PORT: str(found.port), labels.CHECK: check}
    if found.scheme:
        pairs[labels.SCHEME] = found.scheme
    if found.host_port:
        pairs[labels.HOST_PORT] = str(found.host_port)
    if found.private:
        pairs[labels.PRIVATE] = "true"
    if found.sni:
        pairs[labels.SNI] = ",".join(found.sni)
    if found.weight != DEFAULT_WEIGHT:
        pairs[labels.WEIGHT] = str(found.weight)
    return pairs


def http_check(http: HttpCheck) -> str:
    """Return a check by http as routers make it."""
    return f"http {http.path} {','.join(map(str, http.status))}"


def _router_check(entry: ServiceSettings, port: int) -> str:
    """Return the service's own check as routers make it, if it asks `port` of the container, else tcp."""
    http = entry.check.http if entry.check else None
    if http is None or _inside(entry, http.port) != port:
        return "tcp"
    return http_check(http)


def _inside(entry: ServiceSettings, port: int) -> int:
    """Return the container's port behind `port` of the machine."""
    for published in entry.ports:
        outside, inside = published.partition("/")[0].split(":")[-2:]
        if int(outside) == port:
            return int(inside)
    return port


def _deregister(system: str, container: str) -> str:
    """Return the command line that takes the instance out of every router before it is stopped. Where no agent is
    there to ask, it fails at once."""
    url = f"http://agent/deregister/{container}?seconds={DEREGISTER_SECONDS}"
    argv = [CURL, "--silent", "--show-error", "--max-time", str(2 * DEREGISTER_SECONDS), "--output", "/dev/null"]
    return command_line([*argv, "--unix-socket", f"/run/{system}/agent/agent.sock", "--request", "POST", url], "-")


def _environment(system: str, service: str, entry: ServiceSettings, image: Image) -> list[str]:
    ours = {
        "ARGOSY_SYSTEM": system,
        "ARGOSY_SERVICE": service,
        "ARGOSY_VERSION": image.version,
        "ARGOSY_MACHINE": Expanded("${MACHINE_NAME}"),
        "ARGOSY_ADDRESS": Expanded("${MACHINE_ADDRESS}"),
    }
    words = []
    for name, value in {**ours, **entry.env}.items():
        assignment = f"{name}={value}"
        words += ["--env", Expanded(assignment) if isinstance(value, Expanded) else assignment]
    for path in entry.env_files:
        words += ["--env-file", path]
    if entry.settings:
        words += ["--env-file", _settings_file(system, service)]
    return words


def _settings_file(system: str, service: str) -> str:
    return f"/run/{system}/{service}.env"


def _read_settings(system: str, service: str, entry: ServiceSettings) -> list[str]:
    """Return the argv that reads the service's settings from etcd into its `_settings_file`."""
    pairs = [f"{variable}={key}" for variable, key in entry.settings.items()]
    return [f"/opt/{system}/bin/service-settings", service, *pairs]


def _secret_mount(system: str, name: str) -> str:
    """Return a bind mount that fails when the file lacks (`--volume` would make a folder of its name)."""
    return f"type=bind,source=/etc/{system}/secrets/{name},target=/run/secrets/{name},readonly"


def _volume(volume: VolumeSettings) -> str:
    return f"{volume.source}:{volume.target}" + (":ro" if volume.read_only else "")


def _quietly(docker_command: str, container: str) -> str:
    """Return a command line whose failure says nothing: often there is no such container, any more or yet."""
    script = f"exec {DOCKER} {docker_command} {container} >/dev/null 2>&1"
    return command_line(["/bin/sh", "-c", script], prefix="-")


def exit_status(signal_name: str) -> str:
    """Return the status with which `docker run` ends when the container's program died of this signal, 128 + its
    number, as SuccessExitStatus= wants it; empty for a name that we don't know (Docker may)."""
    number = parse_signal(signal_name)
    return str(128 + number) if number else ""
