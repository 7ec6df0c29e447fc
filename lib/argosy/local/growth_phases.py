"""The parts of `local.add-machine` and `local.remove-machine`, each safe to do again after it was killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import not_
from typing import TypeVar

from argosy.builds import images
from argosy.clock import wait_until
from argosy.errors import DeadlineExceeded, Refused
from argosy.fanout import joined
from argosy.local import balancer, lock, machine_phases, record
from argosy.local.makers.base import ABSENT, RUNNING
from argosy.local.procedure import Phase
from argosy.local.work import LocalWork
from argosy.membership import adding, removing
from argosy.membership.actions import Planned
from argosy.model import Machine, Step
from argosy.ssh import pins
from argosy.ssh.host import Hosts
from argosy.status.etcd_observing import observe_etcd

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Risks:
    """What a machine may leave in spite of. `force`: etcd's quorum; `lose_volumes`: of scheduled services there."""

    force: bool = False
    lose_volumes: bool = False


SAFE = Risks()


@dataclass(kw_only=True)
class Growth(LocalWork):
    """The work at a cluster that gains or loses the machine `changing`. `resumed`: an earlier run was killed before the
    end."""

    changing: Machine
    resumed: bool
    risks: Risks = SAFE


class Always(Phase[Growth]):
    """A phase that finds out by itself, as it runs, whether there is something to do."""

    def should_run(self, _work: Growth) -> bool:
        return True


class NoteJoining(Phase[Growth]):
    """Remember who comes, before anything of it is made: whatever a kill leaves is completed by the next run.

    What is left on the host of an earlier machine of that name goes first.
    """

    title = "state"

    def plan(self, work: Growth) -> list[Step]:
        if work.record.joining == work.changing.name:
            return []
        left = work.states[work.changing.name] != ABSENT
        gone = [Step(work.changing.name, "destroy what an earlier machine of that name left")] if left else []
        return [*gone, Step("state", f"remember that {work.changing.name} joins")]

    def run(self, work: Growth) -> bool:
        if work.states[work.changing.name] != ABSENT:
            work.maker().remove(work.changing)
            work.states = {**work.states, work.changing.name: ABSENT}
        _remember(work, joining=work.changing.name)
        return True


class MachineImage(Phase[LocalWork]):
    """All else that a newcomer needs is what the cluster runs, and in the registry."""

    title = "image"

    def plan(self, work: LocalWork) -> list[Step]:
        if not work.uses_containers:
            return []
        return [Step(work.settings.local.machine_image, "build the machines' image if it changed")]

    def run(self, work: LocalWork) -> bool:
        built = images.build_images(work.settings, work.report, only=[work.settings.local.machine_image])
        return any(image.is_new for image in built)


class Wake(Phase[Growth]):
    """Boot the other machines that are stopped: etcd takes nobody in while one of its members is away."""

    title = "others"

    def plan(self, work: Growth) -> list[Step]:
        return [Step(machine.name, "boot it") for machine in self._stopped(work)]

    def run(self, work: Growth) -> bool:
        stopped = self._stopped(work)
        work.up([machine for machine in work.machines if machine.name != work.changing.name], stopped)
        deadline = work.settings.local.boot_deadline_seconds
        with Hosts(work.settings, stopped) as hosts:
            joined(hosts.each(lambda host: host.wait_for_login(deadline), what="Waiting for ssh"))
        if reason := wait_until(lambda: _members_away(work, stopped), deadline, done=not_):
            raise DeadlineExceeded(f"after {deadline:g} s: {reason}")
        work.states = {**work.states, **{machine.name: RUNNING for machine in stopped}}
        return True

    def _stopped(self, work: Growth) -> list[Machine]:
        return [machine for machine in work.down if machine.name != work.changing.name]


class Enlist(Always):
    """A place in etcd, as a learner without a vote, and the cloud-config file that names it."""

    title = "etcd"

    def plan(self, work: Growth) -> list[Step]:
        return _adding(work, adding.plan, install=False)

    def run(self, work: Growth) -> bool:
        settings = work.settings
        if work.states[work.changing.name] == ABSENT:
            # Of an earlier machine at that address, whose data nobody has to look for.
            pins.forget(settings, work.changing)
        return bool(_waiting_for_lock(work, lambda: _adding(work, adding.add, install=False)))


class Make(Phase[Growth]):
    title = "machine"

    def plan(self, work: Growth) -> list[Step]:
        state = work.states[work.changing.name]
        verb = "make" if state == ABSENT else "boot"
        return [Step(work.changing.name, f"{verb} it at {work.changing.address} {work.by}")] if state != RUNNING else []

    def run(self, work: Growth) -> bool:
        work.up(work.machines, [work.changing])
        return True


class Join(Always):
    """Secrets, install, its vote; and all machines are told who runs etcd."""

    title = "install"

    def plan(self, work: Growth) -> list[Step]:
        before = _adding(work, adding.plan, install=False)
        return [step for step in _adding(work, adding.plan, install=True) if step not in before]

    def run(self, work: Growth) -> bool:
        return bool(_waiting_for_lock(work, lambda: _adding(work, adding.add, install=True)))


class Follow(Phase[LocalWork]):
    """The balancer learns of machines by etcd; its agent has to know where etcd is. HAProxy serves on."""

    title = "balancer"

    def plan(self, work: LocalWork) -> list[Step]:
        if not work.settings.discovery.enabled:
            return []
        names = ", ".join(machine.name for machine in work.machines)
        return [Step("balancer", f"let its agent look for etcd on {names}")]

    def run(self, work: LocalWork) -> bool:
        image = work.image(work.settings.discovery.agent_image)
        return balancer.follow(work.settings, work.client, image, work.machines) != "unchanged"


class Gate(machine_phases.Gate):
    """A cluster between two upgrades may gain and lose machines, too."""

    takes_mixed_releases = True


class NoteLeaving(Phase[Growth]):
    title = "state"

    def plan(self, work: Growth) -> list[Step]:
        if work.record.leaving == work.changing.name:
            return []
        return [Step("state", f"remember that {work.changing.name} leaves")]

    def run(self, work: Growth) -> bool:
        # Refused, with the arithmetic, while nothing is remembered of it.
        _removing_plan(work)
        _remember(work, leaving=work.changing.name)
        return True


class Leave(Always):
    """Out of service, out of etcd, forgotten: as any other machine is removed."""

    title = "leave"

    def plan(self, work: Growth) -> list[Step]:
        return _removing_plan(work).steps

    def run(self, work: Growth) -> bool:
        existing, word = _existing(work).address, work.changing.address
        done = _waiting_for_lock(
            work,
            lambda: removing.remove(
                work.settings, existing, word, work.report, force=work.risks.force, lose_volumes=work.risks.lose_volumes
            ),
        )
        return bool(done.steps)


class Destroy(Phase[Growth]):
    title = "machine"

    def plan(self, work: Growth) -> list[Step]:
        return [Step(work.changing.name, "destroy it with its disk")]

    def run(self, work: Growth) -> bool:
        return work.maker().remove(work.changing)


class Settled(Always):
    """The machine is no longer on its way in or out."""

    title = "settled"

    def plan(self, _work: Growth) -> list[Step]:
        return []

    def run(self, work: Growth) -> bool:
        joining, leaving = (
            "" if name == work.changing.name else name for name in (work.record.joining, work.record.leaving)
        )
        return _remember(work, joining=joining, leaving=leaving)


def _remember(work: LocalWork, **names: str) -> bool:
    work.record = replace(work.record, **names)  # type: ignore[arg-type]
    return record.save(work.settings, work.record)


def _members_away(work: LocalWork, machines: Sequence[Machine]) -> str:
    """Return why etcd does not run yet on these machines, or an empty string."""
    seen = observe_etcd(work.settings, machines)
    return "; ".join([seen.reason] if seen.reason else seen.member_reasons.values())


def _adding(work: Growth, act: Callable[..., adding.Added], *, install: bool) -> list[Step]:
    """Plan it, or do it, by what `argosy.membership.adding` has for that; return the steps."""
    word, options = f"{work.changing.name}={work.changing.address}", adding.Options(install=install)
    return act(work.settings, _existing(work).address, word, work.report, options).planned.steps


def _removing_plan(work: Growth) -> Planned:
    # By its address: the name of a newcomer that never came is known here alone.
    existing, word = _existing(work).address, work.changing.address
    return removing.plan(
        work.settings, existing, word, work.report, force=work.risks.force, lose_volumes=work.risks.lose_volumes
    )


def _waiting_for_lock(work: Growth, act: Callable[[], T]) -> T:
    """Return what `act` does; where an earlier run was killed, its lock is waited for."""
    return lock.retry_when_unlocked(work.settings, work.report, act) if work.resumed else act()


def _existing(work: Growth) -> Machine:
    """Return another machine of the cluster, one that runs, by which it is asked. Raises Refused."""
    for machine in work.machines:
        if machine.name != work.changing.name and work.states[machine.name] == RUNNING:
            return machine
    raise Refused("no machine of the cluster runs: `inv local.start` boots them")
