"""The keys of discovery in etcd: read, and changed as one transaction, decided on what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from argosy import etcd
from argosy.config.loading import Settings
from argosy.discovery.changes import KeyChange, Registration, plan_deregister, plan_register
from argosy.discovery.rendering import conflicts
from argosy.errors import StalePlan
from argosy.etcd import Compare, Delete, Entry, Etcd, Put
from argosy.schema import FOLLOWED, ROUTERS, SERVICES

ATTEMPTS = 10
"""Of a change that others are faster than: they write now and then, not all the time."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of a change. `revision`: of the write, 0 when there was nothing to write."""

    change: KeyChange
    revision: int = 0


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
            [*_conditions(planned, {entry.key: entry for entry in listing.entries}, listing.revision)]
            + ([etcd.not_put_since(prefix, listing.revision)] if exclusive else []),
            [*(Put(key, value) for key, value in planned.put.items()), *_deletions(planned)],
        )
        if done.succeeded:
            return Changed(planned, done.revision)
    raise StalePlan(f"others change {prefix} all the time: nothing was written; try again")


def plan_registration(settings: Settings, store: Etcd, registration: Registration) -> KeyChange:
    """Return what `register` would write."""
    return plan_register(registration, read(store, FOLLOWED), partial(conflicts, settings))


def register(settings: Settings, store: Etcd, registration: Registration) -> Changed:
    """Put an instance and what is said of its service, as one transaction, without a lease: it stays until somebody
    takes it away. Idempotent.

    Raises ConfigError for a bad word, Refused where another service has what this one claims; then nothing is written,
    also when that other one was faster by a moment.
    """
    claims = bool(registration.host_port or registration.sni or registration.scheme)
    beside = [prefix for prefix in FOLLOWED if prefix != SERVICES]
    plan = partial(plan_register, registration, conflicts=partial(conflicts, settings))
    return change(store, SERVICES, plan, beside=beside, exclusive=claims)


def plan_removal(store: Etcd, service: str, ids: Sequence[str], *, force: bool = False) -> KeyChange:
    """Return what `deregister` would delete."""
    return plan_deregister(service, ids, store.get_prefix(SERVICES).entries, force=force)


def deregister(store: Etcd, service: str, ids: Sequence[str], *, force: bool = False) -> Changed:
    """Delete these instances, or every key of the service when none is named. Idempotent.

    Raises Refused for an instance that an agent registered, unless `force`.
    """
    return change(store, SERVICES, lambda entries: plan_deregister(service, ids, entries, force=force))


def _conditions(planned: KeyChange, present: Mapping[str, Entry], revision: int) -> Iterator[Compare]:
    if planned.prefix:
        yield etcd.not_put_since(planned.prefix, revision)
    for key in [*planned.put, *planned.relied, *(() if planned.prefix else planned.delete)]:
        yield etcd.unchanged(present[key]) if key in present else etcd.absent(key)


def _deletions(planned: KeyChange) -> list[Delete]:
    if planned.prefix:
        return [Delete(planned.prefix, prefix=True)]
    return [Delete(key) for key in planned.delete]
