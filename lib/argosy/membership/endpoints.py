"""Tell all machines who etcd's members are: ETCD_ENDPOINTS of /etc/SYSTEM/machine.env.

It is where the programs on a machine, its installer and its agent begin to look for etcd. One member that is still
there is enough for them, so a machine that can't be reached now is told the next time and harms nobody meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argosy import machine_etcd
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import HostUnreachable
from argosy.host import Host, Hosts, joined
from argosy.model import Machine
from argosy.operations.membership.actions import Action, action
from argosy.operations.membership.observing import Work

NAMED = 5
"""How many machines a step names; of more it gives the number."""


def text(settings: Settings, members: Sequence[Machine]) -> str:
    """Return the value of ETCD_ENDPOINTS."""
    return ",".join(f"https://{it.address}:{settings.etcd.client_port}" for it in members)


def telling(
    work: Work, machines: Sequence[Machine], members: Sequence[Machine], newcomer: Machine | None = None
) -> Iterator[Action]:
    """Yield the action that tells `machines` that `members` run etcd; none when all that can be asked know it.

    `newcomer`: can't be asked yet, and has to be told.
    """
    wanted = text(work.settings, members)
    differing = _differing(work.hosts, work.settings, machines, wanted)
    told = [*machines, *([newcomer] if newcomer else [])]
    names = [*differing, *([newcomer.name] if newcomer else [])]
    if members and names:
        who = ", ".join(names) if len(names) <= NAMED else f"{len(names)} machines"
        words = f"tell {who} who runs etcd: {', '.join(it.name for it in members)}"
        yield action("machines", words, lambda: tell(work.hosts, work.settings, told, wanted, work.report))


def tell(hosts: Hosts, settings: Settings, machines: Sequence[Machine], wanted: str, report: Report) -> None:
    """Write ETCD_ENDPOINTS on every machine where it is another than `wanted`, each file in one step. Idempotent.

    A machine that is not there is reported. Raises HostsFailed for other failures.
    """

    def one(host: Host) -> None:
        try:
            if _differs(_read(host, settings), wanted):
                host.run(machine_etcd.write_endpoints(settings.system, wanted), sudo=True)
                report(host.name, "told who runs etcd")
        except HostUnreachable as error:
            report(host.name, f"not told who runs etcd, the next change of the members will: {error}")

    joined(hosts.each(one, machines, what="Telling who runs etcd"))


def _differing(hosts: Hosts, settings: Settings, machines: Sequence[Machine], wanted: str) -> list[str]:
    """Return which of the machines that can be asked know other members."""
    known = hosts.each(lambda host: _read(host, settings), machines, what="Asking who runs etcd")
    return [name for name, outcome in known.items() if outcome.ok and _differs(outcome.get(), wanted)]


def _differs(known: str, wanted: str) -> bool:
    """Return whether a machine has to be told; one that has no machine.env yet is not installed and has nothing to
    know it by."""
    return known not in ("", wanted)


def _read(host: Host, settings: Settings) -> str:
    return host.run(machine_etcd.read_endpoints(settings.system), sudo=True, check=False).stdout.strip()
