"""The systemd unit of a system service: `docker run`, attached, of one digest-pinned image. Pure."""

from __future__ import annotations

import hashlib
import re
import signal

from argosy.config import ServiceSettings, Settings, VolumeSettings
from argosy.model import Image
from argosy.rendering import render
from argosy.systemd import Expanded, command_line

DOCKER = "/usr/bin/docker"
STOP_MARGIN_SECONDS = 10
"""What systemd waits beyond the grace period, for Docker's own work, before it kills the docker client."""

REVISION_LABEL = "argosy.revision"
_LINUX_RTMIN = 34


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
        stop=_quietly("stop", container),
        stop_status=exit_status(entry.stop.signal),
        stop_timeout_seconds=entry.stop.grace_seconds + STOP_MARGIN_SECONDS,
    )


def run_argv(settings: Settings, service: str, image: Image, revision: str) -> list[str]:
    """Return the argv of `docker run`. Docker's client gets the registry's password by `--config`, so that it can
    pull the image again should somebody have pruned it."""
    system, entry = settings.system, settings.services[service]
    argv = [DOCKER, "--config", f"/etc/{system}/secrets/registry", "run", "--rm"]
    argv += ["--name", container_name(system, service), "--log-driver", "none"]
    argv += ["--stop-signal", entry.stop.signal, "--stop-timeout", str(entry.stop.grace_seconds)]
    argv += _labels(system, service, image, revision)
    argv += _environment(system, service, entry, image)
    if entry.memory_megabytes:
        argv += ["--memory", f"{entry.memory_megabytes}m"]
    if entry.network != "bridge":
        argv += ["--network", entry.network]
    for port in entry.ports:
        argv += ["--publish", port]
    for name in entry.secrets:
        argv += ["--mount", _secret_mount(system, name)]
    for volume in entry.volumes:
        argv += ["--volume", _volume(volume)]
    return [*argv, Expanded(f"${{REGISTRY}}/{image.repository}@{image.digest}"), *entry.command]


def _labels(system: str, service: str, image: Image, revision: str) -> list[str]:
    labels = {"system": system, "service": service, "version": image.version, "revision": revision}
    return [word for name, value in labels.items() for word in ("--label", f"argosy.{name}={value}")]


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
    name = signal_name.removeprefix("SIG")
    if name.isdigit():
        return str(128 + int(name))
    realtime = re.fullmatch(r"RTMIN(?:\+(\d{1,2}))?", name)
    if realtime:
        return str(128 + _LINUX_RTMIN + int(realtime.group(1) or 0))
    number = getattr(signal, f"SIG{name}", None)
    return str(128 + int(number)) if isinstance(number, signal.Signals) else ""
