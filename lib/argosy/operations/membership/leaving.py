"""What it takes for a machine to leave: out of service, out of etcd, forgotten. For removing and for replacing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from argosy import inventory, known_hosts, machine_goodbye
from argosy.builtin_services import AGENT, DNS, ROUTER
from argosy.errors import HostUnreachable, Refused
from argosy.fanout import attempt
from argosy.host import Host
from argosy.membership import Deed, MemberStep
from argosy.model import Machine, MachineState
from argosy.operations.cloudconfig import FOLDER
from argosy.operations.membership import goodbye, swarming
from argosy.operations.membership.actions import Action, action
from argosy.operations.membership.observing import Work

LAST = (AGENT, ROUTER, DNS)
"""What stops after the services that it serves."""


@dataclass(frozen=True, slots=True)
class Leaver:
    """A machine that shall go. `machine`: None for a name that only etcd knows, or nobody; `reason`: why it can't be
    reached, empty when it can."""

    name: str
    machine: Machine | None
    reason: str = ""

    @property
    def alive(self) -> bool:
        return self.machine is not None and not self.reason

    @property
    def note(self) -> str:
        """What to say of one that goes without its goodbye."""
        if self.machine is None or self.alive:
            return ""
        return (
            f"{self.name} goes without its goodbye ({self.reason}); should it come back, switch it off: what runs "
            "there knows nothing of this"
        )


def find_leaver(work: Work, word: str) -> Leaver:
    """Return the machine that `word`, a name or an address, means, and whether it can be reached.

    Raises Refused when it can't be but seems to be alive, unless forced: its services would go on.
    """
    machine = next((it for it in work.seen.machines if word in (it.name, it.address)), None)
    if machine is None:
        return Leaver(next((it.name for it in work.seen.running_etcd() if word in (it.name, it.address)), word), None)
    error = attempt(_enter, work.hosts[machine]).error
    if error is None:
        return Leaver(machine.name, machine)
    member = work.seen.cluster.member(machine.name)
    if not work.force and type(error) is not HostUnreachable:
        raise Refused(f"{error}; the machine is there, so its services would go on: get in, or give --force")
    if not work.force and member is not None and member.healthy:
        raise Refused(f"{error}; but its etcd answers, so its services would go on: get in, or give --force")
    return Leaver(machine.name, machine, str(error))


def leaving(work: Work, leaver: Leaver, steps: Iterable[MemberStep]) -> Iterator[Action]:
    """Yield what takes the machine out of service, out of the Swarm and out of etcd; `steps`: of the members' plan,
    those of it."""
    name = leaver.name
    if leaver.alive:
        record = work.seen.records.get(name)
        if record is not None and record.state != MachineState.DOWN:
            yield action(name, "drain: routers and balancer send it nothing new", lambda: _drain(work, name))
        yield action(name, "stop its services, for good", lambda: _stop_services(work, name))
    yield from swarming.departing(work, name, alive=leaver.alive)
    for step in steps:
        yield _member_action(work, step)
    if leaver.alive:
        yield action(name, "stop its etcd, remove its data and all secrets", lambda: _leave(work, name))
    if not work.seen.reason and (count := len(goodbye.keys(work.store, name))):
        text = f"forget {name}: {count} key{'s' * (count > 1)}"
        yield action("etcd", text, lambda: goodbye.forget(work.store, work.holding, name))


def forgetting(work: Work, leaver: Leaver) -> Iterator[Action]:
    """Yield what removes the machine from this host's memory. It comes last: till then the same command finds it."""
    machine, settings = leaver.machine, work.settings
    if machine is None or machine.name not in {it.name for it in inventory.load(settings)}:
        return

    def run() -> None:
        known_hosts.forget(settings.state_path / "known_hosts", machine.address, settings.ssh.port)
        for path in (settings.state_path / FOLDER).glob(f"{machine.name}.*"):
            path.unlink(missing_ok=True)
        inventory.forget(settings, [machine.name])

    yield action("here", f"forget {machine.name}: its place in the inventory, host key and cloud-config file", run)


def _member_action(work: Work, step: MemberStep) -> Action:
    if step.deed is Deed.MOVE_LEADER:
        return action(step.machine, str(step), lambda: _hand_over(work, step.others[0]))
    if step.deed is Deed.REMOVE:
        return action(step.machine, str(step), lambda: work.store.member_remove(step.member))
    raise AssertionError(step)


def _hand_over(work: Work, name: str) -> None:
    """Let `name` lead; it may have joined a moment ago, so its id is looked for now."""
    target = work.look().cluster.member(name)
    if target is not None:
        work.store.move_leader(target.id)


def _enter(host: Host) -> None:
    host.run(["true"], sudo=True)


def _drain(work: Work, name: str) -> None:
    work.draining.send_off(work.hosts[name], force=work.force)


def _stop_services(work: Work, name: str) -> None:
    work.hosts[name].run(machine_goodbye.stop_services(work.settings.system, LAST), sudo=True)


def _leave(work: Work, name: str) -> None:
    work.hosts[name].run(machine_goodbye.leave(work.settings.system), sudo=True)
