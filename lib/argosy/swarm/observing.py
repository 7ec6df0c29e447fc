"""Look at the Swarm of a cluster: what each machine's engine says, and what its managers tell of all."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping

from argosy.config import Settings
from argosy.container_labels import SYSTEM
from argosy.engine_api import over_ssh
from argosy.errors import DeadlineExceeded, EngineError, HostUnreachable
from argosy.host import Host, Hosts
from argosy.membership import cluster_of
from argosy.model import Machine, Member
from argosy.operations.swarm.managing import LEADER_SECONDS, survey
from argosy.swarm import Swarm, render_swarm_spec
from argosy.swarm_seen import Seen, Told, groups, unsettled

TASK_HISTORY = 3
"""How many ended tries Swarm keeps of each instance: what `service.list` and `show` have to tell."""
SETTLE_SECONDS = 30.0
"""How long a machine may take to find into the Swarm after its boot."""
POLL_SECONDS = 0.5


def voters(machines: Iterable[Machine], members: Iterable[Member]) -> frozenset[str]:
    """Return the names of the machines whose etcd votes. Pure."""
    return frozenset(it.name for it in cluster_of(list(machines), list(members)).voters if it.started)


def observe(settings: Settings, hosts: Hosts, voting: Collection[str], silent: Mapping[str, str] | None = None) -> Seen:
    """Return what is seen now. Who can't be asked is part of it, with the reason; nothing of it raises.

    `silent`: who could not be asked a moment ago, and is not asked again: it takes as long as ssh allows.
    """
    silent = dict(silent or {})
    outcomes = survey(hosts, [host.name for host in hosts if host.name not in silent])
    infos = {name: outcome.get() for name, outcome in outcomes.items() if outcome.ok}
    silent |= {name: str(outcome.error) for name, outcome in outcomes.items() if not outcome.ok}
    told: dict[str, Told] = {}
    for name, info in infos.items():
        if info.cluster_id and info.cluster_id not in told:
            found = ask_manager(settings, hosts[name])
            if found is not None:
                told[info.cluster_id] = found
    machines = tuple(host.machine for host in hosts)
    return Seen(machines, frozenset(voting), infos, told, silent)


def observe_settled(
    settings: Settings, hosts: Hosts, voting: Collection[str], silent: Mapping[str, str] | None = None
) -> Seen:
    """Look until nothing is on its way any more: an election, a machine that comes back, a change of role."""
    began = time.monotonic()
    seen = observe(settings, hosts, voting, silent)
    while unsettled(seen):
        quorum = any(group.told for group in groups(seen))
        if time.monotonic() - began >= (SETTLE_SECONDS if quorum else LEADER_SECONDS):
            break
        threading.Event().wait(POLL_SECONDS)
        seen = observe(settings, hosts, voting, seen.silent)
    return seen


def ask_manager(settings: Settings, host: Host) -> Told | None:
    """Return what a manager tells of its Swarm; None when it has no quorum, or is gone meanwhile."""
    try:
        with over_ssh(host) as engine:
            swarm = Swarm(engine)
            nodes, spec = swarm.nodes(), swarm.cluster_spec()
            services = [it for it in swarm.services() if it.labels.get(SYSTEM) != settings.system]
    except (EngineError, HostUnreachable, DeadlineExceeded):
        # It stays without a word of its Swarm, which is what the plan then says.
        return None
    wanted = render_swarm_spec(spec, settings.swarm.heartbeat_seconds, TASK_HISTORY)
    return Told(tuple(nodes), len(services), wanted == spec)
