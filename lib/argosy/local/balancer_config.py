"""Pure. What the local balancer begins with, and what its HAProxy says of the machines."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.config.loading import Settings
from argosy.model import Machine
from argosy.routing.haproxy import MACHINES_BACKEND
from argosy.routing.plan import plan_balancer
from argosy.routing.values import RouterOptions
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


def initial_files(settings: Settings, listen: Sequence[str], machines: Sequence[Machine]) -> dict[str, str]:
    """Return the configuration for `machines` before etcd can be asked: what the agent renders when all are active."""
    options = RouterOptions(
        listen=tuple(listen),
        machine_port=settings.discovery.ports.http_proxy,
        check_seconds=settings.discovery.check_seconds,
        hard_stop_seconds=round(settings.discovery.drain_seconds),
    )
    directory = Directory(machines={machine.name: MachineRecord(machine.name, machine.address) for machine in machines})
    return plan_balancer(directory, options).files()


def parse_servers(stat: str) -> list[Server]:
    """Return the machines of `show stat` (CSV, https://docs.haproxy.org/2.6/management.html#9.1), in its order."""
    rows = csv.DictReader(stat.removeprefix("# ").splitlines())
    return [
        Server(row["svname"].partition(":")[0], row["status"].split(" ")[0], row.get("check_status") or "")
        for row in rows
        if row["pxname"] == MACHINES_BACKEND and row["svname"] not in ("FRONTEND", "BACKEND")
    ]
