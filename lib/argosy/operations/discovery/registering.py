"""Register and deregister by hand: without a lease, so that it stays until somebody takes it away."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from argosy.config import Settings
from argosy.discovery_changes import KeyChange, Registration, plan_deregister, plan_register
from argosy.etcd import Entry, Etcd
from argosy.operations.discovery import keys
from argosy.operations.discovery.rendering import conflicts
from argosy.schema import FOLLOWED, SERVICES


def plan(settings: Settings, store: Etcd, registration: Registration) -> KeyChange:
    """Return what `register` would write."""
    return _plan(settings, registration, keys.read(store, FOLLOWED))


def register(settings: Settings, store: Etcd, registration: Registration) -> keys.Changed:
    """Put the instance and what is said of its service, as one transaction. Idempotent.

    Raises ConfigError for a bad word, Refused where another service has what this one claims; then nothing is written,
    also when that other one was faster by a moment.
    """
    claims = bool(registration.host_port or registration.sni or registration.scheme)
    beside = [prefix for prefix in FOLLOWED if prefix != SERVICES]
    return keys.change(store, SERVICES, partial(_plan, settings, registration), beside=beside, exclusive=claims)


def plan_removal(store: Etcd, service: str, ids: Sequence[str], *, force: bool = False) -> KeyChange:
    """Return what `deregister` would delete."""
    return plan_deregister(service, ids, store.get_prefix(SERVICES).entries, force=force)


def deregister(store: Etcd, service: str, ids: Sequence[str], *, force: bool = False) -> keys.Changed:
    """Delete these instances, or every key of the service when none is named. Idempotent.

    Raises Refused for an instance that an agent registered, unless `force`.
    """
    return keys.change(store, SERVICES, lambda entries: plan_deregister(service, ids, entries, force=force))


def _plan(settings: Settings, registration: Registration, entries: Sequence[Entry]) -> KeyChange:
    return plan_register(registration, entries, partial(conflicts, settings))
