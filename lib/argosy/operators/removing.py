"""operator.remove: no rights from the first step on, then no way in by ssh, machine by machine.

Which machines may let the operator in still stands in its record: the same command resumes, also for machines that
could not be reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from argosy.cluster import operators
from argosy.cluster.lock import Who
from argosy.cluster.opening import OpenCluster
from argosy.cluster.operator_record import OperatorRecord, operator_key, present
from argosy.config.loading import Settings
from argosy.errors import ConfigError, HostsFailed, Refused, nearest
from argosy.etcd import Put
from argosy.machine import authorized
from argosy.membership.actions import Action, Planned, action, do
from argosy.operators import keys
from argosy.report import Report
from argosy.ssh.host import Host

TASK = "operator.remove"


@dataclass(frozen=True, slots=True)
class Removed:
    """`unreachable`: why which machines may let it in still; `total`: how many had to be told."""

    planned: Planned
    unreachable: dict[str, Exception]
    total: int

    def refuse_unreachable(self) -> None:
        """Raise HostsFailed when not all machines could be told."""
        if self.unreachable:
            raise HostsFailed("Shutting it out", self.unreachable, self.total)


def plan(settings: Settings, name: str, report: Report) -> Removed:
    """Return what `remove` would do, changing nothing. Raises ConfigError for an unknown name, Refused, EtcdError."""
    with OpenCluster(settings, report) as cluster:
        operators.refuse(settings, cluster.store, TASK, report)
        return _planned(cluster, name)


def remove(settings: Settings, name: str, report: Report) -> Removed:
    """Make somebody an operator no more. Idempotent; the same command resumes. Raises as `plan` does, and LockHeld."""
    with OpenCluster(settings, report) as cluster, cluster.locked(TASK):
        removed = _planned(cluster, name)
        do(cluster, removed.planned, name, f"remove operator {name}")
        return removed


def _planned(cluster: OpenCluster, name: str) -> Removed:
    settings = cluster.settings
    records = operators.read_records(cluster.store)
    record = records.get(name)
    if record is None:
        known = ", ".join(present(records)) or "none"
        raise ConfigError(f"no operator of this cluster{nearest(name, records)}; known: {known}", name)
    if operators.identity(settings).name == name:
        raise Refused(f"{name} is who asks: another operator with the rights full removes it")
    there = [machine.name for machine in cluster.machines]
    left = there if record.removed is None else [machine for machine in record.left_on if machine in there]
    outcomes = cluster.hosts.each(lambda host: host.connect(), left, what="Looking at the machines")
    unreachable = {machine: outcome.error for machine, outcome in outcomes.items() if outcome.error is not None}
    hosts = [cluster.hosts[machine] for machine in left if machine not in unreachable]
    notes = [f"{error}: run the same again when it is back" for error in unreachable.values()]
    if record.removed is None:
        notes.append("the registry's password is the same for all: change it, then inv registry.start, secrets.rotate")
        notes += [f"so is that of registries.{place}: change it there, too" for place in cluster.settings.registries]
    actions = tuple(_actions(cluster, name, record, left, hosts))
    return Removed(Planned(actions, tuple(notes)), unreachable, len(left))


def _actions(
    cluster: OpenCluster, name: str, record: OperatorRecord, left: list[str], hosts: list[Host]
) -> Iterator[Action]:
    settings = cluster.settings
    if record.removed is None:
        yield action("etcd", f"take the rights of {name}", lambda: _revoke(cluster, name, left))
    elif tuple(left) != record.left_on:
        yield action("etcd", "forget machines that are no more", lambda: _leave(cluster, name, left))
    if keys.folder(settings, name).exists():
        yield action("here", f"remove {keys.folder(settings, name)}", lambda: keys.remove(settings, name))
    for host in hosts:
        yield _shutting_out(cluster, name, record.ssh_key, host)


def _shutting_out(cluster: OpenCluster, name: str, line: str, host: Host) -> Action:
    def run() -> None:
        authorized.shut_out(host, line)
        record = _present(cluster, name)
        _leave(cluster, name, [machine for machine in record.left_on if machine != host.name])

    return action(host.name, f"shut the ssh key of {name} out", run)


def _revoke(cluster: OpenCluster, name: str, machines: list[str]) -> None:
    record = _present(cluster, name).revoked(cluster.clock.now(), str(Who.here()), tuple(machines))
    cluster.holding.write([Put(operator_key(name), record.text())])


def _leave(cluster: OpenCluster, name: str, machines: list[str]) -> None:
    record = replace(_present(cluster, name), left_on=tuple(machines))
    cluster.holding.write([Put(operator_key(name), record.text())])


def _present(cluster: OpenCluster, name: str) -> OperatorRecord:
    record = operators.read_record(cluster.store, name)
    if record is None:
        raise Refused(f"{operator_key(name)} is gone: somebody has deleted it just now")
    return record
