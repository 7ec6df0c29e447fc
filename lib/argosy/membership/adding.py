"""`cluster.add-machine`: a machine joins the cluster, in the place of another if asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.etcd import Delete, Put, quorum
from argosy.membership import endpoints, etcd_upgrading
from argosy.membership.actions import Action, Planned, action, do
from argosy.membership.joining import JoiningMachine
from argosy.membership.leaving import LeavingMachine, find_leaving, forgetting, leaving
from argosy.membership.observing import Membership, opened
from argosy.model import Machine
from argosy.report import Report
from argosy.secrets import syncing

TASK = "cluster.add-machine"
REPLACING = "/cluster/replacing/"
"""/cluster/replacing/NEW = OLD from before NEW joins until OLD has left: whoever resumes knows what it is for."""


@dataclass(frozen=True, slots=True)
class Options:
    """`replace`: the name or address of a machine that goes for it; `install`: continue to the end of the newcomer's
    install, which has to be up or to come up; `lose_volumes`: of services on the machine that goes; `format`: of its
    cloud-config file."""

    replace: str = ""
    install: bool = False
    force: bool = False
    lose_volumes: bool = False
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
    with _opened(settings, existing, new, report, options) as cluster:
        return _planned(cluster, options)


def add(settings: Settings, existing: str, new: str, report: Report, options: Options) -> Added:
    """Let the machine `new` (NAME, ADDRESS or NAME=ADDRESS) join the cluster of `existing`, and return what was done.

    Idempotent; the same command resumes after any end. Raises as `plan` does, and LockHeld, LockLost, HostUnreachable,
    HostsFailed, Unhealthy, DeadlineExceeded for what goes wrong on the way.
    """
    with _opened(settings, existing, new, report, options) as cluster:
        # Refused, with the reason, while there is no lock to be had either.
        _member_plan(cluster, _newcomer(cluster), _leaving_for_it(cluster, options))
        with cluster.locked(TASK):
            cluster.look_well()
            added = _planned(cluster, options)
            what = f"add {added.machine.name}{f' for {options.replace}' if options.replace else ''}"
            do(cluster, added.planned, added.machine.name, what)
        return added


def _opened(
    settings: Settings, existing: str, new: str, report: Report, options: Options
) -> AbstractContextManager[Membership]:
    force, lose_volumes = options.force, options.lose_volumes
    return opened(settings, existing, report, task=TASK, new=new, force=force, lose_volumes=lose_volumes)


def _planned(cluster: Membership, options: Options) -> Added:
    if options.install:
        # Before etcd or a machine is told anything: the newcomer gets this checkout's secrets.
        syncing.check(cluster, among=cluster.seen.machines)
    new, leaver = _newcomer(cluster), _leaving_for_it(cluster, options)
    members = _member_plan(cluster, new, leaver)
    if members.has(quorum.Action.REFORM) or members.has(quorum.Action.SAVE):
        raise Refused(f"{members.risk}; do that first: inv cluster.remove-machine with --force, then add {new.name}")
    if members.has(quorum.Action.ADD_LEARNER) or members.has(quorum.Action.PROMOTE):
        etcd_upgrading.refuse_newcomer(cluster, new, [leaver.name] if leaver and _goes_first(cluster, leaver) else [])
    joiner = JoiningMachine(cluster, new, members, install=options.install, format=options.format)
    risk = f"risked by force: {members.risk}" if members.risk else ""
    waits = ""
    if leaver is not None and not _goes_now(cluster, joiner, leaver):
        waits = f"{leaver.name} stays until {new.name} is in: run the same with --install then"
    notes = [name for name in (members.note, leaver.note if leaver else "", risk, waits) if name]
    actions = tuple(_actions(cluster, joiner, leaver, members))
    return Added(new, joiner.cloud_config, Planned(actions, tuple(notes)), joiner.next_steps())


def _newcomer(cluster: Membership) -> Machine:
    if cluster.new is None:
        raise AssertionError("nobody joins")
    return cluster.new


def _leaving_for_it(cluster: Membership, options: Options) -> LeavingMachine | None:
    return find_leaving(cluster, options.replace) if options.replace else None


def _member_plan(cluster: Membership, new: Machine, leaver: LeavingMachine | None) -> quorum.Plan:
    change: quorum.Add | quorum.Replace = quorum.Add(new.name)
    if leaver is not None:
        noted = None if cluster.seen.reason else cluster.store.get(REPLACING + new.name)
        change = quorum.Replace(leaver.name, new.name, begun=noted is not None and noted.value == leaver.name)
    most = cluster.settings.etcd.max_members
    return quorum.plan_membership(cluster.seen.cluster, change, most, force=cluster.force)


def _actions(
    cluster: Membership, joiner: JoiningMachine, leaver: LeavingMachine | None, members: quorum.Plan
) -> Iterator[Action]:
    new = joiner.machine
    if leaver is None:
        yield from joiner.actions()
        yield from _telling(cluster, joiner)
        return
    goes = [step for step in members.steps if step.machine == leaver.name]
    goes_first, goes_now = _goes_first(cluster, leaver), _goes_now(cluster, joiner, leaver)
    note, begins = REPLACING + new.name, members.has(quorum.Action.ADD_LEARNER)
    if goes_first:
        yield from leaving(cluster, leaver, goes)
    elif begins:
        put = Put(note, leaver.name)
        yield action("etcd", f"note that {new.name} comes for {leaver.name}", lambda: cluster.holding.write([put]))
    yield from joiner.actions()
    if not goes_now:
        yield from _telling(cluster, joiner)
        return
    if not goes_first:
        yield from leaving(cluster, leaver, goes)
    yield from _telling(cluster, joiner, leaver)
    if begins or cluster.store.get(note):
        yield action("etcd", f"note that {leaver.name} is replaced", lambda: cluster.holding.write([Delete(note)]))
    yield from forgetting(cluster, leaver)


def _telling(cluster: Membership, joiner: JoiningMachine, leaver: LeavingMachine | None = None) -> Iterator[Action]:
    """Yield what tells all machines that stay who runs etcd when all is done."""
    new, gone = joiner.machine, leaver.name if leaver else ""
    staying = [machine for machine in cluster.seen.machines if machine.name not in (gone, new.name)]
    voting = [machine for machine in cluster.seen.voting() if machine.name not in (gone, new.name)]
    if joiner.votes_in_the_end:
        voting.append(new)
    if joiner.serves:
        staying.append(new)
    # Its own file was written while the other was still there.
    outdated = bool(leaver) and joiner.install and not joiner.serves
    yield from endpoints.telling(cluster, staying, voting, new if outdated else None)


def _goes_first(cluster: Membership, leaver: LeavingMachine) -> bool:
    """Return whether the machine that is replaced goes before the newcomer comes, as its member's state demands."""
    member = cluster.seen.cluster.member(leaver.name)
    return member is not None and (member.learner or not member.healthy)


def _goes_now(cluster: Membership, joiner: JoiningMachine, leaver: LeavingMachine) -> bool:
    """Return whether the machine that is replaced goes in this run: first, or as soon as the newcomer is in."""
    return joiner.serves or joiner.install or _goes_first(cluster, leaver)
