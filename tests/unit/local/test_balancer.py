from __future__ import annotations

from argosy.config.loading import load
from argosy.local.balancer_config import initial_files, parse_servers
from argosy.model import Machine

MACHINES = [Machine(f"air-0{number}", f"192.168.55.10{number}") for number in (1, 2, 3)]


def rendered(machines: list[Machine]) -> dict[str, str]:
    return initial_files(load({"clusters": {"here": {}}}), ["127.0.0.1:8080", "192.168.55.1:8080"], machines)


def test_the_order_of_the_machines_does_not_matter() -> None:
    assert rendered(MACHINES[::-1]) == rendered(MACHINES)


def test_every_machine_is_checked_and_told_the_clients_address() -> None:
    text = rendered(MACHINES)["haproxy.cfg"]
    servers = [line for line in text.splitlines() if line.startswith("    server ")]
    assert len(servers) == 3
    assert all("send-proxy-v2" in line and "check-send-proxy" in line for line in servers)
    assert "192.168.55.102:81" in servers[1]
    assert "bind 127.0.0.1:8080" in text


def test_the_servers_of_show_stat() -> None:
    stat = (
        "# pxname,svname,status,check_status,\n"
        "clients,FRONTEND,OPEN,,\n"
        "machines,air-01:192.168.55.101:81,UP,L7OK,\n"
        "machines,air-02:192.168.55.102:81,DOWN 1/2,L4CON,\n"
        "machines,BACKEND,UP,,\n\n"
    )
    assert [(server.name, server.status, server.check, server.up) for server in parse_servers(stat)] == [
        ("air-01", "UP", "L7OK", True),
        ("air-02", "DOWN", "L4CON", False),
    ]
