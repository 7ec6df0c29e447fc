"""Look at the Swarm of a cluster: what each machine's engine says, and what its managers tell of all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.engine.swarm import Swarm, render_swarm_spec
from argosy.engine.swarm_model import SwarmInfo
from argosy.errors import DeadlineExceeded, EngineError, HostUnreachable
from argosy.etcd.quorum import cluster_of
from argosy.model import Machine, Member
from argosy.schema.labels import SYSTEM
from argosy.ssh.host import Host, Hosts
from argosy.swarm.managing import INFO_SECONDS, LEADER_SECONDS, local_swarm
from argosy.swarm.observed import ObservedSwarm, SwarmAnswer, groups, unsettled

TASK_HISTORY = 3
"""How many ended tries Swarm keeps of each instance: what `service.list` and `show` have to tell."""
SETTLE_SECONDS = 30.0
"""How long a machine may take to find into the Swarm after its boot."""


def voters(machines: Iterable[Machine], members: Iterable[Member]) -> frozenset[str]:
    """Return the names of the machines whose etcd votes. Pure."""
    return frozenset(voter.name for voter in cluster_of(list(machines), list(members)).voters if voter.started)


def observe(
    settings: Settings, hosts: Hosts, voting: Collection[str], silent: Mapping[str, str] | None = None
) -> ObservedSwarm:
    """Return what is seen now. Who can't be asked is part of it, with the reason; nothing of it raises.

    `silent`: who could not be asked a moment ago, and is not asked again: it takes as long as ssh allows.
    """
    silent = dict(silent or {})
    asked = [host.name for host in hosts if host.name not in silent]
    outcomes = hosts.each(partial(_ask, settings), asked, what="Asking the machines' engines")
    answers = {name: outcome.get() for name, outcome in outcomes.items() if outcome.ok}
    silent |= {name: str(outcome.error) for name, outcome in outcomes.items() if not outcome.ok}
    told: dict[str, SwarmAnswer] = {}
    for info, found in answers.values():
        if found is not None:
            told.setdefault(info.cluster_id, found)
    machines = tuple(host.machine for host in hosts)
    return ObservedSwarm(
        machines, frozenset(voting), {name: answer[0] for name, answer in answers.items()}, told, silent
    )


def observe_settled(
    settings: Settings, hosts: Hosts, voting: Collection[str], silent: Mapping[str, str] | None = None
) -> ObservedSwarm:
    """Look until nothing is on its way: an election, a machine that comes back, a change of role."""

    def look() -> ObservedSwarm:
        nonlocal silent
        seen = observe(settings, hosts, voting, silent)
        silent = seen.silent
        return seen

    def settled(seen: ObservedSwarm) -> bool:
        return not unsettled(seen)

    seen = wait_until(look, SETTLE_SECONDS, done=settled)
    if not settled(seen) and not any(group.told for group in groups(seen)):
        seen = wait_until(look, LEADER_SECONDS - SETTLE_SECONDS, done=settled)
    return seen


def _ask(settings: Settings, host: Host) -> tuple[SwarmInfo, SwarmAnswer | None]:
    """Return what a machine's engine is in and, if it manages that, what it tells of it."""
    with local_swarm(host, INFO_SECONDS) as swarm:
        info = swarm.info()
        return info, _ask_manager(settings, swarm) if info.cluster_id else None


def _ask_manager(settings: Settings, swarm: Swarm) -> SwarmAnswer | None:
    """Return what a manager tells of its Swarm; None when it has no quorum, or is gone meanwhile."""
    try:
        nodes, spec = swarm.nodes(), swarm.cluster_spec()
        services = [service for service in swarm.services() if service.labels.get(SYSTEM) != settings.system]
    except (EngineError, HostUnreachable, DeadlineExceeded):
        # It stays without a word of its Swarm, which is what the plan then says.
        return None
    wanted = render_swarm_spec(spec, settings.swarm.heartbeat_seconds, TASK_HISTORY)
    return SwarmAnswer(tuple(nodes), len(services), wanted == spec)
