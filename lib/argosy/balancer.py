"""The local balancer's HAProxy configuration, and what its runtime API says. Pure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.model import Machine
from argosy.rendering import render

BACKEND = "machines"
SOCKET = "/run/haproxy/admin.sock"


@dataclass(frozen=True, slots=True)
class Server:
    """A machine as the balancer sees it. `status`: HAProxy's word (UP, DOWN, MAINT, DRAIN, ...), without counters."""

    name: str
    status: str
    check: str

    @property
    def up(self) -> bool:
        return self.status == "UP"


def render_config(
    *, listen: Sequence[str], port: int, machine_port: int, check_path: str, machines: Sequence[Machine], owner: int
) -> str:
    """Return haproxy.cfg: TCP on each address of `listen` to the machines, with PROXY v2 and HTTP health checks.

    `owner`: the uid that may use the runtime socket. Ordered by name, so the same machines give the same text.
    PROXY protocol: https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt
    """
    return render(
        "haproxy/balancer.cfg.j2",
        listen=list(listen),
        port=port,
        machine_port=machine_port,
        check_path=check_path,
        machines=sorted(machines, key=lambda machine: machine.name),
        backend=BACKEND,
        socket=SOCKET,
        owner=owner,
    )


def parse_servers(stat: str) -> list[Server]:
    """Return the machines of `show stat` (CSV, https://docs.haproxy.org/2.6/management.html#9.1), in its order."""
    rows = csv.DictReader(stat.removeprefix("# ").splitlines())
    return [
        Server(row["svname"], row["status"].split(" ")[0], row.get("check_status") or "")
        for row in rows
        if row["pxname"] == BACKEND and row["svname"] not in ("FRONTEND", "BACKEND")
    ]
