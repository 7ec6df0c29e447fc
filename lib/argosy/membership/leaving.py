"""What it takes for a machine to leave: out of service, out of the Swarm and etcd, forgotten. For removing and for
replacing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from argosy import inventory
from argosy.cloudconfig.writing import FOLDER
from argosy.cluster import operators
from argosy.cluster.operator_record import OperatorRecord
from argosy.config.builtin import AGENT, DNS, ROUTER
from argosy.errors import HostUnreachable, Refused
from argosy.etcd import Delete, quorum
from argosy.etcd.values import MAX_WRITES
from argosy.fanout import attempt
from argosy.membership import clearing, leaving_scripts, volumes
from argosy.membership.actions import Action, action
from argosy.membership.observing import Membership
from argosy.model import Machine, MachineState
from argosy.pki import authority
from argosy.providers import provider_of
from argosy.schema import MACHINES, ROUTERS, SERVICES
from argosy.ssh import pins
from argosy.ssh.shell import Script
from argosy.swarm import ensuring
from argosy.swarm.managing import info_of, local_swarm

CLEAR = "take our units, programs and files away; Docker's settings as they were before; packages stay"
LAST = (AGENT, ROUTER, DNS)
"""What stops after the services that it serves."""


@dataclass(frozen=True, slots=True)
class LeavingMachine:
    """A machine that leaves. `machine`: None for a name that only etcd knows, or nobody; `reason`: why it can't be
    reached, empty when it can."""

    name: str
    machine: Machine | None
    reason: str = ""

    @property
    def alive(self) -> bool:
        return self.machine is not None and not self.reason

    @property
    def note(self) -> str:
        """What to say of one that can't be told that it leaves."""
        if self.machine is None or self.alive:
            return ""
        return (
            f"{self.name} is unreachable and is removed without draining ({self.reason}); if it returns, power it off"
        )


def find_leaving(cluster: Membership, word: str) -> LeavingMachine:
    """Return the machine that `word`, a name or an address, means, and whether it can be reached.

    Raises Refused when it can't be but seems to be alive, unless forced: its services would continue. And when volumes
    would be lost with it, unless they may be.
    """
    leaver = _found(cluster, word)
    volumes.refuse_loss(cluster, leaver.name)
    return leaver


def _found(cluster: Membership, word: str) -> LeavingMachine:
    machine = next((machine for machine in cluster.seen.machines if word in (machine.name, machine.address)), None)
    if machine is None:
        name = next(
            (machine.name for machine in cluster.seen.running_etcd() if word in (machine.name, machine.address)), word
        )
        return LeavingMachine(name, None)
    error = attempt(lambda host: host.run(["true"], sudo=True), cluster.hosts[machine]).error
    if error is None:
        return LeavingMachine(machine.name, machine)
    member = cluster.seen.cluster.member(machine.name)
    if not cluster.force and type(error) is not HostUnreachable:
        raise Refused(f"{error}; the machine is there, so its services would continue: get in, or give --force")
    if not cluster.force and member is not None and member.healthy:
        raise Refused(f"{error}; but its etcd answers, so its services would continue: get in, or give --force")
    return LeavingMachine(machine.name, machine, str(error))


def leaving(cluster: Membership, leaver: LeavingMachine, steps: Iterable[quorum.MemberStep]) -> Iterator[Action]:
    """Yield what takes the machine out of service, out of the Swarm and out of etcd; `steps`: of the members' plan,
    those of it."""
    name, system = leaver.name, cluster.settings.system

    def run(script: Script) -> None:
        cluster.hosts[name].run(script, sudo=True)

    def drain() -> None:
        cluster.draining.send_off(cluster.hosts[name], force=cluster.force)

    yield from volumes.losing(cluster, name)
    if leaver.alive:
        record = cluster.seen.records.get(name)
        if record is not None and record.state != MachineState.DOWN:
            yield action(name, "drain: routers and balancer send it nothing new", drain)
        yield action(name, "stop its services, for good", lambda: run(leaving_scripts.stop_services(system, LAST)))
    yield from leaving_swarm(cluster, name, alive=leaver.alive)
    yield from volumes.settling(cluster, name)
    for step in steps:
        yield _member_action(cluster, step)
    if leaver.alive and (machine := leaver.machine):
        yield action(name, "stop its etcd, remove its data and all secrets", lambda: run(leaving_scripts.leave(system)))
        lost, let_in = volumes.to_remove(cluster), _operators_on(cluster, name)
        text = f"{CLEAR}; remove the volumes {', '.join(lost)}" if lost else CLEAR
        text += f"; let the operators {', '.join(let_in)} in by ssh no more" if let_in else ""
        ssh_keys = [record.ssh_key for record in let_in.values()]
        yield action(name, text, lambda: clearing.clear(cluster, machine, lost, ssh_keys, force=cluster.force))
    if not cluster.seen.reason and (count := len(_keys(cluster, name))):
        text = f"forget {name}: {count} key{'s' * (count > 1)}"
        yield action("etcd", text, lambda: _forget(cluster, name))


def _operators_on(cluster: Membership, name: str) -> dict[str, OperatorRecord]:
    """Return the other operators whom the machine may let in, as far as etcd can be asked."""
    if cluster.seen.reason:
        return {}
    own = operators.identity(cluster.settings).name
    records = operators.read_records(cluster.store)
    return {
        operator: record
        for operator, record in records.items()
        if operator != own and (record.removed is None or name in record.left_on)
    }


def leaving_swarm(cluster: Membership, name: str, *, alive: bool) -> Iterator[Action]:
    """Yield what takes the machine out of the Swarm. `alive`: it can be asked.

    Raises QuorumAtRisk, before anything is changed, when the Swarm's managers could not do without it.
    """
    if not cluster.settings.swarm.enabled:
        return
    if cluster.seen.reason:
        # There is no lock to be had, and the Swarm's managers may be gone as etcd's members are.
        if alive and info_of(cluster.hosts[name]).inside:
            text = "leave the Swarm, by force: what that knows of it stays there"
            yield action(name, text, lambda: _leave_by_force(cluster, name))
        return
    planned = ensuring.plan_departure(cluster, name, force=cluster.force)
    if planned.steps:
        risk = f" (risked by force: {planned.risk})" if planned.risk else ""
        words = "; ".join(f"{'' if step.machine == name else f'{step.machine}: '}{step}" for step in planned.steps)
        yield action(name, f"{words}{risk}", lambda: ensuring.depart(cluster, name, force=cluster.force))


def forgetting(cluster: Membership, leaver: LeavingMachine) -> Iterator[Action]:
    """Yield what removes the machine from this host's memory. It comes last: till then the same command finds it."""
    machine, settings = leaver.machine, cluster.settings
    if machine is None or machine.name not in {machine.name for machine in inventory.load(settings)}:
        return

    def run() -> None:
        provider_of(settings).reclaim(settings, machine)
        pins.forget(settings, machine)
        authority.forget_machine(settings.secrets_path, machine.name)
        for path in (settings.state_path / FOLDER).glob(f"{machine.name}.*"):
            path.unlink(missing_ok=True)
        inventory.forget(settings, [machine.name])

    yield action(
        "here", f"forget {machine.name}: its place in the inventory, host key, certificates and cloud-config file", run
    )


def _member_action(cluster: Membership, step: quorum.MemberStep) -> Action:
    if step.action is quorum.Action.MOVE_LEADER:
        return action(step.machine, str(step), lambda: _hand_over(cluster, step.others[0]))
    if step.action is quorum.Action.REMOVE:
        return action(step.machine, str(step), lambda: cluster.store.member_remove(step.member))
    raise AssertionError(step)


def _hand_over(cluster: Membership, name: str) -> None:
    """Let `name` lead; it may have joined a moment ago, so its id is looked for now."""
    target = cluster.look().cluster.member(name)
    if target is not None:
        cluster.store.move_leader(target.id)


def _leave_by_force(cluster: Membership, name: str) -> None:
    with local_swarm(cluster.hosts[name]) as swarm:
        swarm.leave(force=True)


def _keys(cluster: Membership, name: str) -> list[str]:
    """Return all keys of the machine: its record, its router's, its instances'."""
    entries = [entry for prefix in (MACHINES, ROUTERS, SERVICES) for entry in cluster.store.get_prefix(prefix).entries]
    return leaving_scripts.keys_of(name, entries)


def _forget(cluster: Membership, name: str) -> None:
    """Delete all keys of the machine. Idempotent. Raises LockLost, EtcdError."""
    keys = _keys(cluster, name)
    for start in range(0, len(keys), MAX_WRITES):
        cluster.holding.write([Delete(key) for key in keys[start : start + MAX_WRITES]])
