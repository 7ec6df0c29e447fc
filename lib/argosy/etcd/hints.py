"""A hint that keys may have changed, so that who waits for them need not look all the time to see it at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from argosy.etcd import rpc


class Bell:
    """Rung by a watch. One thread waits for it; that it is silent means nothing, for the watch may have broken: look
    again from time to time."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    def wait(self, seconds: float) -> None:
        """Return as soon as it was rung since the last call, or after `seconds`."""
        self._rung.wait(seconds)
        self._rung.clear()


@contextmanager
def ringing(client: Any, prefixes: Sequence[str], timeout_seconds: float) -> Iterator[Bell]:
    """Give a bell that watches of `prefixes` ring; a silent one, when the client's member does not take them in time.

    Closes `client`.
    """
    bell = Bell()
    client.timeout = timeout_seconds
    try:
        with suppress(rpc.Etcd3Exception, rpc.grpc.RpcError):
            for prefix in prefixes:
                client.add_watch_prefix_callback(rpc.data(prefix), lambda _: bell.ring())
        yield bell
    finally:
        client.close()
