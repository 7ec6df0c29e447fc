"""Tunnels and terminals over a real sshd."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tenacity
from ssh_server import SshServer, free_port, requires_sshd, ssh_server

from argosy.errors import HostUnreachable
from argosy.ssh.host import Host

pytestmark = [pytest.mark.integration, requires_sshd]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(server: SshServer) -> Iterator[Host]:
    with server.host() as host:
        yield host


class Upper(socketserver.BaseRequestHandler):
    """Answers with what it got in capitals, until the client has said all."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


class Service(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def service() -> Iterator[int]:
    with Service(("127.0.0.1", 0), Upper) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running.server_address[1]
        running.shutdown()


def ask(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, 5) as client:

        def say() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        threading.Thread(target=say).start()
        answer = b""
        while got := client.recv(65536):
            answer += got
        return answer


def test_a_tunnel_leads_to_the_machines_port(host: Host, service: int) -> None:
    with host.tunnel(service) as address:
        assert str(address).startswith("127.0.0.1:")
        assert ask((address.host, address.port), b"hello") == b"HELLO"
        assert ask((address.host, address.port), b"x" * 3_000_000) == b"X" * 3_000_000


def test_many_connections_at_once_go_through_one_tunnel(host: Host, service: int) -> None:
    answers: list[bytes] = []
    with host.tunnel(service) as address:
        threads = [
            threading.Thread(
                target=lambda n: answers.append(ask((address.host, address.port), b"x%d" % n)), args=(number,)
            )
            for number in range(25)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == sorted(b"X%d" % number for number in range(25))


def test_a_tunnel_to_nothing_closes_what_connects(host: Host) -> None:
    with host.tunnel(free_port()) as address, contextlib.suppress(ConnectionResetError):
        assert ask((address.host, address.port), b"hello") == b""


def test_a_tunnel_ends_with_its_context_even_while_in_use(host: Host, service: int) -> None:
    with host.tunnel(service) as address:
        client = socket.create_connection((address.host, address.port), 5)
        client.sendall(b"a")
        assert client.recv(1) == b"A"
    with client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port), 5)


def test_a_tunnel_to_a_dead_machine_is_an_error_at_once(server: SshServer) -> None:
    with (
        server.host(port=free_port(), connect_attempts=1) as host,
        pytest.raises(HostUnreachable),
        host.tunnel(2379),
    ):
        pytest.fail("not reached")


class Operator:
    """A person at a terminal of their own."""

    def __init__(self, server: SshServer, call: str) -> None:
        program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "support")!r})
from pathlib import Path
from ssh_server import SshServer
server = SshServer(Path({str(server.folder)!r}), port={server.port})
sys.exit(server.host().{call})
"""
        self.terminal, far = pty.openpty()
        self.resize(90, 30)
        self.before = termios.tcgetattr(far)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
        )
        self.far = far
        self.seen = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come: {self.seen!r}"
            self.seen += os.read(self.terminal, 65536).decode()
        self.seen = self.seen.partition(text)[2]

    def leave(self) -> int:
        code = self.process.wait(15)
        assert termios.tcgetattr(self.far) == self.before, "the terminal is left as it was"
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        os.close(self.far)


@pytest.fixture
def operator(server: SshServer) -> Iterator[Callable[[str], Operator]]:
    with contextlib.ExitStack() as stack:

        def sit_down(call: str) -> Operator:
            return stack.enter_context(contextlib.closing(Operator(server, call)))

        yield sit_down


def test_a_command_on_a_terminal(operator: Callable[[str], Operator]) -> None:
    person = operator("interactive(['sh', '-c', 'tty; echo $TERM; stty size; read x; echo got-$x; exit 7'])")
    person.wait_for("/dev/pts/")
    person.wait_for("xterm-256color")
    person.wait_for("30 90")
    person.type("word\r")
    person.wait_for("got-word")
    assert person.leave() == 7


def test_keys_that_are_signals_go_to_the_machine(operator: Callable[[str], Operator]) -> None:
    line = 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.1; done'
    person = operator(f"interactive(['sh', '-c', {line!r}])")
    person.wait_for("ready")
    person.type("\x03")
    person.wait_for("interrupted")
    assert person.leave() == 3


def test_a_resized_window_is_told(operator: Callable[[str], Operator]) -> None:
    person = operator("interactive(['sh', '-c', 'echo ready; read x; stty size'])")
    person.wait_for("ready")
    person.resize(120, 40)
    person.process.send_signal(signal.SIGWINCH)
    threading.Event().wait(0.3)
    person.type("\r")
    person.wait_for("40 120")
    assert person.leave() == 0


def test_a_login_shell(operator: Callable[[str], Operator]) -> None:
    person = operator("interactive()")
    # Its start-up files may swallow what is typed before its prompt, which looks different everywhere.
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_attempt(10), reraise=True):
        with attempt:
            person.type("echo su''m-$((40+2)); exit 5\r")
            person.wait_for("sum-42", seconds=2)
    assert person.leave() == 5


def test_without_a_terminal_it_is_a_plain_pipe(server: SshServer) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "support")!r})
from pathlib import Path
from ssh_server import SshServer
sys.exit(SshServer(Path({str(server.folder)!r}), port={server.port}).host().interactive(["cat"]))
"""
    ended = subprocess.run([sys.executable, "-c", program], input=b"a\nb", capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"a\nb", b"")
