"""Look at servers that are to become machines, and install what they lack."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.fanout import Outcomes, joined
from argosy.machine.needs import DOCKER_FOLDER, INSTALL, LOOK, Needs, Server, needs_of, parse_server
from argosy.model import Machine
from argosy.report import Report
from argosy.ssh.host import Host, Hosts
from argosy.ssh.shell import Script

LOOK_SECONDS = 60.0


def look(
    hosts: Hosts, settings: Settings, machines: Sequence[Machine], installed: Collection[str] = ()
) -> Outcomes[Needs]:
    """Return what each of these needs, all looked at at the same time; changes nothing.

    `installed`: the names of those that are machines of the cluster already.
    """

    def one(host: Host) -> Needs:
        server = observe(host, settings)
        return needs_of(settings, host.machine, server, installed=host.name in installed)

    return hosts.each(one, machines, what="Looking at the servers")


def observe(host: Host, settings: Settings) -> Server:
    """Return what is seen of one server. Raises Refused when we may not be root there, HostUnreachable and its kin."""
    host.connect()
    asked = datetime.now(UTC)
    script = Script("look at the server", LOOK, settings.system, DOCKER_FOLDER)
    told = host.run(script, sudo=True, timeout_seconds=LOOK_SECONDS).stdout
    try:
        return parse_server(told, asked, datetime.now(UTC))
    except ValueError as error:
        raise Refused(f"{host.name}: {error}") from None


def refuse(needs: Mapping[str, Needs]) -> None:
    """Raise Refused with all that stands against these servers."""
    told = [f"{name}: {problem}" for name, found in needs.items() for problem in found.problems]
    if told:
        raise Refused("; ".join(told))


def install(hosts: Hosts, settings: Settings, needs: Mapping[str, Needs], report: Report) -> None:
    """Install what these servers lack. Idempotent; killed on the way, the next run completes it.

    Raises HostsFailed when some failed; the others are done.
    """

    def one(host: Host) -> None:
        found = needs[host.name]
        report(host.name, str(found))
        script = Script(str(found), INSTALL, *found.packages)
        done = host.run(script, sudo=True, timeout_seconds=settings.install.deadline_seconds)
        report(host.name, f"Docker {done.stdout.strip()} runs")

    lacking = [name for name, found in needs.items() if found.to_install]
    joined(hosts.each(one, lacking, what="Installing what servers lack"))
