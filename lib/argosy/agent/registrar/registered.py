"""Pure. What in etcd this machine's instances depend on, by the mirror and by what we have written ourselves since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy.etcd.values import Entry, Put
from argosy.model import MachineState
from argosy.schema import MachineRecord, generation_key, machine_key, parse_machine, service_of
from argosy.schema.catalog import set_or_drop
from argosy.schema.instances import Write, is_generation, is_own


@dataclass(frozen=True, slots=True)
class MirroredKeys:
    """Keys as the mirror has them at `revision`; None: not there. `full`: there are no others of ours."""

    revision: int
    entries: Mapping[str, Entry | None]
    full: bool = False


def seen(
    machine: str, revision: int, keys: Iterable[str], entries: Mapping[str, Entry], full: bool
) -> MirroredKeys | None:
    """Return what matters to `machine` of a batch of changed keys, None for nothing.

    `full`: look at all of them; the mirror tells only what it did not know itself.
    """
    state = machine_key(machine)
    keys = [*entries, state] if full else keys
    found = {key: entries.get(key) for key in keys if key == state or is_own(key, machine) or is_generation(key)}
    return MirroredKeys(revision, found, full) if found or full else None


@dataclass(slots=True)
class Holdings:
    """`known`: whether the mirror has told anything; `active`: whether this machine may have instances, else only those
    of `staying`, services that serve on while it drains; `present`: the keys of its own instances, `generations`: the
    weights of all generations, both by key."""

    machine: str
    known: bool = False
    active: bool = True
    staying: tuple[str, ...] = ()
    present: dict[str, Entry] = field(default_factory=dict)
    generations: dict[str, Entry] = field(default_factory=dict)
    _written: dict[str, int] = field(default_factory=dict)
    _revision: int = 0

    def take(self, told: MirroredKeys) -> None:
        """Take in what the mirror has, except where we know better."""
        self.known = True
        if told.revision < self._revision:
            self._written = {}  # of an etcd that was made anew since, and counts from 1
        self._revision = told.revision
        if told.full:
            self.present = {key: entry for key, entry in self.present.items() if key in self._newer(told.revision)}
            self.generations = {}
        for key, entry in told.entries.items():
            if key == machine_key(self.machine):
                self.active, self.staying = is_active(entry), staying(entry)
            elif is_generation(key):
                set_or_drop(self.generations, key, entry)
            elif self._written.get(key, 0) > told.revision:
                continue
            else:
                set_or_drop(self.present, key, entry)
        self._written = {key: self._written[key] for key in self._newer(told.revision)}

    def wrote(self, writes: Iterable[Write], revision: int) -> None:
        """Take in what we have written; the mirror will tell a moment later."""
        for write in writes:
            self._written[write.key] = revision
            if not isinstance(write, Put):
                self.present.pop(write.key, None)
            elif is_own(write.key, self.machine):
                self.present[write.key] = Entry(write.key, write.value, revision, revision, lease=write.lease)

    def leaving(self) -> dict[str, Entry]:
        """Return the keys of its own instances that don't stay while the machine is out of service."""
        return {key: entry for key, entry in self.present.items() if service_of(key) not in self.staying}

    def generation(self, service: str, number: int) -> Entry | None:
        """Return the weight that a generation of a service has of its own."""
        return self.generations.get(generation_key(service, number))

    def has_written(self, key: str) -> bool:
        """Return whether we have put a key that the mirror may not have yet."""
        return key in self._written

    def _newer(self, revision: int) -> set[str]:
        return {key for key, written in self._written.items() if written > revision}


def is_active(entry: Entry | None) -> bool:
    """Return whether a machine's record lets it have instances; one that is missing or unreadable does."""
    found = parse_machine(entry) if entry is not None else None
    return not isinstance(found, MachineRecord) or found.state == MachineState.ACTIVE


def staying(entry: Entry | None) -> tuple[str, ...]:
    """Return the services that a machine's record lets serve on while it drains."""
    found = parse_machine(entry) if entry is not None else None
    if not isinstance(found, MachineRecord) or found.state != MachineState.DRAINING:
        return ()
    return found.staying
