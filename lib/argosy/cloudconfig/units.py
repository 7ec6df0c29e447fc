"""Pure. The systemd units that a machine's cloud-config puts on it.

S-secrets.path        waits for the marker of complete secrets
S-secrets.service     checks them, then starts the next two
S-etcd.service        etcd, on members
S-installer.service   installs the release
S-swap.service        the swap file, where there is one
S-resolver.service    lets the machine ask its own dnsmasq for the local domain, at boot
S-resolver.path       starts it again when resolv.conf changes

The cluster's provider may add its own.
"""

from __future__ import annotations

from argosy.cloudconfig.files import has_swap
from argosy.config.loading import Settings
from argosy.model import Unit
from argosy.paths import Names
from argosy.rendering.rendering import render
from argosy.rendering.systemd import Expanded, command_line

ETCD_STOP_SECONDS = 30
ETCDCTL_START_SECONDS = 5
"""What a health check has beyond its request: to start a program in a container takes a while on a busy machine."""
KINDS = (
    "secrets.path",
    "secrets.service",
    "installer.service",
    "etcd.service",
    "swap.service",
    "resolver.path",
    "resolver.service",
)
"""All that a machine can have, whatever its settings are."""


def units(settings: Settings, names: Names, *, member: bool) -> tuple[Unit, ...]:
    """Return the units; `enabled` and `started` as the first boot needs them."""
    after_secrets = [f"{names.system}-etcd.service"] * member + [f"{names.system}-installer.service"]
    start = command_line(["/usr/bin/systemctl", "start", "--no-block", *after_secrets])
    made = [
        _unit(names, "secrets.path", enabled=True, started=True),
        _unit(names, "secrets.service", start=start),
        _unit(names, "installer.service", remove=_quietly(f"rm --force {names.system}-installer")),
    ]
    if member:
        made.append(_etcd(settings, names))
    if has_swap(settings):
        made.append(_unit(names, "swap.service", enabled=True, started=True, megabytes=settings.machine.swap_megabytes))
    if settings.discovery.enabled:
        made += [_unit(names, kind, enabled=True, started=True) for kind in ("resolver.service", "resolver.path")]
    return tuple(made)


def _etcd(settings: Settings, names: Names) -> Unit:
    """etcd is enabled but not started: at the first boot its secrets are not there yet."""
    container = f"{names.system}-etcd"
    return _unit(
        names,
        "etcd.service",
        enabled=True,
        pull=command_line([f"{names.programs}/pull-image", Expanded("${IMAGE}")]),
        run=command_line(_etcd_run(settings, names, container)),
        remove=_quietly(f"rm --force {container}"),
        stop=command_line(["/usr/bin/docker", "stop", f"--time={ETCD_STOP_SECONDS}", container], prefix="-"),
        stop_timeout_seconds=ETCD_STOP_SECONDS + 15,
    )


def _etcd_run(settings: Settings, names: Names, container: str) -> list[str]:
    """Return the argv that runs etcd: as root, who alone may read the keys, and without any capability."""
    seconds = settings.etcd.timeout_seconds
    health = [
        "etcdctl",
        f"--command-timeout={seconds:g}s",
        f"--endpoints=https://127.0.0.1:{settings.etcd.client_port}",
        f"--cacert={names.secrets}/ca.crt",
        f"--cert={names.secrets}/etcd-client.crt",
        f"--key={names.secrets}/etcd-client.key",
        "endpoint",
        "health",
    ]
    return [
        "/usr/bin/docker",
        "run",
        "--rm",
        f"--name={container}",
        "--network=host",
        "--user=0:0",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--security-opt=label=disable",
        "--read-only",
        "--log-driver=none",
        f"--label=argosy.system={names.system}",
        f"--env-file={names.config}/etcd.env",
        f"--volume={names.secrets}:{names.secrets}:ro",
        f"--volume={names.state}/etcd:/var/lib/etcd",
        f"--health-cmd={' '.join(health)}",
        "--health-interval=15s",
        f"--health-timeout={seconds + ETCDCTL_START_SECONDS:g}s",
        "--health-start-period=60s",
        "--entrypoint=etcd",
        Expanded("${IMAGE}"),
    ]


def _quietly(docker_words: str) -> str:
    """Return a command line whose failure says nothing: usually there is no such container."""
    return command_line(["/bin/sh", "-c", f"exec /usr/bin/docker {docker_words} >/dev/null 2>&1"], prefix="-")


def _unit(names: Names, kind: str, *, enabled: bool = False, started: bool = False, **values: object) -> Unit:
    content = render(f"systemd/{kind}.j2", names=names, system=names.system, **values)
    return Unit(f"{names.system}-{kind}", content, enabled, started)
