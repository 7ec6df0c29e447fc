"""The installer's own etcd client, by the JSON gateway, against real etcd of two versions."""

from __future__ import annotations

import json
import ssl
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster

from argosy import etcd as library
from argosy.pki import authority
from argosy_installer import record, settings
from argosy_installer.errors import Failed, TryAgain
from argosy_installer.etcd import Etcd, mutual_tls
from argosy_installer.machine import Machine, from_environment

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def programs(programs_of_each: Path) -> Path:
    return programs_of_each


def tls(cluster: EtcdCluster) -> ssl.SSLContext:
    path = cluster.settings().secrets_path
    pair = authority.ensure_machine_certificates(path, cluster.machines[0])["etcd-client"]
    return mutual_tls(authority.authority_path(path), pair.certificate, pair.key)


def connected(cluster: EtcdCluster, *endpoints: str, seconds: float = 10) -> Etcd:
    own = f"https://{cluster.machines[0].address}:{cluster.client_port}"
    return Etcd(endpoints or (own,), tls(cluster), time.monotonic() + seconds, lambda _line: None)


@pytest.fixture
def client(cluster: EtcdCluster) -> Etcd:
    with library.connect(cluster.settings(), cluster.machines) as store:
        store.delete("/", prefix=True)
    client = connected(cluster)
    client.wait_until_healthy()
    return client


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    environment = {
        "SYSTEM": "air",
        "CLUSTER": "test",
        "MACHINE_NAME": "air-01",
        "MACHINE_ADDRESS": "10.0.0.1",
        "REGISTRY": "r:1",
    }
    return from_environment({**environment, "ETCD_ENDPOINTS": "x", "RELEASE_VERSION": "0.1.3"}, tmp_path)


def test_a_key_is_written_once(client: Etcd) -> None:
    assert client.get("/settings/a").revision == 0
    assert client.put_if_absent("/settings/a", "größe 1")
    assert not client.put_if_absent("/settings/a", "2")
    assert client.get("/settings/a").text == "größe 1"


def test_an_empty_value_is_a_value(client: Etcd) -> None:
    assert client.put_if_absent("/settings/empty", "")
    assert not client.put_if_absent("/settings/empty", "x")
    assert client.get("/settings/empty").revision > 0


def test_a_key_that_somebody_else_wrote_is_left_alone(client: Etcd) -> None:
    assert client.put_if_unchanged("/machines/a", "1", 0)
    seen = client.get("/machines/a")
    assert client.put_if_unchanged("/machines/a", "2", seen.revision)
    assert not client.put_if_unchanged("/machines/a", "3", seen.revision)
    assert client.get("/machines/a").text == "2"


def test_settings_that_are_there_stay(client: Etcd) -> None:
    said: list[str] = []
    client.put_if_absent("/settings/a", "an operator's")
    wanted = {"/settings/a": "1", "/settings/b": "2"}
    settings.write(client, wanted, said.append)
    settings.write(client, wanted, said.append)
    assert client.get("/settings/a").text == "an operator's"
    assert client.get("/settings/b").text == "2"
    assert said == ["settings: 1 written, 1 were there", "settings: 0 written, 2 were there"]


def test_a_machine_is_recorded_once_and_others_additions_stay(client: Etcd, machine: Machine) -> None:
    record.register(client, machine)
    first = client.get("/machines/air-01")
    record.register(client, machine)
    assert client.get("/machines/air-01") == first
    client.put_if_unchanged("/machines/air-01", json.dumps(json.loads(first.text) | {"note": "x"}), first.revision)
    record.register(client, replace(machine, version="0.1.4"))
    found = json.loads(client.get("/machines/air-01").text)
    assert (found["release"], found["state"], found["note"]) == ("0.1.4", "active", "x")


def test_another_endpoint_answers_when_the_first_is_gone(cluster: EtcdCluster, client: Etcd) -> None:
    client.put_if_absent("/settings/a", "1")
    own = f"https://{cluster.machines[0].address}:{cluster.client_port}"
    assert connected(cluster, "https://127.0.8.99:1", own).get("/settings/a").text == "1"


def test_an_etcd_that_is_not_there_is_waited_for_and_then_told(cluster: EtcdCluster) -> None:
    with pytest.raises(TryAgain, match=r"etcd is not healthy after 1 s: https://127\.0\.8\.99:1: .*refused"):
        connected(cluster, "https://127.0.8.99:1", seconds=0.6).wait_until_healthy()


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"kvs": []}', b"<html></html>"])
def test_what_is_not_etcd_has_not_said_that_a_key_is_not_there(cluster: EtcdCluster, body: bytes) -> None:
    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            with pytest.raises(TryAgain):
                connected(cluster, f"http://127.0.0.1:{server.server_port}", seconds=0.1).get("/settings/a")
        finally:
            server.shutdown()


def test_waiting_ends_when_somebody_gives_up(cluster: EtcdCluster) -> None:
    abandoned = threading.Event()
    abandoned.set()
    client = Etcd(["https://127.0.8.99:1"], tls(cluster), time.monotonic() + 600, lambda _line: None, abandoned)
    with pytest.raises(TryAgain):
        client.wait_until_healthy()


def test_an_etcd_with_a_certificate_of_somebody_else_is_not_talked_to(cluster: EtcdCluster, tmp_path: Path) -> None:
    authority.ensure_ca(tmp_path)
    pair = authority.ensure_machine_certificates(tmp_path, cluster.machines[0])["etcd-client"]
    foreign = mutual_tls(authority.authority_path(tmp_path), pair.certificate, pair.key)
    own = f"https://{cluster.machines[0].address}:{cluster.client_port}"
    with pytest.raises(TryAgain, match="CERTIFICATE_VERIFY_FAILED"):
        Etcd([own], foreign, time.monotonic() + 0.5, lambda _line: None).wait_until_healthy()


def test_certificates_that_can_t_be_read_are_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="certificates for etcd"):
        mutual_tls(tmp_path / "ca.crt", tmp_path / "etcd-client.crt", tmp_path / "etcd-client.key")
