"""What is seen of a cluster before its members are changed."""

from __future__ import annotations

import json
from typing import Any

from argosy.etcd.values import Entry, Listing
from argosy.membership.observing import observe
from argosy.model import Machine

AIR_01 = Machine("air-01", "10.0.0.1", "flatcar")


class Store:
    """An etcd without members that are asked for, and with these records."""

    def __init__(self, **records: dict[str, str]) -> None:
        self.entries = [
            Entry(f"/machines/{name.replace('_', '-')}", json.dumps(record), 1, 2) for name, record in records.items()
        ]

    def members(self) -> list[Any]:
        return []

    def get_prefix(self, _prefix: str) -> Listing:
        return Listing(2, tuple(self.entries))


def test_a_machine_that_only_etcd_knows_has_the_os_that_etcd_tells() -> None:
    store: Any = Store(
        air_01={"address": "10.0.0.1", "os": "debian"},
        air_03={"address": "10.0.0.3", "os": "flatcar"},
        air_02={"address": "10.0.0.2"},
        air_04={},
    )
    assert observe(store, [AIR_01], [], "coreos").machines == (
        AIR_01,
        Machine("air-02", "10.0.0.2", "coreos"),
        Machine("air-03", "10.0.0.3", "flatcar"),
    )
