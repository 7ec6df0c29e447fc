"""A hint that keys may have changed, so that who waits for them need not look all the time to see it at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from argosy.etcd import rpc


class ChangeHint:
    """Notified by a watch. One thread waits for it. Its silence means nothing, for the watch may have broken: look
    again from time to time."""

    def __init__(self) -> None:
        self._notified = threading.Event()

    def notify(self) -> None:
        self._notified.set()

    def wait(self, seconds: float) -> bool:
        """Return as soon as it was notified since the last call, or after `seconds`; say whether it was."""
        notified = self._notified.wait(seconds)
        self._notified.clear()
        return notified


@contextmanager
def hinted(client: Any, prefixes: Sequence[str], timeout_seconds: float) -> Iterator[ChangeHint]:
    """Give a hint that watches of `prefixes` notify; a silent one, when the client's member does not take them in time.

    Closes `client`.
    """
    hint = ChangeHint()
    client.timeout = timeout_seconds
    try:
        with suppress(rpc.Etcd3Exception, rpc.grpc.RpcError):
            for prefix in prefixes:
                client.add_watch_prefix_callback(rpc.data(prefix), lambda _: hint.notify())
        yield hint
    finally:
        client.close()
