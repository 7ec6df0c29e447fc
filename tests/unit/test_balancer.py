from __future__ import annotations

from pathlib import Path

from argosy.balancer import parse_servers, render_config
from argosy.model import Machine

GOLDEN = Path(__file__).parent / "golden" / "balancer.cfg"
MACHINES = [Machine(f"air-0{number}", f"192.168.55.10{number}") for number in (1, 2, 3)]


def rendered(machines: list[Machine]) -> str:
    return render_config(
        listen=["127.0.0.1", "192.168.55.1"],
        port=8080,
        machine_port=81,
        check_path="/health",
        machines=machines,
        owner=0,
    )


def test_golden_file() -> None:
    assert rendered(MACHINES) == GOLDEN.read_text()


def test_the_order_of_the_machines_does_not_matter() -> None:
    assert rendered(MACHINES[::-1]) == rendered(MACHINES)


def test_every_machine_is_checked_and_told_the_clients_address() -> None:
    text = rendered(MACHINES)
    assert "send-proxy-v2" in text
    assert "check-send-proxy" in text
    assert text.count("    server ") == 3


def test_the_servers_of_show_stat() -> None:
    stat = (
        "# pxname,svname,status,check_status,\n"
        "clients,FRONTEND,OPEN,,\n"
        "machines,air-01,UP,L7OK,\n"
        "machines,air-02,DOWN 1/2,L4CON,\n"
        "machines,BACKEND,UP,,\n\n"
    )
    assert [(it.name, it.status, it.check, it.up) for it in parse_servers(stat)] == [
        ("air-01", "UP", "L7OK", True),
        ("air-02", "DOWN", "L4CON", False),
    ]
