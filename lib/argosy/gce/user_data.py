"""What new servers boot with: made once their addresses are known, before they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from argosy import inventory
from argosy.cloudconfig import writing
from argosy.config.loading import Settings
from argosy.gce import record as gce_record
from argosy.gce.membership import Membership
from argosy.gce.plan import server_config
from argosy.gce.plan.server_bodies import Server
from argosy.model import Machine
from argosy.registry import access
from argosy.report import Report
from argosy.ssh import keypair

RELEASE_ITEM = "argosy-release"


def with_user_data(
    settings: Settings, servers: Sequence[Server], report: Report, membership: Membership
) -> list[Server]:
    """Return the servers with their user-data. The first machines of a cluster found it together, later ones join."""
    machines = [server for server in servers if server.type.cluster]
    files = _machine_files(settings, machines, report, membership) if machines else {}
    release = access.current_release(settings).version if machines else ""
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
    named = {server.name: Machine(server.name, server.address, str(server.type.os)) for server in servers}
    formats = {server.name: server.type.format for server in servers}
    founders = _founders(settings, list(named))
    founding = [machine for name, machine in named.items() if name in founders]
    # All founders are known before the first file is written: each file names them all.
    inventory.remember(settings, founding)
    written: dict[str, Path] = {}
    for format in sorted(set(formats.values())):
        some = [machine for machine in founding if formats[machine.name] == format]
        written |= writing.write(settings, some, report, format) if some else {}
    for name, machine in named.items():
        if name not in founders:
            written[name] = membership.join(settings, machine, formats[name], report)
    return written


def _founders(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the machines that found the cluster: `names`, when there are no machines yet; it is remembered."""
    with gce_record.changing(settings) as record:
        if not record.founders and not inventory.load(settings):
            record.founders = list(names)
    return record.founders


def comparable(settings: Settings, server: Server) -> Server:
    """Return the server with the user-data that it would get now, where that can be told without making anything."""
    if server.type.cluster or not _has_key(settings):
        return server
    return replace(server, user_data=server_config.user_data(settings, server, authorized_keys(settings)))


def _has_key(settings: Settings) -> bool:
    return bool(settings.ssh.key) or keypair.key_path(settings).with_suffix(".pub").exists()


def authorized_keys(settings: Settings) -> list[str]:
    """Return the public keys that may log in; the cluster's own key pair is made when it is missing."""
    keypair.ensure_own_key(settings)
    return keypair.authorized_keys(settings)
