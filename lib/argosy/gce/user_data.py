"""What new servers boot with: made once their addresses are known, before they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from argosy import gce_record, inventory, ssh_keypair
from argosy.config import Settings
from argosy.console import Report
from argosy.gce import server_config
from argosy.gce.server_bodies import Server
from argosy.gce_record import Record
from argosy.model import Machine
from argosy.operations import cloudconfig, registry
from argosy.operations.gce.membership import Membership

RELEASE_ITEM = "argosy-release"


def with_user_data(
    settings: Settings, servers: Sequence[Server], report: Report, membership: Membership
) -> list[Server]:
    """Return the servers with their user-data. The first machines of a cluster found it together, later ones join."""
    machines = [server for server in servers if server.type.cluster]
    files = _machine_files(settings, machines, report, membership) if machines else {}
    release = registry.current_release(settings).version if machines else ""
    keys = authorized_keys(settings) if len(machines) < len(servers) else []
    return [
        replace(server, user_data=files[server.name].read_text(), metadata={RELEASE_ITEM: release})
        if server.type.cluster
        else replace(server, user_data=server_config.user_data(settings, server, keys))
        for server in servers
    ]


def _machine_files(
    settings: Settings, servers: Sequence[Server], report: Report, membership: Membership
) -> dict[str, Path]:
    named = {it.name: Machine(it.name, it.address, _machine_os(it)) for it in servers}
    formats = {server.name: server.type.format for server in servers}
    founders = _founders(settings, list(named))
    founding = [machine for name, machine in named.items() if name in founders]
    # All founders are known before the first file is written: each file names them all.
    inventory.remember(settings, founding)
    written: dict[str, Path] = {}
    for format in sorted(set(formats.values())):
        some = [machine for machine in founding if formats[machine.name] == format]
        written |= cloudconfig.write(settings, some, report, format) if some else {}
    for name, machine in named.items():
        if name not in founders:
            written[name] = membership.join(settings, machine, formats[name], report)
    return written


def _founders(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the machines that found the cluster: `names`, when there are no machines yet; it is remembered."""

    def edit(record: Record) -> None:
        known = {machine.name for machine in inventory.load(settings)}
        if not record.founders and not known:
            record.founders = list(names)

    return gce_record.change(settings, edit).founders


def comparable(settings: Settings, server: Server) -> Server:
    """Return the server with the user-data that it would get now, where that can be told without making anything."""
    if server.type.cluster or not _has_key(settings):
        return server
    return replace(server, user_data=server_config.user_data(settings, server, authorized_keys(settings)))


def _has_key(settings: Settings) -> bool:
    return bool(settings.ssh.key) or (settings.secrets_path / "ssh" / "id_ed25519.pub").exists()


def _machine_os(server: Server) -> str:
    return str(server.type.os)


def authorized_keys(settings: Settings) -> list[str]:
    """Return the public keys that may log in; the cluster's own key pair is made when it is missing."""
    if settings.ssh.key:
        own = ssh_keypair.public_key(settings.root / Path(settings.ssh.key).expanduser())
    else:
        path = settings.secrets_path / "ssh" / "id_ed25519"
        own = ssh_keypair.ensure_key_pair(path, f"{settings.system}-{settings.cluster}")
    return [own, *settings.machine.authorized_keys]
