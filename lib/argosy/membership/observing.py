"""What there is of a cluster when its members are to be changed: its machines, its etcd, its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import ConfigError, EtcdError
from argosy.etcd import Etcd
from argosy.etcd.connection import reaching
from argosy.host import Hosts
from argosy.membership import Cluster, cluster_of
from argosy.model import Machine, Member
from argosy.operations.clock import SystemClock
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.draining import Draining
from argosy.schema import MACHINES, MachineRecord, parse_machine


@dataclass(frozen=True, slots=True)
class Seen:
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
        return next((it for it in self.machines if it.name == name), None)

    def running_etcd(self) -> list[Machine]:
        """Return who runs etcd, as etcd itself lists them: voters, learners, and strangers."""
        states = self.cluster.members
        urls = [member.peer_urls[0] if member.peer_urls else "" for member in self.members]
        return [Machine(it.name, urlsplit(url).hostname or "") for it, url in zip(states, urls, strict=True)]

    def voting(self) -> list[Machine]:
        """Return the machines whose etcd has a vote and has started, in the order of the machines."""
        names = {it.name for it in self.cluster.voters if it.started}
        return [it for it in self.machines if it.name in names]


@dataclass
class Work:
    """A cluster whose members are being changed. `known`: the machines that this host knows; `new`: the newcomer;
    `hosts`: of all of these; `lock`: None in a dry run; `stack`: ends with all this."""

    settings: Settings
    store: Etcd
    known: tuple[Machine, ...]
    hosts: Hosts
    seen: Seen
    report: Report
    new: Machine | None = None
    force: bool = False
    lock: ClusterLock | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def holding(self) -> ClusterLock:
        if self.lock is None:
            raise AssertionError("a change without the cluster's lock")
        return self.lock

    @property
    def draining(self) -> Draining:
        """What takes machines out of service, and puts them back."""
        return Draining(self.settings, self.hosts, self.store, self.holding, self.report, SystemClock())

    def look(self) -> Seen:
        """Look again, and return what is seen now."""
        self.seen = observe(self.store, self.known, [self.new] if self.new else [])
        return self.seen

    def look_well(self) -> Seen:
        """Look again, and raise EtcdError when not all can be seen: that would be left out of the plan."""
        seen = self.look()
        if seen.reason:
            raise EtcdError(seen.reason)
        return seen

    def reach(self, *machines: Machine) -> None:
        """Use the etcd of these machines, too."""
        self.stack.enter_context(reaching(self.store, self.settings, machines, self.hosts))


def observe(store: Etcd, known: Sequence[Machine], joining: Sequence[Machine] = ()) -> Seen:
    """Return what is seen of the cluster. Raises EtcdError when no member answers at all."""
    members = tuple(store.members())
    try:
        entries = store.get_prefix(MACHINES).entries
    except EtcdError as error:
        return Seen(tuple(known), members, joining=tuple(joining), reason=str(error))
    records = {it.name: it for it in map(parse_machine, entries) if isinstance(it, MachineRecord)}
    return Seen(merged(known, records), members, records, tuple(joining))


def merged(known: Sequence[Machine], records: Mapping[str, MachineRecord]) -> tuple[Machine, ...]:
    """Return `known` and, behind them, the machines that only their records tell of. Pure."""
    names, addresses = {it.name for it in known}, {it.address for it in known}
    told = [
        Machine(it.name, it.address, metadata=it.metadata)
        for it in records.values()
        if it.name not in names and it.address and it.address not in addresses
    ]
    return (*known, *sorted(told, key=lambda machine: machine.name))


def _only(known: Sequence[Machine], seen: Seen, first: Machine, word: str) -> list[Machine]:
    """Return the one machine of a cluster of which nothing else is known. Raises ConfigError when something is."""
    if known or seen.records:
        names = ", ".join(it.name for it in seen.machines)
        raise ConfigError(f"no machine of this cluster, which has {names}", word)
    return [first]


@contextmanager
def opened(settings: Settings, existing: str, report: Report, *, new: str = "", force: bool = False) -> Iterator[Work]:
    """Give the cluster of the machine `existing`, and the connections to its machines.

    `existing`: its name, or its address if this host does not know the cluster yet. `new`: the machine that shall join,
    as NAME, ADDRESS or NAME=ADDRESS. Raises ConfigError, EtcdError.
    """
    known, first = inventory.load(settings), inventory.resolve(settings, [existing])[0]
    # Under its address, for its name is not known yet, and must not be taken for that of another.
    asked = {first.address: Machine(first.address, first.address)} | {it.address: it for it in known}
    with etcd.connect(settings, list(asked.values())) as store:
        seen = observe(store, known)
        if first.address not in {it.address for it in seen.machines}:
            seen = observe(store, known := _only(known, seen, first, existing))
        joining = inventory.resolve(settings, [new], beside=seen.machines) if new else []
        seen = replace(seen, joining=tuple(joining))
        machines = {it.name: it for it in (*seen.machines, *joining)}
        with Hosts(settings, machines.values()) as hosts, ExitStack() as stack:
            newcomer = joining[0] if joining else None
            work = Work(settings, store, tuple(known), hosts, seen, report, newcomer, force, stack=stack)
            strangers = [it for it in seen.machines if it.address not in asked]
            if strangers:
                work.reach(*strangers)
                work.look()
            yield work
