"""`cluster.add-machine`: a machine joins the cluster, in the place of another if so wished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Refused
from argosy.etcd import Delete, Put
from argosy.membership import Add, Deed, Plan, Replace, plan_membership
from argosy.model import Machine
from argosy.operations import cluster_lock
from argosy.operations.membership import endpoints, swarming
from argosy.operations.membership.actions import Action, Planned, action, do
from argosy.operations.membership.audit import audited
from argosy.operations.membership.joining import Joiner
from argosy.operations.membership.leaving import Leaver, find_leaver, forgetting, leaving
from argosy.operations.membership.observing import Work, opened

TASK = "cluster.add-machine"
REPLACING = "/cluster/replacing/"
"""/cluster/replacing/NEW = OLD from before NEW joins until OLD has left: whoever goes on knows that it is for that."""


@dataclass(frozen=True, slots=True)
class Options:
    """`replace`: the name or address of a machine that goes for it; `install`: go on to the end of the newcomer's
    install, which has to be up or to come up; `format`: of its cloud-config file."""

    replace: str = ""
    install: bool = False
    force: bool = False
    format: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """`next_steps`: what is left to be done elsewhere before the machine is in."""

    machine: Machine
    cloud_config: Path
    planned: Planned
    next_steps: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return `{"machine", "address", "cloud_config", "steps", "notes", "next_steps"}`."""
        machine = {"machine": self.machine.name, "address": self.machine.address}
        file = {"cloud_config": str(self.cloud_config)}
        return machine | file | self.planned.to_json() | {"next_steps": self.next_steps}


def plan(settings: Settings, existing: str, new: str, report: Report, options: Options) -> Added:
    """Return what `add` would do, changing nothing. Raises Refused, ConfigError, EtcdError, RegistryError."""
    with opened(settings, existing, report, new=new, force=options.force) as work:
        return _planned(work, options)


def add(settings: Settings, existing: str, new: str, report: Report, options: Options) -> Added:
    """Let the machine `new` (NAME, ADDRESS or NAME=ADDRESS) join the cluster of `existing`, and return what was done.

    Idempotent; the same command goes on after any end. Raises as `plan` does, and LockHeld, LockLost, HostUnreachable,
    HostsFailed, Unhealthy, DeadlineExceeded for what goes wrong on the way.
    """
    with opened(settings, existing, report, new=new, force=options.force) as work:
        # Refused, with the reason, while there is no lock to be had either.
        _member_plan(work, _newcomer(work), find_leaver(work, options.replace) if options.replace else None)
        ttl = settings.rollout.lock_ttl_seconds
        with cluster_lock.held(work.store, TASK, ttl_seconds=ttl, report=report) as work.lock:
            work.look_well()
            added = _planned(work, options)
            for note in added.planned.notes:
                report(added.machine.name, note)
            what = f"add {added.machine.name}{f' for {options.replace}' if options.replace else ''}"
            with audited(work, what, added.planned):
                do(added.planned.actions, work.holding, report)
        return added


def _planned(work: Work, options: Options) -> Added:
    new, leaver = _newcomer(work), find_leaver(work, options.replace) if options.replace else None
    members = _member_plan(work, new, leaver)
    if members.has(Deed.REFORM) or members.has(Deed.SAVE):
        raise Refused(f"{members.risk}; do that first: inv cluster.remove-machine with --force, then add {new.name}")
    joiner = Joiner(work, new, members, install=options.install, format=options.format)
    risk = f"risked by force: {members.risk}" if members.risk else ""
    waits = [] if leaver is None or _goes_now(work, joiner, leaver) else [_waits(leaver, new)]
    notes = [it for it in (members.note, leaver.note if leaver else "", risk, *waits) if it]
    actions = tuple(_actions(work, joiner, leaver, members))
    return Added(new, joiner.cloud_config, Planned(actions, tuple(notes)), joiner.next_steps())


def _newcomer(work: Work) -> Machine:
    if work.new is None:
        raise AssertionError("nobody joins")
    return work.new


def _member_plan(work: Work, new: Machine, leaver: Leaver | None) -> Plan:
    most, force = work.settings.etcd.max_members, work.force
    if leaver is None:
        return plan_membership(work.seen.cluster, Add(new.name), most, force=force)
    noted = None if work.seen.reason else work.store.get(REPLACING + new.name)
    begun = noted is not None and noted.value == leaver.name
    return plan_membership(work.seen.cluster, Replace(leaver.name, new.name, begun), most, force=force)


def _actions(work: Work, joiner: Joiner, leaver: Leaver | None, members: Plan) -> Iterator[Action]:
    new = joiner.machine
    if leaver is None:
        yield from joiner.actions()
        yield from swarming.entering(work, joiner)
        yield from _telling(work, joiner)
        return
    goes = [step for step in members.steps if step.machine == leaver.name]
    note = REPLACING + new.name
    if _goes_first(work, leaver):
        yield from leaving(work, leaver, goes)
        yield from joiner.actions()
        yield from swarming.entering(work, joiner)
    else:
        if members.has(Deed.ADD_LEARNER):
            begin = Put(note, leaver.name)
            yield action("etcd", f"note that {new.name} comes for {leaver.name}", lambda: work.holding.write([begin]))
        yield from joiner.actions()
        yield from swarming.entering(work, joiner)
        if _goes_now(work, joiner, leaver):
            yield from leaving(work, leaver, goes)
    if not _goes_now(work, joiner, leaver):
        yield from _telling(work, joiner)
        return
    yield from _telling(work, joiner, leaver)
    if members.has(Deed.ADD_LEARNER) or work.store.get(note):
        yield action("etcd", f"note that {leaver.name} is replaced", lambda: work.holding.write([Delete(note)]))
    yield from forgetting(work, leaver)


def _telling(work: Work, joiner: Joiner, leaver: Leaver | None = None) -> Iterator[Action]:
    """Yield what tells all machines that stay who runs etcd when all is done."""
    new, gone = joiner.machine, leaver.name if leaver else ""
    staying = [it for it in work.seen.machines if it.name not in (gone, new.name)]
    voting = [it for it in work.seen.voting() if it.name not in (gone, new.name)]
    if joiner.votes_in_the_end:
        voting.append(new)
    if joiner.serves:
        staying.append(new)
    # Its own file was written while the other was still there.
    outdated = bool(leaver) and joiner.install and not joiner.serves
    yield from endpoints.telling(work, staying, voting, new if outdated else None)


def _goes_first(work: Work, leaver: Leaver) -> bool:
    """Return whether the machine that is replaced goes before the newcomer comes, as its member's state demands."""
    member = work.seen.cluster.member(leaver.name)
    return member is not None and (member.learner or not member.healthy)


def _goes_now(work: Work, joiner: Joiner, leaver: Leaver) -> bool:
    """Return whether the machine that is replaced goes in this run: first, or as soon as the newcomer is in."""
    return joiner.serves or joiner.install or _goes_first(work, leaver)


def _waits(leaver: Leaver, new: Machine) -> str:
    return f"{leaver.name} stays until {new.name} is in: run the same with --install then"
