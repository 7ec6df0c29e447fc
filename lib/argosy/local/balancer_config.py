"""What the local balancer begins with, and what its HAProxy says of the machines. Pure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.model import Endpoint, Machine
from argosy.router_config import MACHINES_BACKEND
from argosy.routing import RouterOptions, plan_balancer
from argosy.schema import Directory, MachineRecord


@dataclass(frozen=True, slots=True)
class Server:
    """A machine as the balancer sees it. `status`: HAProxy's word (UP, DOWN, MAINT, DRAIN, ...), without counters."""

    name: str
    status: str
    check: str

    @property
    def up(self) -> bool:
        return self.status == "UP"


def initial_files(
    machines: Sequence[Machine],
    *,
    listen: Sequence[Endpoint],
    machine_port: int,
    check_seconds: float,
    drain_seconds: float,
) -> dict[str, str]:
    """Return the configuration for `machines` before etcd can be asked: what the agent renders when all are active."""
    options = RouterOptions(
        listen=tuple(map(str, listen)),
        machine_port=machine_port,
        check_seconds=check_seconds,
        hard_stop_seconds=round(drain_seconds),
    )
    directory = Directory(machines={it.name: MachineRecord(it.name, it.address) for it in machines})
    return plan_balancer(directory, options).files()


def parse_servers(stat: str) -> list[Server]:
    """Return the machines of `show stat` (CSV, https://docs.haproxy.org/2.6/management.html#9.1), in its order."""
    rows = csv.DictReader(stat.removeprefix("# ").splitlines())
    return [
        Server(row["svname"].partition(":")[0], row["status"].split(" ")[0], row.get("check_status") or "")
        for row in rows
        if row["pxname"] == MACHINES_BACKEND and row["svname"] not in ("FRONTEND", "BACKEND")
    ]
