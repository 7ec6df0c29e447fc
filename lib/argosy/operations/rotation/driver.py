"""Go through one phase of a rotation, machine by machine. It may die at any moment; the same again goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from argosy.console import Report
from argosy.errors import Unhealthy
from argosy.rotation import Deed, Enter, Finish, Gate, Phase, Seen, Work, next_action

ATTEMPTS = 2
"""Of a machine: its files may change once more while we are at it, but not for ever."""


class Machines(Protocol):
    """The machines of a cluster as one phase sees them. `authority`: the SHA-256 of the CA file that they shall have.

    What they raise are ArgosyErrors; each deed may be cut off at any moment and be done again.
    """

    @property
    def authority(self) -> str: ...

    def look(self) -> Sequence[Seen]:
        """Return all machines as they are."""

    def look_at(self, name: str) -> Seen:
        """Return one machine as it is."""

    def do(self, name: str, deed: Deed) -> None:
        """Do this on the machine. Raises QuorumAtRisk for a restart that etcd could not bear now."""

    def wait_until_well(self, names: Collection[str]) -> None:
        """Wait until these machines and etcd are well. Raises Unhealthy, naming what is not."""


class Lock(Protocol):
    def check(self) -> None: ...


def run_phase(
    phase: Phase, machines: Machines, lock: Lock, uses: Mapping[str, Collection[str]], report: Report
) -> Enter | Finish:
    """Do on every machine what `phase` wants, one after the other, each well before the next; return what follows.

    Raises Unhealthy when a machine does not become well: all others are as they were.
    """
    seen = {it.name: it for it in machines.look()}
    gated: set[str] = set()
    attempts: Counter[str] = Counter()
    while True:
        lock.check()
        action = next_action(phase, seen.values(), gated, machines.authority, uses)
        match action:
            case Gate(names):
                gated |= set(names)
                machines.wait_until_well(frozenset(gated))
            case Work(name, deeds):
                attempts[name] += 1
                if attempts[name] > ATTEMPTS:
                    raise Unhealthy(f"{name}: there is still to do: {'; '.join(map(str, deeds))}")
                for deed in deeds:
                    lock.check()
                    report(name, str(deed))
                    machines.do(name, deed)
                gated.discard(name)
                seen[name] = machines.look_at(name)
            case _:
                return action
