"""Tell all machines who etcd's members are: ETCD_ENDPOINTS of /etc/SYSTEM/machine.env.

It is where the programs on a machine, its installer and its agent begin to look for etcd. One member that is still
there is enough for them, so a machine that can't be reached now is told the next time and harms nobody meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import HostUnreachable
from argosy.fanout import joined
from argosy.membership import etcd_scripts
from argosy.membership.actions import Action, action
from argosy.model import Machine
from argosy.ssh.host import Host

NAMED = 5
"""How many machines a step names; of more it gives the number."""


def telling(
    cluster: OpenCluster, machines: Sequence[Machine], members: Sequence[Machine], newcomer: Machine | None = None
) -> Iterator[Action]:
    """Yield the action that tells `machines` that `members` run etcd; none when all that can be asked know it.

    `newcomer`: can't be asked yet, and has to be told.
    """
    wanted = _text(cluster.settings, members)
    known = cluster.hosts.each(lambda host: _read(host, cluster.settings), machines, what="Asking who runs etcd")
    names = [name for name, outcome in known.items() if outcome.ok and _differs(outcome.get(), wanted)]
    newcomers = [newcomer] if newcomer else []
    names += [newcomer.name for newcomer in newcomers]
    if members and names:
        who = ", ".join(names) if len(names) <= NAMED else f"{len(names)} machines"
        words = f"tell {who} who runs etcd: {', '.join(member.name for member in members)}"
        yield action("machines", words, lambda: tell(cluster, [*machines, *newcomers], members))


def tell(cluster: OpenCluster, machines: Sequence[Machine], members: Sequence[Machine]) -> None:
    """Write ETCD_ENDPOINTS on every machine where it is not that of `members`, each file in one step. Idempotent.

    A machine that is not there is reported. Raises HostsFailed for other failures.
    """
    settings, wanted = cluster.settings, _text(cluster.settings, members)

    def one(host: Host) -> None:
        try:
            if _differs(_read(host, settings), wanted):
                host.run(etcd_scripts.write_endpoints(settings.system, wanted), sudo=True)
                cluster.report(host.name, "told who runs etcd")
        except HostUnreachable as error:
            cluster.report(host.name, f"not told who runs etcd, the next change of the members will: {error}")

    joined(cluster.hosts.each(one, machines, what="Telling who runs etcd"))


def _text(settings: Settings, members: Sequence[Machine]) -> str:
    """Return the value of ETCD_ENDPOINTS."""
    return ",".join(f"https://{member.address}:{settings.etcd.client_port}" for member in members)


def _differs(known: str, wanted: str) -> bool:
    """Return whether a machine has to be told; one that has no machine.env yet is not installed and has nothing to
    know it by."""
    return known not in ("", wanted)


def _read(host: Host, settings: Settings) -> str:
    return host.run(etcd_scripts.read_endpoints(settings.system), sudo=True).stdout.strip()
