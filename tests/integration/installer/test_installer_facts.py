"""What the installer tells for `cluster.verify`: from a real Docker, a real HAProxy, real interfaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import tenacity
from docker.models.containers import Container

from argosy.config.suites import base_image, host_suite
from argosy.schema.inspection import parse_container
from argosy_installer import facts
from argosy_installer.docker import Docker

pytestmark = pytest.mark.integration

SOCKET = Path("/var/run/docker.sock")
BASE = base_image(host_suite())
HAPROXY = """
global
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
backend service-web
  server one 127.0.0.1:9 weight 100
"""


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Path]:
    """A HAProxy's runtime socket."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not Path(program).exists():
        pytest.skip("no haproxy: apt-get install haproxy")
    path = tmp_path / "admin.sock"
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(socket=path))
    process = subprocess.Popen([program, "-db", "-f", tmp_path / "haproxy.cfg"], stderr=subprocess.DEVNULL)
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(10), reraise=True):
        with attempt:
            assert path.exists()
    yield path
    process.terminate()
    process.wait()


def test_the_router_s_servers_come_in_haproxy_s_own_words(router: Path) -> None:
    lines = facts.ask_router(router)["servers"].splitlines()
    assert lines[0] == "1"
    columns = lines[1].removeprefix("# ").split()
    server = dict(zip(columns, lines[2].split(), strict=True))
    assert (server["be_name"], server["srv_name"], server["srv_addr"], server["srv_port"]) == (
        "service-web",
        "one",
        "127.0.0.1",
        "9",
    )


def test_a_router_that_does_not_answer_is_a_reason(tmp_path: Path) -> None:
    assert facts.ask_router(tmp_path / "none.sock") == {
        "reason": f"HAProxy does not answer on {tmp_path}/none.sock: [Errno 2] No such file or directory"
    }


def test_an_interface_has_its_address_or_none() -> None:
    assert facts.interface_address("lo") == "127.0.0.1"
    assert facts.interface_address("no-such-one") == ""


@pytest.fixture
def label() -> Iterator[str]:
    """A label that a running container has, and one that is only created."""
    if not SOCKET.exists():
        pytest.skip("no Docker engine")
    name = f"argosy-facts-{os.getpid()}"
    labels = {"argosy.test": "1", name: "web"}
    client = docker.from_env()
    made: list[Container] = []
    try:
        made.append(client.containers.create(BASE, ["sleep", "60"], name=f"{name}-idle", labels=labels))
        made.append(client.containers.run(BASE, ["sleep", "60"], name=name, labels=labels, detach=True, init=True))
        yield name
    finally:
        for container in made:
            container.remove(force=True)
        client.close()


def test_only_running_containers_with_the_label_are_told(label: str) -> None:
    (told,) = [facts.container_facts(entry) for entry in Docker(SOCKET).labelled(label)]
    assert (told["Config"]["Image"], told["Config"]["Labels"][label]) == (BASE, "web")
    assert json.loads(json.dumps(told)) == told
    # What the agent reads off a container, it can read off this.
    read = parse_container(told)
    assert (read.name, read.running, bool(read.address)) == (label, True, True)
    assert "Env" not in told["Config"]
