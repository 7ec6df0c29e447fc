"""What there is of a cluster when its members are to be changed: its machines, its etcd, its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from argosy import inventory
from argosy.cluster import machines, operators
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.draining.machine import Draining
from argosy.errors import ConfigError, EtcdError
from argosy.etcd import Etcd
from argosy.etcd.connection import reaching
from argosy.etcd.quorum import Cluster, cluster_of
from argosy.model import Machine, Member
from argosy.report import Report
from argosy.schema import MachineRecord
from argosy.ssh.host import Hosts


@dataclass(frozen=True, slots=True)
class ObservedCluster:
    """A cluster at one moment. `machines`: those of the inventory, and those that only etcd knows; `records`: what
    stands under /machines/; `joining`: whose member may be there before the machine is; `reason`: why the records could
    not be read, as without a quorum."""

    machines: tuple[Machine, ...]
    members: tuple[Member, ...]
    records: Mapping[str, MachineRecord] = field(default_factory=dict)
    joining: tuple[Machine, ...] = ()
    reason: str = ""

    @property
    def cluster(self) -> Cluster:
        return cluster_of(self.machines, self.members, self.joining)

    def machine(self, name: str) -> Machine | None:
        return next((machine for machine in self.machines if machine.name == name), None)

    def running_etcd(self) -> list[Machine]:
        """Return who runs etcd, as etcd itself lists them: voters, learners, and strangers."""
        states = self.cluster.members
        urls = [member.peer_urls[0] if member.peer_urls else "" for member in self.members]
        return [Machine(member.name, urlsplit(url).hostname or "") for member, url in zip(states, urls, strict=True)]

    def voting(self) -> list[Machine]:
        """Return the machines whose etcd has a vote and has started, in the order of the machines."""
        names = {voter.name for voter in self.cluster.voters if voter.started}
        return [machine for machine in self.machines if machine.name in names]


class Membership(OpenCluster):
    """A cluster whose members are being changed. `known`: the machines that this host knows; `new`: the newcomer;
    `hosts`: of all machines of `seen`, and of the newcomer."""

    known: tuple[Machine, ...] = ()
    new: Machine | None = None
    force: bool = False
    lose_volumes: bool = False
    seen: ObservedCluster

    @property
    def draining(self) -> Draining:
        """What takes machines out of service, and puts them back."""
        return Draining(self)

    def look(self) -> ObservedCluster:
        """Look again, and return what is seen now."""
        joining = [self.new] if self.new else []
        self.seen = observe(self.store, self.known, joining, self.settings.machine.os)
        machines.take(self.settings, self.seen.records.values(), self.report)
        return self.seen

    def look_well(self) -> ObservedCluster:
        """Look again, and raise EtcdError when not all can be seen: that would be left out of the plan."""
        seen = self.look()
        if seen.reason:
            raise EtcdError(seen.reason)
        return seen

    def reach(self, *others: Machine) -> None:
        """Use the etcd of these machines, too."""
        self.open(reaching(self.store, self.settings, others, self.hosts))


def observe(store: Etcd, known: Sequence[Machine], joining: Sequence[Machine], os: str) -> ObservedCluster:
    """Return what is seen of the cluster. `os`: of a machine whose record does not tell it. Raises EtcdError when no
    member answers at all."""
    members = tuple(store.members())
    try:
        records = {record.name: record for record in machines.read(store)}
    except EtcdError as error:
        return ObservedCluster(tuple(known), members, joining=tuple(joining), reason=str(error))
    told = machines.new_machines(records.values(), known, os)
    seen = (*known, *sorted(told, key=lambda machine: machine.name))
    return ObservedCluster(seen, members, records, tuple(joining))


@contextmanager
def opened(
    settings: Settings,
    existing: str,
    report: Report,
    *,
    task: str = "",
    new: str = "",
    force: bool = False,
    lose_volumes: bool = False,
) -> Iterator[Membership]:
    """Give the cluster of the machine `existing`, with all machines that it has, also those that only etcd knows.

    `existing`: its name, or its address if this host does not know the cluster yet; any that it knows when empty.
    `new`: the machine that joins, as NAME, ADDRESS or NAME=ADDRESS; `task`: what is refused to operators without the
    right to it, before anything is looked at. Raises ConfigError, Refused, EtcdError.
    """
    first, known = _first(settings, existing)
    # Under its address, for its name is not known yet, and must not be taken for that of another.
    asked = {first.address: Machine(first.address, first.address)} | {machine.address: machine for machine in known}
    with Membership(settings, report, machines=list(asked.values())) as cluster:
        cluster.known, cluster.force, cluster.lose_volumes = known, force, lose_volumes
        operators.refuse(settings, cluster.store, task, report)
        if first.address not in {machine.address for machine in cluster.look().machines}:
            cluster.known = (_only(cluster, first, existing),)
            cluster.look()
        if new:
            (cluster.new,) = inventory.resolve(settings, [new], beside=cluster.seen.machines)
            cluster.seen = replace(cluster.seen, joining=(cluster.new,))
        cluster.machines = list(
            {machine.name: machine for machine in (*cluster.seen.machines, *cluster.seen.joining)}.values()
        )
        cluster.hosts = cluster.open(Hosts(settings, cluster.machines))
        strangers = [machine for machine in cluster.seen.machines if machine.address not in asked]
        if strangers:
            cluster.reach(*strangers)
            cluster.look()
        yield cluster


def _first(settings: Settings, existing: str) -> tuple[Machine, tuple[Machine, ...]]:
    """Return the machine that is asked first, and all that this host knows. Raises ConfigError for a bad word."""
    if not existing:
        known = tuple(machines.select(settings))
        return known[0], known
    try:
        first = inventory.resolve(settings, [existing])[0]
    except ConfigError:
        if not machines.learn(settings):
            raise
        first = inventory.resolve(settings, [existing])[0]
    return first, tuple(inventory.load(settings))


def _only(cluster: Membership, first: Machine, word: str) -> Machine:
    """Return the one machine of a cluster of which nothing else is known. Raises ConfigError when something is."""
    if cluster.known or cluster.seen.records:
        names = ", ".join(machine.name for machine in cluster.seen.machines)
        raise ConfigError(f"no machine of this cluster, which has {names}", word)
    return first
