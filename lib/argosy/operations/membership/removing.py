"""`cluster.remove-machine`: a machine leaves the cluster, alive or dead, and nothing of it stays behind unsaid."""

from __future__ import annotations

from argosy.config import Settings
from argosy.console import Report
from argosy.errors import EtcdError, LockHeld
from argosy.etcd.snapshots import Snapshot
from argosy.membership import Deed, MemberStep, Plan, Remove, plan_membership
from argosy.model import Step
from argosy.operations import cluster_lock
from argosy.operations.clock import SystemClock
from argosy.operations.membership import endpoints
from argosy.operations.membership.actions import Planned, do
from argosy.operations.membership.audit import audited
from argosy.operations.membership.leaving import Leaver, find_leaver, forgetting, leaving
from argosy.operations.membership.observing import Work, opened
from argosy.operations.membership.rebuilding import Rebuilding, new_token
from argosy.rollout_record import stamp

TASK = "cluster.remove-machine"
FOLDER = "backups"


def plan(settings: Settings, existing: str, word: str, report: Report, *, force: bool = False) -> Planned:
    """Return what `remove` would do, changing nothing. Raises Refused, QuorumAtRisk, ConfigError, EtcdError."""
    with opened(settings, existing, report, force=force) as work:
        leaver = find_leaver(work, word)
        members = _plan(work, leaver)
        planned = _planned(work, leaver, members)
        desperate = [it for it in members.steps if it.deed in (Deed.REFORM, Deed.SAVE)]
        return Planned(planned.actions, planned.notes, tuple(Step("etcd", str(it)) for it in desperate))


def remove(settings: Settings, existing: str, word: str, report: Report, *, force: bool = False) -> Planned:
    """Take the machine `word` (a name or an address) out of the cluster of `existing`, and return what was done.

    Idempotent; the same command goes on after any end. Raises as `plan` does, and LockHeld, LockLost, HostUnreachable,
    CommandFailed, DeadlineExceeded for what goes wrong on the way.
    """
    with opened(settings, existing, report, force=force) as work:
        leaver = find_leaver(work, word)
        members = _plan(work, leaver)
        if members.has(Deed.SAVE) or (work.seen.reason and members.risk and not members.steps):
            return _without_etcd(work, leaver, members)
        for step in members.steps:
            if step.deed is Deed.REFORM:
                _reform(work, leaver, step)
        ttl = settings.rollout.lock_ttl_seconds
        with cluster_lock.held(work.store, TASK, ttl_seconds=ttl, report=report) as work.lock:
            work.look_well()
            planned = _planned(work, leaver, _plan(work, leaver))
            for note in planned.notes:
                report(leaver.name, note)
            with audited(work, f"remove {leaver.name}", planned):
                do(planned.actions, work.holding, report)
        return planned


def _plan(work: Work, leaver: Leaver) -> Plan:
    return plan_membership(work.seen.cluster, Remove(leaver.name), work.settings.etcd.max_members, force=work.force)


def _planned(work: Work, leaver: Leaver, members: Plan) -> Planned:
    risk = f"risked by force: {members.risk}" if members.risk else ""
    notes = tuple(note for note in (members.note, leaver.note, risk) if note)
    if leaver.machine is None and work.seen.cluster.member(leaver.name) is None:
        return Planned((), (*notes, f"its machines are {', '.join(it.name for it in work.seen.machines)}"))
    steps = [it for it in members.steps if it.deed in (Deed.MOVE_LEADER, Deed.REMOVE)]
    rest = [it for it in work.seen.machines if it.name != leaver.name]
    voting = [it for it in work.seen.voting() if it.name != leaver.name]
    actions = (
        *leaving(work, leaver, steps),
        *endpoints.telling(work, rest, voting),
        *forgetting(work, leaver),
    )
    return Planned(actions, notes)


def _reform(work: Work, leaver: Leaver, step: MemberStep) -> None:
    """Let the healthy rest be a new etcd cluster with the present data. There is no lock: etcd would not survive it."""
    _refuse_held(work)
    snapshot = _save(work, leaver)
    members = [machine for name in step.others if (machine := work.seen.machine(name))]
    others = [it for it in work.seen.machines if it not in members and work.seen.cluster.member(it.name)]
    token = new_token(work.settings)
    Rebuilding(work.settings, work.hosts, snapshot, members, others, work.report, token).run()
    work.look()


def _without_etcd(work: Work, leaver: Leaver, members: Plan) -> Planned:
    """Take the machine out by force while etcd, without a quorum, can neither be told nor hold a lock. What only its
    member holds is saved here first."""
    _refuse_held(work)
    work.report("etcd", f"risked by force: {members.risk}")
    if members.has(Deed.SAVE):
        _save(work, leaver)
    planned = Planned((*leaving(work, leaver, ()), *forgetting(work, leaver)), (members.risk,))
    for each in planned.actions:
        work.report(each.step.subject, each.step.action)
        each.run()
    return planned


def _save(work: Work, leaver: Leaver) -> Snapshot:
    now = stamp(SystemClock().now())
    snapshot = work.store.snapshot(work.settings.state_path / FOLDER / f"before-removing-{leaver.name}-{now}.db")
    work.report("etcd", f"all that {snapshot.member} holds is saved in {snapshot.path}, for inv cluster.restore")
    return snapshot


def _refuse_held(work: Work) -> None:
    """Raise LockHeld when somebody changes the cluster, as far as etcd still knows."""
    try:
        holder = cluster_lock.read(work.store)
    except EtcdError:
        return
    if holder is not None:
        raise LockHeld(f"the cluster is being changed by {holder}: wait for it, or see inv cluster.lock", str(holder))
