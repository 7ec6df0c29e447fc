"""What a machine's router tells of the servers of a service: `router_scripts`, its program run for real."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from argosy.paths import Names
from argosy.services import router_scripts as update_scripts
from argosy.services.router_scripts import RouterServer, parse_servers

HEAD = "# pxname,svname,scur,status,weight,check_status\n"
NEW = HEAD + "service-web,a:1,2,UP,100,L7OK\nservice-web,b:1,0,DRAIN,0,* L4TOUT\nservice-web,c:1,9,UP,1,L4OK\n\n"
OLD = HEAD + "service-web,a:1,3,DOWN,100,L4CON\n\n"
PROCESSES = "#<PID> <type> <reloads> <uptime> <version>\n1 master 2 [failed: 0] 0d 2.6\n# workers\n7 worker 0 0d\n"
PROCESSES += "# old workers\n5 worker 1 0d\n# programs\n"


class Master(threading.Thread):
    """HAProxy's master socket, answered from a table; `busy`: of how many looks there are connections."""

    def __init__(self, path: Path, busy: int = 10**9) -> None:
        super().__init__(daemon=True)
        self.busy = busy
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client:
                client.sendall(self.answer(client.recv(4096).decode().strip()).encode())

    def answer(self, command: str) -> str:
        if command == "show proc":
            self.busy -= 1
            return PROCESSES
        assert command in ("@!7 show stat service-web 4 -1", "@!5 show stat service-web 4 -1")
        table = NEW if command.startswith("@!7") else OLD
        return table if self.busy > 0 else table.replace(",2,", ",0,").replace(",3,", ",0,").replace(",9,", ",0,")


def ask(folder: Path, *servers: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
    """Run the program as in the agent's container, with the router's socket elsewhere."""
    argv = update_scripts.servers(Names("air"), "service-web", servers, seconds)
    assert argv[:3] == ["docker", "exec", "air-agent"]
    words = [word.replace("/run/router", str(folder)) for word in argv[3:]]
    return subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False, timeout=60)


def test_the_servers_that_are_asked_for_with_the_connections_of_old_workers(tmp_path: Path) -> None:
    Master(tmp_path / "master.sock").start()
    told = parse_servers(ask(tmp_path, "a:1", "b:1", "gone:1").stdout)
    assert told == {"a:1": RouterServer("UP", "L7OK", 5), "b:1": RouterServer("DRAIN", "L4TOUT", 0)}


def test_it_waits_until_there_are_no_connections(tmp_path: Path) -> None:
    Master(tmp_path / "master.sock", busy=3).start()
    assert parse_servers(ask(tmp_path, "a:1", seconds=30).stdout)["a:1"].connections == 0


def test_but_no_longer_than_it_is_told_to(tmp_path: Path) -> None:
    Master(tmp_path / "master.sock").start()
    assert parse_servers(ask(tmp_path, "a:1", seconds=0.3).stdout)["a:1"].connections == 5


def test_a_router_that_does_not_answer_is_told(tmp_path: Path) -> None:
    done = ask(tmp_path, "a:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("HAProxy does not answer: ")


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (RouterServer("UP", "L4OK", 0), ""),
        (RouterServer("UP 1/2", "L7OK", 0), ""),
        (RouterServer("DRAIN", "L7OKC", 0), ""),
        (RouterServer("no check", "", 0), ""),
        (RouterServer("UP", "INI", 0), "UP (INI)"),
        (RouterServer("DOWN", "L7STS", 0), "DOWN (L7STS)"),
        (RouterServer("MAINT", "", 0), "MAINT"),
        (RouterServer("", "", 0), "not known to it"),
    ],
)
def test_a_server_takes_requests_once_its_check_has_passed(server: RouterServer, reason: str) -> None:
    assert server.reason == reason


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": ["UP"]}', '{"a": ["UP", "", "many"]}'])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_servers(text)


def test_nothing_is_asked_for_in_vain() -> None:
    assert parse_servers(json.dumps({})) == {}
