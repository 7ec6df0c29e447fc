"""A watch that outlives the member it was opened on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from argosy.clock import wait_until
from argosy.errors import EtcdCompacted, EtcdError
from argosy.etcd import rpc
from argosy.etcd.values import Change, Event, EventKind

REOPEN_SECONDS = 0.1


def watched(
    client: Any, prefix: str, revision: int, timeout_seconds: float, unavailable: Callable[[], EtcdError]
) -> Iterator[Change]:
    """Yield the changes under `prefix` from `revision` on; see `Etcd.watch`."""
    wanted = revision
    while True:
        responses, cancel = _open(client, prefix, wanted, timeout_seconds, unavailable)
        try:
            for response in responses:
                for change in changes_of(response.events):
                    wanted = change.revision + 1
                    yield change
        except rpc.RevisionCompactedError as error:
            raise _compacted(prefix, wanted, error) from None
        except (rpc.Etcd3Exception, rpc.grpc.RpcError):
            # The stream broke: what it has not delivered comes from the next one, which starts at `wanted`.
            continue
        finally:
            # Where the connection is gone, the watch went with it, and there is nobody to tell.
            with suppress(rpc.Etcd3Exception, rpc.grpc.RpcError):
                cancel()


def changes_of(events: list[Any]) -> Iterator[Change]:
    """Group a response's events by revision; a transaction's events share one and never span two responses."""
    for revision, group in itertools.groupby(events, key=lambda event: event.mod_revision):
        yield Change(int(revision), tuple(_event(event) for event in group))


def _event(event: Any) -> Event:
    kind = EventKind.PUT if isinstance(event, rpc.etcd3.events.PutEvent) else EventKind.DELETE
    return Event(kind, rpc.entry_of(event))


def _open(
    client: Any, prefix: str, revision: int, timeout_seconds: float, unavailable: Callable[[], EtcdError]
) -> tuple[Iterator[Any], Callable[[], None]]:
    """Open a watch at the first member that takes it."""
    client.timeout = timeout_seconds / max(1, len(client.endpoints))

    def attempt() -> Any:
        try:
            return client.watch_prefix_response(rpc.data(prefix), start_revision=revision)
        except rpc.RevisionCompactedError as error:
            raise _compacted(prefix, revision, error) from None
        except (rpc.Etcd3Exception, rpc.grpc.RpcError):
            return None

    opened: tuple[Iterator[Any], Callable[[], None]] | None = wait_until(attempt, timeout_seconds, every=REOPEN_SECONDS)
    if opened is None:
        raise unavailable()
    return opened


def _compacted(prefix: str, revision: int, error: Any) -> EtcdCompacted:
    return EtcdCompacted(
        f"etcd has compacted revision {revision} of {prefix} (it keeps those from {error.compacted_revision} on); "
        "list the keys anew and watch from there"
    )
