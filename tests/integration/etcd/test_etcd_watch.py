"""A watch whose connection is gone: what the etcd3 package then raises, and when."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from argosy.errors import EtcdError
from argosy.etcd import rpc
from argosy.etcd.watch import watched


class BrokenClient:
    """Its stream breaks, nobody can be told so, and after that no member answers."""

    endpoints: tuple[str, ...] = ("one",)
    timeout = 0.0

    def __init__(self) -> None:
        self.opened = 0

    def watch_prefix_response(self, _prefix: bytes, start_revision: int) -> tuple[Iterator[Any], Any]:
        self.opened += 1
        if self.opened > 1:
            raise rpc.etcd3.exceptions.NoServerAvailableError("none")
        return self.responses(start_revision), self.cancel

    def responses(self, revision: int) -> Iterator[Any]:
        yield SimpleNamespace(events=[])
        raise rpc.etcd3.exceptions.ConnectionFailedError

    def cancel(self) -> None:
        raise rpc.etcd3.exceptions.NoServerAvailableError("none")


def test_a_watch_that_can_not_be_cancelled_is_opened_anew_and_ends_with_our_own_error() -> None:
    client = BrokenClient()
    with pytest.raises(EtcdError, match="nobody answers"):
        list(watched(client, "/", 1, 0.3, lambda: EtcdError("nobody answers")))
    assert client.opened > 1
