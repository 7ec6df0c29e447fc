"""`cluster.remove-machine`: a machine leaves the cluster, alive or dead, and nothing of it stays behind unsaid."""

from __future__ import annotations

from dataclasses import replace

from argosy.cluster import lock
from argosy.config.loading import Settings
from argosy.errors import EtcdError, LockHeld
from argosy.etcd import quorum
from argosy.etcd.snapshots import Snapshot
from argosy.membership import endpoints
from argosy.membership.actions import Planned, do
from argosy.membership.leaving import LeavingMachine, find_leaving, forgetting, leaving
from argosy.membership.observing import Membership, opened
from argosy.membership.rebuilding import Rebuilding
from argosy.model import Step
from argosy.report import Report
from argosy.stamps import stamp

TASK = "cluster.remove-machine"
FOLDER = "backups"


def plan(
    settings: Settings,
    existing: str,
    word: str,
    report: Report,
    *,
    force: bool = False,
    lose_volumes: bool = False,
) -> Planned:
    """Return what `remove` would do, changing nothing. Raises Refused, QuorumAtRisk, ConfigError, EtcdError."""
    with opened(settings, existing, report, task=TASK, force=force, lose_volumes=lose_volumes) as cluster:
        leaver = find_leaving(cluster, word)
        members = _plan(cluster, leaver)
        planned = _planned(cluster, leaver, members)
        desperate = [step for step in members.steps if step.action in (quorum.Action.REFORM, quorum.Action.SAVE)]
        return replace(planned, before=tuple(Step("etcd", str(member_step)) for member_step in desperate))


def remove(
    settings: Settings,
    existing: str,
    word: str,
    report: Report,
    *,
    force: bool = False,
    lose_volumes: bool = False,
) -> Planned:
    """Take the machine `word` (a name or an address) out of the cluster of `existing`, and return what was done.

    Idempotent; the same command resumes after any end. Raises as `plan` does, and LockHeld, LockLost, HostUnreachable,
    CommandFailed, DeadlineExceeded for what goes wrong on the way.
    """
    with opened(settings, existing, report, task=TASK, force=force, lose_volumes=lose_volumes) as cluster:
        leaver = find_leaving(cluster, word)
        members = _plan(cluster, leaver)
        if members.has(quorum.Action.SAVE) or (cluster.seen.reason and members.risk and not members.steps):
            return _without_etcd(cluster, leaver, members)
        for step in members.steps:
            if step.action is quorum.Action.REFORM:
                _reform(cluster, leaver, step)
        with cluster.locked(TASK):
            cluster.look_well()
            planned = _planned(cluster, leaver, _plan(cluster, leaver))
            do(cluster, planned, leaver.name, f"remove {leaver.name}")
        return planned


def _plan(cluster: Membership, leaver: LeavingMachine) -> quorum.Plan:
    most, change = cluster.settings.etcd.max_members, quorum.Remove(leaver.name)
    return quorum.plan_membership(cluster.seen.cluster, change, most, force=cluster.force)


def _planned(cluster: Membership, leaver: LeavingMachine, members: quorum.Plan) -> Planned:
    seen, risk = cluster.seen, f"risked by force: {members.risk}" if members.risk else ""
    notes = tuple(note for note in (members.note, leaver.note, risk) if note)
    if leaver.machine is None and seen.cluster.member(leaver.name) is None:
        return Planned((), (*notes, f"its machines are {', '.join(machine.name for machine in seen.machines)}"))
    steps = [step for step in members.steps if step.action in (quorum.Action.MOVE_LEADER, quorum.Action.REMOVE)]
    rest = [machine for machine in seen.machines if machine.name != leaver.name]
    voting = [machine for machine in seen.voting() if machine.name != leaver.name]
    actions = (
        *leaving(cluster, leaver, steps),
        *endpoints.telling(cluster, rest, voting),
        *forgetting(cluster, leaver),
    )
    return Planned(actions, notes)


def _reform(cluster: Membership, leaver: LeavingMachine, step: quorum.MemberStep) -> None:
    """Let the healthy rest be a new etcd cluster with the present data. There is no lock: etcd would not survive it."""
    _refuse_held(cluster)
    snapshot = _save(cluster, leaver)
    members = [machine for name in step.others if (machine := cluster.seen.machine(name))]
    others = [
        machine
        for machine in cluster.seen.machines
        if machine not in members and cluster.seen.cluster.member(machine.name)
    ]
    Rebuilding(cluster, snapshot, members, others).run()
    cluster.look()


def _without_etcd(cluster: Membership, leaver: LeavingMachine, members: quorum.Plan) -> Planned:
    """Take the machine out by force while etcd, without a quorum, can neither be told nor hold a lock. What only its
    member holds is saved here first."""
    _refuse_held(cluster)
    cluster.report("etcd", f"risked by force: {members.risk}")
    if members.has(quorum.Action.SAVE):
        _save(cluster, leaver)
    planned = Planned((*leaving(cluster, leaver, ()), *forgetting(cluster, leaver)), (members.risk,))
    for each in planned.actions:
        cluster.report(each.step.subject, each.step.action)
        each.run()
    return planned


def _save(cluster: Membership, leaver: LeavingMachine) -> Snapshot:
    name = f"before-removing-{leaver.name}-{stamp(cluster.clock.now())}.db"
    snapshot = cluster.store.snapshot(cluster.settings.state_path / FOLDER / name)
    cluster.report("etcd", f"all that {snapshot.member} holds is saved in {snapshot.path}, for inv cluster.restore")
    return snapshot


def _refuse_held(cluster: Membership) -> None:
    """Raise LockHeld when somebody changes the cluster, as far as etcd still knows."""
    try:
        holder = lock.read(cluster.store)
    except EtcdError:
        return
    if holder is not None:
        raise LockHeld(f"the cluster is being changed by {holder}: wait for it, or see inv cluster.lock", str(holder))
