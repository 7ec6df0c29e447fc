"""Show what becomes of services, live."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from argosy.console import Report
from argosy.errors import EtcdError
from argosy.etcd import Change, Etcd, Listing
from argosy.etcd.values import EventKind
from argosy.schema import SERVICES, Catalog
from argosy.service_changes import ServiceChange, service_changes

Show = Callable[[int, ServiceChange], None]
"""Is called with the revision of each change, and the change."""
AGAIN_SECONDS = 1.0


def follow(store: Etcd, names: Sequence[str], show: Show, report: Report) -> NoReturn:
    """Show every change of these services (of all when none is named) from now on; ends by an exception, as of Ctrl-C.

    Outlives members, and all of etcd for a while: then what changed meanwhile is shown as one step. Raises EtcdError
    only when etcd does not answer at first.
    """
    listing = store.get_prefix(SERVICES)
    catalog = Catalog(listing.entries)
    report("discovery", f"watching {len(catalog.directory().services)} services from revision {listing.revision} on")
    follower = _Follower(catalog, names, show)
    while True:
        try:
            follower.watch(store, listing.revision + 1)
        except EtcdError as error:
            report("discovery", f"{error}; waiting for it")
            listing = _listed(store)
            report("discovery", f"going on from revision {listing.revision}")
            follower.take(listing)


class _Follower:
    def __init__(self, catalog: Catalog, names: Sequence[str], show: Show) -> None:
        self._catalog, self._names, self._show = catalog, names, show
        self._directory = catalog.directory()

    def watch(self, store: Etcd, revision: int) -> None:
        with store.watch(SERVICES, revision) as changes:
            for change in changes:
                self._apply(change)
                self._tell(change.revision)

    def take(self, listing: Listing) -> None:
        self._catalog.replace(listing.entries)
        self._tell(listing.revision)

    def _apply(self, change: Change) -> None:
        put = [event.entry for event in change.events if event.kind is EventKind.PUT]
        self._catalog.apply(put, [event.entry.key for event in change.events if event.kind is EventKind.DELETE])

    def _tell(self, revision: int) -> None:
        before, self._directory = self._directory, self._catalog.directory()
        for change in service_changes(before, self._directory, self._names):
            self._show(revision, change)


def _listed(store: Etcd) -> Listing:
    """Return the services as soon as etcd answers."""
    pause = threading.Event()
    while True:
        try:
            return store.get_prefix(SERVICES)
        except EtcdError:
            # Said once already; it may take hours.
            pause.wait(AGAIN_SECONDS)
