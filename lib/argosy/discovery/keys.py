"""The keys of discovery in etcd: read, and changed as one transaction, decided on what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.discovery_changes import KeyChange
from argosy.errors import StalePlan
from argosy.etcd import Compare, Delete, Entry, Etcd, Put
from argosy.schema import FOLLOWED, ROUTERS

ATTEMPTS = 10
"""Of a change that others are faster than: they write now and then, not all the time."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of a change. `revision`: of the write, 0 when there was nothing to write."""

    change: KeyChange
    revision: int = 0


@contextmanager
def connected(settings: Settings) -> Iterator[Etcd]:
    """Give a client of the cluster's etcd."""
    with etcd.connect(settings, inventory.select(settings)) as store:
        yield store


def read(store: Etcd, prefixes: Sequence[str] = (*FOLLOWED, ROUTERS)) -> list[Entry]:
    """Return all entries under `prefixes`, each prefix as it was at one moment."""
    return [entry for prefix in prefixes for entry in store.get_prefix(prefix).entries]


def change(
    store: Etcd,
    prefix: str,
    plan: Callable[[Sequence[Entry]], KeyChange],
    *,
    beside: Sequence[str] = (),
    exclusive: bool = False,
) -> Changed:
    """Make the change that `plan` decides on all entries under `prefix`, if they still are what it decided on.

    `beside`: it is shown these prefixes, too. `exclusive`: it depends on what nobody has put there. Plans anew when
    somebody was faster; raises StalePlan when that happens again and again. Writes nothing when the plan has nothing.
    """
    for _ in range(ATTEMPTS):
        listing = store.get_prefix(prefix)
        planned = plan([*listing.entries, *read(store, beside)])
        if planned.nothing:
            return Changed(planned)
        done = store.transact(
            [*_conditions(planned, {it.key: it for it in listing.entries}, listing.revision)]
            + ([etcd.not_put_since(prefix, listing.revision)] if exclusive else []),
            [*(Put(key, value) for key, value in planned.put.items()), *_deletions(planned)],
        )
        if done.succeeded:
            return Changed(planned, done.revision)
    raise StalePlan(f"others change {prefix} all the time: nothing was written; try again")


def _conditions(planned: KeyChange, present: Mapping[str, Entry], revision: int) -> Iterator[Compare]:
    if planned.prefix:
        yield etcd.not_put_since(planned.prefix, revision)
    for key in [*planned.put, *planned.relied, *(() if planned.prefix else planned.delete)]:
        yield etcd.unchanged(present[key]) if key in present else etcd.absent(key)


def _deletions(planned: KeyChange) -> list[Delete]:
    if planned.prefix:
        return [Delete(planned.prefix, prefix=True)]
    return [Delete(key) for key in planned.delete]
