"""From core machines that wait for their secrets to installed ones."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Refused
from argosy.host import Hosts
from argosy.operations import install as following
from argosy.operations import secrets
from argosy.operations.gce.listing import Listed
from argosy.operations.swarm import commands


def install(settings: Settings, servers: Sequence[Listed], report: Report) -> None:
    """Bring the machines their secrets and follow their installs, as cluster.upload-secrets and follow-install do."""
    if settings.gce.emulator:
        raise Refused("an emulator's machines can't be installed: they don't exist")
    names = {server.name for server in servers}
    machines = [machine for machine in inventory.load(settings) if machine.name in names]
    if not machines:
        raise Refused("only machines of the cluster are installed: --install is for servers of type core")
    with Hosts(settings, machines) as hosts:
        for host in hosts:
            host.wait_for_login(settings.gce.boot_deadline_seconds)
        secrets.upload(hosts, settings, machines, report)
        following.follow_install(hosts, settings, machines, report, settings.install.deadline_seconds)
    commands.follow(settings, report)
