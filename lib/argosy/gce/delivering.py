"""The secrets of servers outside the cluster: over ssh, to a server whose host key is known, as files of mode 0400.

They are in no argument, no metadata and no log. The marker comes last: the server's container waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused
from argosy.fanout import joined
from argosy.gce.listing import Listed
from argosy.gce.plan.server_bodies import Server
from argosy.gce.plan.server_config import REGISTRY_FILES, secret_names, secrets_folder
from argosy.gce.reaching import reached
from argosy.report import Report
from argosy.secrets import sources
from argosy.secrets.deciding import Difference, Effect
from argosy.secrets.sources import Source
from argosy.secrets.syncing import Agree, refuse_taking
from argosy.secrets.value import Secret
from argosy.ssh.host import Host

MARKER = ".complete"


def deliver_all(
    settings: Settings,
    servers: Sequence[Server],
    listed: Sequence[Listed],
    report: Report,
    agree: Agree = refuse_taking,
) -> None:
    """Bring every server that waits for secrets its own. Idempotent.

    What a server holds is never made anew, and replaced only when `agree` lets it be. Raises Refused with nothing
    changed on any, HostsFailed and its kin.
    """
    waiting = {server.name: server for server in servers if secret_names(server)}
    if not waiting:
        return
    if settings.gce.emulator:
        for name, server in waiting.items():
            secrets_of(settings, server)
            report(name, "secrets: an emulator's server gets none, unchanged")
        return
    running = [server for server in listed if server.name in waiting and server.running]
    with reached(settings, running) as hosts:

        def look(host: Host) -> dict[str, str]:
            host.wait_for_login(settings.gce.boot_deadline_seconds)
            return _held(host, settings, waiting[host.name])

        held = joined(hosts.each(look, what="Looking at secrets"))
        for name, server in waiting.items():
            refuse_lost(settings, server, held.get(name, {}))
        secrets = {name: secrets_of(settings, server) for name, server in waiting.items()}
        taking = [
            Difference(file, Effect.REPLACES, (name,))
            for name, files in held.items()
            for file, digest in files.items()
            if file in secrets[name] and secrets[name][file].sha256 != digest
        ]
        if taking:
            agree(taking)
        joined(
            hosts.each(
                lambda host: deliver(host, settings, waiting[host.name], secrets[host.name], report),
                what="Delivering secrets",
            )
        )


def refuse_lost(settings: Settings, server: Server, held: Collection[str]) -> None:
    """Raise Refused when one of these files of the server would be made anew here."""
    for name, source in _own_sources(settings, server).items():
        if name in held and sources.will_be_made(source):
            raise Refused(
                f"{source.path} is not here, and {server.name} has it; it is not made anew: copy it from the checkout "
                "that made it"
            )


def _held(host: Host, settings: Settings, server: Server) -> dict[str, str]:
    return _digests(host, secrets_folder(settings), secret_names(server))


def _own_sources(settings: Settings, server: Server) -> dict[str, Source]:
    """Return where the secrets of the server's container are from, by file name."""
    container = server.type.container
    found: dict[str, Source] = {}
    for name, reference in (container.secrets if container else {}).items():
        key = f"gce.types.{server.type_name}.container.secrets.{name}"
        own = settings.secrets_path / "gce" / server.name / name
        path = settings.root / reference.file if reference.file else own
        made_here = 0 if reference.file else reference.generate_bytes
        found[name] = Source(key, path, tuple(reference.command), made_here)
    return found


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
    found: dict[str, Secret] = {}
    for name, source in _own_sources(settings, server).items():
        sources.ensure(settings, source)
        found[name] = sources.read(settings, source)
    return found | (_registry_secrets(settings, server) if server.type.serves_registry else {})


def _registry_secrets(settings: Settings, server: Server) -> dict[str, Secret]:
    from argosy.registry.container import INSIDE_PORT, ensure_files

    if not settings.registry.address:
        where = f"{server.address}:{INSIDE_PORT}"
        raise ConfigError(f"set it to {where}, which is {server.name}, then the same command again", "registry.address")
    files = ensure_files(settings, [server.address])
    return {name: sources.read_file(settings, files[name], f"registry.{name}") for name in REGISTRY_FILES}


def _digests(host: Host, folder: str, names: Sequence[str]) -> dict[str, str]:
    shown = host.run(["sha256sum", "--", *(f"{folder}/{name}" for name in names)], sudo=True, check=False)
    words = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    return {path.rpartition("/")[2]: digest for digest, path in (pair for pair in words if len(pair) == 2)}
