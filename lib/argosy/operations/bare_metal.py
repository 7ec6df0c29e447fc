"""Make a cluster of machines that are up already and reachable by ssh."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Refused
from argosy.fanout import joined
from argosy.host import Host, Hosts
from argosy.model import Machine, Step
from argosy.operations import cloudconfig, install, secrets
from argosy.operations.swarm import commands

NEEDED = {
    "systemd": "test -d /run/systemd/system",
    "Docker": "docker version --format '{{.Server.Version}}'",
}
"""What a machine must have, and the command that proves it."""


def plan(settings: Settings, machines: Sequence[Machine]) -> list[Step]:
    """Return what `setup` would do. Reads the machines, writes nothing."""
    with Hosts(settings, machines) as hosts:
        preflight(hosts)
        steps = cloudconfig.plan_apply(hosts, settings, machines)
        steps += secrets.plan(hosts, settings, machines)
    steps += [Step(machine.name, "wait for its install") for machine in machines]
    return [*steps, *([Step("swarm", "see that all machines are in one Swarm")] if settings.swarm.enabled else [])]


def setup(settings: Settings, machines: Sequence[Machine], report: Report) -> None:
    """Give every machine its files and units, then its secrets, follow the installs, and make the Swarm. Idempotent.

    Nothing is changed anywhere unless every machine passes `preflight`. Raises HostsFailed, Refused, and what
    `install.follow_install` and `commands.ensure` raise.
    """
    with Hosts(settings, machines) as hosts:
        preflight(hosts)
        inventory.remember(settings, machines)
        cloudconfig.apply(hosts, settings, machines, report)
        secrets.upload(hosts, settings, machines, report)
        install.follow_install(hosts, settings, machines, report, settings.install.deadline_seconds)
    if settings.swarm.enabled:
        commands.ensure(settings, report)


def preflight(hosts: Hosts) -> None:
    """Raise HostsFailed unless every machine lets us in, lets us be root, and has what a machine needs."""

    def one(host: Host) -> None:
        host.run(["true"], sudo=True)
        for name, command in NEEDED.items():
            if not host.run(command, sudo=True, check=False).ok:
                raise Refused(f"{host.machine.name}: it has no running {name}; install it, then run this again")

    joined(hosts.each(one, what="The preflight"))
