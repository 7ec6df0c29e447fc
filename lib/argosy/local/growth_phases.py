"""The parts of `local.add-machine` and `local.remove-machine`, each safe to do again after it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenacity import RetryError as StillWaiting
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from argosy import known_hosts
from argosy.errors import DeadlineExceeded, Refused
from argosy.host import Hosts, joined
from argosy.model import Machine, Step
from argosy.operations import build, cloudconfig, status
from argosy.operations.local import balancer, machine_phases, patience, record
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work
from argosy.operations.membership import adding, removing
from argosy.operations.membership.actions import Planned
from argosy.providers.base import ABSENT, RUNNING, Boot

POLL_SECONDS = 0.5


class Always(Phase[Work]):
    """A phase that finds out by itself, as it runs, whether there is something to do."""

    def should_run(self, _work: Work) -> bool:
        return True


class NoteJoining(Phase[Work]):
    """Remember who comes, before anything of it is made: whatever a kill leaves is completed by the next run.

    What is left on the host of an earlier machine of that name goes first.
    """

    title = "state"

    def __init__(self, new: Machine) -> None:
        self._new = new

    def plan(self, work: Work) -> list[Step]:
        if work.record.joining == self._new.name:
            return []
        left = work.states[self._new.name] != ABSENT
        gone = [Step(self._new.name, "destroy what an earlier machine of that name left")] if left else []
        return [*gone, Step("state", f"remember that {self._new.name} joins")]

    def run(self, work: Work) -> bool:
        if work.states[self._new.name] != ABSENT:
            work.provider().remove(self._new)
            work.states = {**work.states, self._new.name: ABSENT}
        _remember(work, joining=self._new.name)
        return True


class MachineImage(Phase[Work]):
    """All else that a newcomer needs is what the cluster runs, and in the registry."""

    title = "image"

    def plan(self, work: Work) -> list[Step]:
        if not work.uses_containers:
            return []
        return [Step(work.settings.local.machine_image, "build the machines' image if it changed")]

    def run(self, work: Work) -> bool:
        built = build.build_images(work.settings, work.report, only=[work.settings.local.machine_image])
        return any(image.is_new for image in built)


class Wake(Phase[Work]):
    """Boot the other machines that are stopped: etcd takes nobody in while one of its members is away."""

    title = "others"

    def __init__(self, new: Machine) -> None:
        self._new = new

    def plan(self, work: Work) -> list[Step]:
        return [Step(machine.name, "boot it") for machine in self._stopped(work)]

    def run(self, work: Work) -> bool:
        stopped = self._stopped(work)
        _up(work, [machine for machine in work.machines if machine.name != self._new.name], stopped)
        deadline = work.settings.local.boot_deadline_seconds
        with Hosts(work.settings, stopped) as hosts:
            joined(hosts.each(lambda host: host.wait_for_login(deadline), what="Waiting for ssh"))
        waiting = Retrying(retry=retry_if_result(bool), stop=stop_after_delay(deadline), wait=wait_fixed(POLL_SECONDS))
        try:
            waiting(_members_away, work, stopped)
        except StillWaiting as error:
            raise DeadlineExceeded(f"after {deadline:g} s: {error.last_attempt.result()}") from None
        work.states = {**work.states, **{machine.name: RUNNING for machine in stopped}}
        return True

    def _stopped(self, work: Work) -> list[Machine]:
        return [machine for machine in work.down if machine.name != self._new.name]


class Enlist(Always):
    """A place in etcd, as a learner without a vote, and the cloud-config file that names it."""

    title = "etcd"

    def __init__(self, new: Machine, resumed: bool) -> None:
        self._new = new
        self._resumed = resumed

    def plan(self, work: Work) -> list[Step]:
        return _adding_steps(work, self._new, install=False)

    def run(self, work: Work) -> bool:
        settings = work.settings
        if work.states[self._new.name] == ABSENT:
            # Of an earlier machine at that address, whose data nobody has to look for.
            known_hosts.forget(settings.state_path / "known_hosts", self._new.address, settings.ssh.port)
        return bool(_add(work, self._new, resumed=self._resumed, install=False).planned.steps)


class Make(Phase[Work]):
    title = "machine"

    def __init__(self, new: Machine) -> None:
        self._new = new

    def plan(self, work: Work) -> list[Step]:
        state = work.states[self._new.name]
        verb = "make" if state == ABSENT else "boot"
        return [Step(self._new.name, f"{verb} it at {self._new.address}")] if state != RUNNING else []

    def run(self, work: Work) -> bool:
        _up(work, work.machines, [self._new])
        return True


class Join(Always):
    """Secrets, install, its vote; and all machines are told who runs etcd."""

    title = "install"

    def __init__(self, new: Machine, resumed: bool) -> None:
        self._new = new
        self._resumed = resumed

    def plan(self, work: Work) -> list[Step]:
        before = _adding_steps(work, self._new, install=False)
        return [step for step in _adding_steps(work, self._new, install=True) if step not in before]

    def run(self, work: Work) -> bool:
        return bool(_add(work, self._new, resumed=self._resumed, install=True).planned.steps)


class Follow(Phase[Work]):
    """The balancer learns of machines by etcd; its agent has to know where etcd is. HAProxy serves on."""

    title = "balancer"

    def plan(self, work: Work) -> list[Step]:
        if not work.settings.discovery.enabled:
            return []
        names = ", ".join(machine.name for machine in work.machines)
        return [Step("balancer", f"let its agent look for etcd on {names}")]

    def run(self, work: Work) -> bool:
        image = work.image(work.settings.discovery.agent_image)
        return balancer.follow(work.settings, work.client, image, work.machines) != "unchanged"


class Gate(machine_phases.Gate):
    """A cluster between two upgrades may gain and lose machines, too."""

    takes_mixed_releases = True


class NoteLeaving(Phase[Work]):
    title = "state"

    def __init__(self, leaver: Machine, force: bool) -> None:
        self._leaver = leaver
        self._force = force

    def plan(self, work: Work) -> list[Step]:
        if work.record.leaving == self._leaver.name:
            return []
        return [Step("state", f"remember that {self._leaver.name} leaves")]

    def run(self, work: Work) -> bool:
        # Refused, with the arithmetic, while nothing is remembered of it.
        _removing_plan(work, self._leaver, self._force)
        _remember(work, leaving=self._leaver.name)
        return True


class Leave(Always):
    """Out of service, out of etcd, forgotten: as any other machine is removed."""

    title = "leave"

    def __init__(self, leaver: Machine, force: bool, resumed: bool) -> None:
        self._leaver = leaver
        self._force = force
        self._resumed = resumed

    def plan(self, work: Work) -> list[Step]:
        return _removing_plan(work, self._leaver, self._force).steps

    def run(self, work: Work) -> bool:
        existing, word = _existing(work, self._leaver).address, self._leaver.address

        def act() -> Planned:
            return removing.remove(work.settings, existing, word, work.report, force=self._force)

        return bool((patience.once_free(work.settings, work.report, act) if self._resumed else act()).steps)


class Destroy(Phase[Work]):
    title = "machine"

    def __init__(self, leaver: Machine) -> None:
        self._leaver = leaver

    def plan(self, _work: Work) -> list[Step]:
        return [Step(self._leaver.name, "destroy it with its disk")]

    def run(self, work: Work) -> bool:
        return work.provider().remove(self._leaver)


class Settled(Always):
    """The machine is not on its way in or out any more."""

    title = "settled"

    def __init__(self, machine: Machine) -> None:
        self._name = machine.name

    def plan(self, _work: Work) -> list[Step]:
        return []

    def run(self, work: Work) -> bool:
        joining, leaving = ("" if it == self._name else it for it in (work.record.joining, work.record.leaving))
        return _remember(work, joining=joining, leaving=leaving)


def _remember(work: Work, **names: str) -> bool:
    work.record = replace(work.record, **names)  # type: ignore[arg-type]
    return record.save(work.settings, work.record)


def _up(work: Work, machines: Sequence[Machine], only: Sequence[Machine]) -> None:
    """Make or boot those of `only`; `machines`: all that Vagrant shall know."""
    paths = cloudconfig.paths(work.settings, machines)
    provider = work.provider(work.image(work.settings.local.machine_image) if work.uses_containers else "")
    provider.up([Boot(machine, paths[machine.name]) for machine in machines], only)


def _members_away(work: Work, machines: Sequence[Machine]) -> str:
    """Return why etcd does not run yet on these machines, or an empty string."""
    seen = status.observe_store(work.settings, machines)
    return "; ".join([seen.reason] if seen.reason else seen.member_reasons.values())


def _add(work: Work, new: Machine, *, resumed: bool, install: bool) -> adding.Added:
    existing, options = _existing(work, new).address, adding.Options(install=install)

    def act() -> adding.Added:
        return adding.add(work.settings, existing, f"{new.name}={new.address}", work.report, options)

    return patience.once_free(work.settings, work.report, act) if resumed else act()


def _adding_steps(work: Work, new: Machine, *, install: bool) -> list[Step]:
    existing, options = _existing(work, new).address, adding.Options(install=install)
    return adding.plan(work.settings, existing, f"{new.name}={new.address}", work.report, options).planned.steps


def _removing_plan(work: Work, leaver: Machine, force: bool) -> Planned:
    # By its address: the name of a newcomer that never came is known here alone.
    existing, word = _existing(work, leaver).address, leaver.address
    return removing.plan(work.settings, existing, word, work.report, force=force)


def _existing(work: Work, changing: Machine) -> Machine:
    """Return another machine of the cluster, one that runs, by which it is asked. Raises Refused."""
    for machine in work.machines:
        if machine.name != changing.name and work.states[machine.name] == RUNNING:
            return machine
    raise Refused("no machine of the cluster runs: `inv local.start` boots them")
