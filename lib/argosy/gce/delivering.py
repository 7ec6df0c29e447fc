"""The secrets of servers outside the cluster: over ssh, to a server whose host key is known, as files of mode 0400.

They are in no argument, no metadata and no log. The marker comes last: the server's container waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.config import Settings
from argosy.console import Report
from argosy.errors import ConfigError
from argosy.fanout import joined
from argosy.gce.server_bodies import Server
from argosy.gce.server_config import REGISTRY_FILES, secret_names, secrets_folder
from argosy.host import Host
from argosy.operations import secret_sources
from argosy.operations.gce.listing import Listed
from argosy.operations.gce.reaching import reached
from argosy.operations.secret_sources import Source
from argosy.secret import Secret

MARKER = ".complete"


def deliver_all(settings: Settings, servers: Sequence[Server], listed: Sequence[Listed], report: Report) -> None:
    """Bring every server that waits for secrets its own. Idempotent. Raises HostsFailed and its kin."""
    waiting = {server.name: server for server in servers if secret_names(server)}
    if not waiting:
        return
    secrets = {name: secrets_of(settings, server) for name, server in waiting.items()}
    if settings.gce.emulator:
        for name in waiting:
            report(name, "secrets: an emulator's server gets none, unchanged")
        return
    running = [it for it in listed if it.name in waiting and it.running]
    with reached(settings, running) as hosts:

        def one(host: Host) -> None:
            host.wait_for_login(settings.gce.boot_deadline_seconds)
            deliver(host, settings, waiting[host.name], secrets[host.name], report)

        joined(hosts.each(one, what="Delivering secrets"))


def deliver(host: Host, settings: Settings, server: Server, secrets: Mapping[str, Secret], report: Report) -> list[str]:
    """Write the files that differ, and the marker; return their names. A container that runs is started again."""
    folder = secrets_folder(settings)
    owner = str(server.type.container.user if server.type.container else 0)
    host.run(["mkdir", "-p", "-m", "0700", "--", folder], sudo=True)
    held = _digests(host, folder, list(secrets))
    changed = [name for name, secret in secrets.items() if held.get(name) != secret.sha256]
    for name in changed:
        host.put_bytes(secrets[name].reveal(), f"{folder}/{name}", mode=0o400, sudo=True)
    host.run(["chown", f"{owner}:{owner}", "--", *(f"{folder}/{name}" for name in secrets)], sudo=True)
    marked = host.run(["test", "-e", f"{folder}/{MARKER}"], sudo=True, check=False).ok
    if not marked:
        host.put_bytes(b"", f"{folder}/{MARKER}", mode=0o600, sudo=True)
    elif changed:
        host.run(["systemctl", "try-restart", f"{settings.system}-{server.type_name}.service"], sudo=True)
    report(server.name, f"secrets: {', '.join(changed)} written" if changed else "secrets: unchanged")
    return changed


def secrets_of(settings: Settings, server: Server) -> dict[str, Secret]:
    """Return the server's secrets by file name; those that may be made here are. Raises ConfigError for one missing."""
    container = server.type.container
    found: dict[str, Secret] = {}
    for name, reference in (container.secrets if container else {}).items():
        key = f"gce.types.{server.type_name}.container.secrets.{name}"
        if reference.file and reference.command:
            raise ConfigError("give either a file or a command, not both", key)
        own = settings.secrets_path / "gce" / server.name / name
        path = settings.root / reference.file if reference.file else own
        made_here = 0 if reference.file else reference.generate_bytes
        source = Source(key, path, tuple(reference.command), made_here)
        secret_sources.ensure(settings, source)
        found[name] = secret_sources.read(settings, source)
    return found | (_registry_secrets(settings, server) if server.type.serves_registry else {})


def _registry_secrets(settings: Settings, server: Server) -> dict[str, Secret]:
    from argosy.operations.registry.container import INSIDE_PORT, ensure_files

    if not settings.registry.address:
        where = f"{server.address}:{INSIDE_PORT}"
        raise ConfigError(f"set it to {where}, which is {server.name}, then the same command again", "registry.address")
    files = ensure_files(settings, [server.address])
    return {name: secret_sources.read_file(settings, files[name], f"registry.{name}") for name in REGISTRY_FILES}


def _digests(host: Host, folder: str, names: Sequence[str]) -> dict[str, str]:
    shown = host.run(["sha256sum", "--", *(f"{folder}/{name}" for name in names)], sudo=True, check=False)
    words = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    return {path.rpartition("/")[2]: digest for digest, path in (pair for pair in words if len(pair) == 2)}
