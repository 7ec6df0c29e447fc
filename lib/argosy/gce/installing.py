"""From core machines that wait for their secrets to installed ones."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import inventory
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.gce.listing import Listed
from argosy.machine import install as following
from argosy.membership import swarm_task
from argosy.report import Report
from argosy.secrets import syncing
from argosy.ssh.host import Hosts


def install(settings: Settings, servers: Sequence[Listed], report: Report, agree: syncing.Agree) -> None:
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
        with OpenCluster(settings, report, machines=inventory.load(settings)) as cluster:
            syncing.upload(cluster, machines, agree)
            following.follow_install(hosts, settings, machines, report, settings.install.deadline_seconds)
            syncing.settle(cluster, machines)
    swarm_task.follow(settings, report)
