"""The router of a machine in a whole cluster: who gets which request, by what way. After test_local_cluster, which
makes it."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest
from lab import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.slow(12)]


def ask(lab: Lab, path: str, host: str = "") -> dict[str, Any]:
    """Ask the router of the first machine directly."""
    request = urllib.request.Request(f"http://192.168.{lab.third}.101{path}", headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@pytest.mark.parametrize(
    ("path", "host", "service"),
    [
        ("/", "", "frontend"),
        ("/", "frontend", "frontend"),
        ("/", "backend", "backend"),
        ("/", "backend.any.domain:80", "backend"),
        ("/", "BACKEND.local", "backend"),
        ("/", "backendx.local", "frontend"),
        ("/backend", "", "backend"),
        ("/backend/", "www.example.org", "backend"),
        ("/frontend/", "", "frontend"),
        ("/", "frontend.local", "frontend"),
    ],
)
def test_a_request_goes_to_the_service_that_it_names(cluster: Lab, path: str, host: str, service: str) -> None:
    assert ask(cluster, path, host)["service"] == service


def test_one_machine_reaches_the_instances_of_all(cluster: Lab) -> None:
    assert {ask(cluster, "/backend/")["machine"] for _ in range(9)} == {"sea-01", "sea-02", "sea-03"}


def test_a_name_in_the_host_header_beats_one_in_the_path(cluster: Lab) -> None:
    assert ask(cluster, "/frontend/health", "frontend.local")["service"] == "frontend"
    assert ask(cluster, "/backend/health", "backend.local")["service"] == "backend"
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        ask(cluster, "/backend/visits", "frontend.local")
    caught.value.close()


def test_the_whole_way_counts_in_the_database(cluster: Lab) -> None:
    first, second = (ask(cluster, "/whole")["backend"]["visits"] for _ in range(2))
    assert second > first


def test_the_balancer_s_port_takes_the_client_s_address_from_the_proxy_protocol(cluster: Lab) -> None:
    with socket.create_connection((f"192.168.{cluster.third}.101", 81), 10) as connection:
        connection.sendall(b"PROXY TCP4 198.51.100.7 192.0.2.1 1234 80\r\n")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["client"] == "198.51.100.7"


def test_the_client_s_address_passes_the_balancer(cluster: Lab) -> None:
    # Without the PROXY protocol the router would see the host's address on the machines' network.
    assert json.loads(cluster.ask("/")[1])["client"] == "127.0.0.1"
