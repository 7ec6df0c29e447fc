"""Who is let in and who is believed, with real sshds, keys and agents."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from ssh_server import SshServer, free_port, make_key, requires_sshd, ssh_server

from argosy.errors import ConfigError, HostKeyMismatch, HostUnreachable, LoginRefused
from argosy.ssh import known_hosts
from argosy.ssh.connecting import scan

pytestmark = [pytest.mark.integration, requires_sshd]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = tmp_path / "agent.sock"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        deadline = time.monotonic() + 5
        while not path.exists():
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        yield
        process.terminate()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that neither its user's keys nor their settings matter."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def test_a_host_that_nobody_pinned_is_not_believed(server: SshServer) -> None:
    known_hosts.forget(server.pins, "127.0.0.1", server.port)
    (key,) = (known_hosts.HostKey.parse((server.folder / "host_key.pub").read_text()),)
    with server.host() as host, pytest.raises(HostKeyMismatch) as caught:
        host.run(["true"])
    assert str(caught.value) == (
        f"air-01: the host key of 127.0.0.1 ({key.fingerprint}) is not in {server.pins}; compare it with the "
        f"machine's own, then: inv cluster.trust 127.0.0.1 --port {server.port}"
    )
    assert not server.pins.read_text(), "a refused key must not be written down"


def test_a_changed_host_key_names_both_and_what_it_means(server: SshServer, tmp_path: Path) -> None:
    other = known_hosts.HostKey.parse(make_key(tmp_path / "other").with_suffix(".pub").read_text())
    real = known_hosts.HostKey.parse((server.folder / "host_key.pub").read_text())
    known_hosts.pin(server.pins, "127.0.0.1", server.port, other)
    with server.host() as host, pytest.raises(HostKeyMismatch) as caught:
        host.run(["true"])
    text = str(caught.value)
    assert f"shows the host key {real.fingerprint}, but {other.fingerprint} is pinned" in text
    assert "somebody answers in its place" in text
    assert text.endswith(f"inv cluster.trust 127.0.0.1 --port {server.port}")


def test_a_key_of_another_kind_is_a_changed_key(server: SshServer, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "ecdsa").with_suffix(".pub").read_text()
    known_hosts.pin(server.pins, "127.0.0.1", server.port, other)
    with server.host() as host, pytest.raises(HostKeyMismatch, match="is pinned"):
        host.run(["true"])


def test_the_operators_own_settings_weaken_nothing(server: SshServer, home: Path) -> None:
    known_hosts.forget(server.pins, "127.0.0.1", server.port)
    (home / ".ssh" / "config").write_text(
        "Host *\n  StrictHostKeyChecking no\n  Port 1\n  User nobody\n  ProxyCommand /bin/false\n"
    )
    known_hosts.pin(
        home / ".ssh" / "known_hosts", "127.0.0.1", server.port, (server.folder / "host_key.pub").read_text()
    )
    with server.host() as host:
        with pytest.raises(HostKeyMismatch, match="is not in"):
            host.run(["true"])
        server.pin()
        assert host.run(["echo", "in"]).stdout == "in\n"


def test_a_refused_key_names_user_and_file(server: SshServer, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    with server.host(key=wrong) as host, pytest.raises(LoginRefused) as caught:
        host.run(["true"])
    assert f"did not let {host.ssh.user} in with the key {wrong}" in str(caught.value)
    # A refusal is final: it is not tried again.
    assert (server.folder / "log").read_text().count("Connection from") - 1 == 1


def test_an_agent_does_not_stand_in_for_the_configured_key(server: SshServer, tmp_path: Path, agent: None) -> None:
    subprocess.run(["ssh-add", "-q", server.key], check=True)
    with server.host(key=make_key(tmp_path / "wrong")) as host, pytest.raises(LoginRefused):
        host.run(["true"])


def test_without_a_key_the_agents_are_tried(server: SshServer, home: Path, agent: None) -> None:
    with server.host() as host:
        host.key = None
        with pytest.raises(LoginRefused, match="with any key of your agent"):
            host.run(["true"])
        subprocess.run(["ssh-add", "-q", server.key], check=True)
        assert host.run(["echo", "in"]).stdout == "in\n"


def test_a_key_with_a_passphrase_comes_from_the_agent(server: SshServer, tmp_path: Path, agent: None) -> None:
    locked = make_key(tmp_path / "locked", passphrase="secret")
    (server.folder / "authorized_keys").write_text(locked.with_suffix(".pub").read_text())
    with server.host(key=locked) as host:
        with pytest.raises(ConfigError, match="has a passphrase and the agent does not hold it: ssh-add"):
            host.run(["true"])
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\necho secret\n")
        ask.chmod(0o700)
        environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", "-q", locked], check=True, env=environment, stdin=subprocess.DEVNULL)
        assert host.run(["echo", "in"]).stdout == "in\n"


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "no key file"), ("no key", "is not a private key that ssh understands")]
)
def test_a_key_that_can_not_be_used(server: SshServer, tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with server.host(key=path) as host, pytest.raises(ConfigError, match=rf"^ssh.key: .*{complaint}"):
        host.run(["true"])


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_common_kind_of_key_lets_in(server: SshServer, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / kind, kind)
    shutil.copy(f"{key}.pub", server.folder / "authorized_keys")
    with server.host(key=key) as host:
        assert host.run(["true"]).ok


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_in_pem_lets_in(server: SshServer, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / kind, kind)
    shutil.copy(f"{key}.pub", server.folder / "authorized_keys")
    private = serialization.load_ssh_private_key(key.read_bytes(), None)
    plain, encoding = serialization.NoEncryption(), serialization.Encoding.PEM
    key.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    with server.host(key=key) as host:
        assert host.run(["true"]).ok


@pytest.mark.parametrize("text", ["", "no certificate", "ssh-ed25519-cert-v01@openssh.com %%%", "ssh-rsa AAAA", "\xff"])
def test_a_certificate_that_is_none_is_told_and_not_tried(server: SshServer, tmp_path: Path, text: str) -> None:
    key = make_key(tmp_path / "key")
    Path(f"{key}-cert.pub").write_bytes(text.encode("latin-1"))
    with (
        server.host(key=key) as host,
        pytest.raises(ConfigError, match=r"^ssh\.key: .*key-cert\.pub is no certificate"),
    ):
        host.run(["true"])


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-rsa AAAA", "\xff\xfe", "a b\nc d\n"])
def test_a_locked_key_beside_a_public_one_that_is_none_is_told(
    server: SshServer, tmp_path: Path, agent: None, text: str
) -> None:
    key = make_key(tmp_path / "key", passphrase="secret")
    Path(f"{key}.pub").write_bytes(text.encode("latin-1"))
    with server.host(key=key) as host, pytest.raises(ConfigError, match=r"^ssh\.key: no public key in .*ssh-keygen -y"):
        host.run(["true"])


def test_nobody_listens(server: SshServer) -> None:
    with server.host(port=free_port(), connect_attempts=2) as host, pytest.raises(HostUnreachable) as caught:
        host.run(["true"])
    assert str(caught.value) == (
        f"air-01: no ssh connection to 127.0.0.1:{host.ssh.port} after 2 attempts: Connection refused; "
        "is it up, and the address right?"
    )


def test_who_could_not_be_reached_a_moment_ago_is_tried_once_more(server: SshServer) -> None:
    with server.host(port=free_port(), connect_attempts=2) as host:
        with pytest.raises(HostUnreachable, match="after 2 attempts: Connection refused"):
            host.run(["true"])
        with pytest.raises(HostUnreachable, match=f"to 127.0.0.1:{host.ssh.port}: Connection refused"):
            host.run(["true"])


def test_a_timeout_is_not_waited_for_again(server: SshServer) -> None:
    # Whose queue is full answers nobody, as a machine without power.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as waiting:
        port = full.getsockname()[1]
        waiting.enter_context(socket.create_connection(("127.0.0.1", port)))
        settings = {"port": port, "connect_attempts": 5, "connect_timeout_seconds": 0.5}
        with server.host(**settings) as host, pytest.raises(HostUnreachable, match=f"127.0.0.1:{port}: timed out"):
            host.run(["true"])


def test_somebody_listens_and_says_nothing(server: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = {"port": mute.getsockname()[1], "connect_attempts": 1, "connect_timeout_seconds": 0.5}
        with server.host(**settings) as host, pytest.raises(HostUnreachable, match="no ssh connection"):
            host.run(["true"])


@contextlib.contextmanager
def who_greets_alone() -> Iterator[int]:
    """Yield the port of a server that greets, as a machine that is slow does, and says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as held:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.enter_context(listening.accept()[0]).sendall(b"SSH-2.0-slow\r\n")

        threading.Thread(target=greet, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_a_machine_that_is_too_slow_to_agree_on_keys_is_said_to_be_so(server: SshServer) -> None:
    with (
        who_greets_alone() as port,
        server.host(port=port, connect_attempts=5, connect_timeout_seconds=0.5) as host,
    ):
        for ask in (lambda: host.run(["true"]), lambda: scan(host)):
            with pytest.raises(HostUnreachable, match=f"127.0.0.1:{port}: timed out"):
                ask()


def test_a_connection_is_tried_again(server: SshServer) -> None:
    server.stop()
    starter = threading.Timer(0.3, server.start)
    starter.start()
    with server.host(connect_attempts=12) as host:
        assert host.run(["echo", "late"]).stdout == "late\n"
    starter.join()


def test_a_machine_that_boots_is_waited_for(server: SshServer) -> None:
    server.stop()
    with server.host(connect_attempts=1) as host:
        with pytest.raises(HostUnreachable):
            host.wait_for_login(0.3)
        starter = threading.Timer(0.5, server.start)
        starter.start()
        host.wait_for_login(10)
        starter.join()
        assert host.run(["true"]).ok


def test_a_restarted_machine_is_connected_to_anew(server: SshServer) -> None:
    with server.host() as host:
        host.run(["true"])
        server.stop()
        server.start()
        assert host.run(["echo", "again"]).stdout == "again\n"


def test_a_scan_sees_every_key_and_trusts_none(server: SshServer, tmp_path: Path) -> None:
    server.stop()
    server.options = [f"HostKey {make_key(tmp_path / kind, kind)}" for kind in ("rsa", "ecdsa")]
    server.start()
    found = known_hosts.scan("127.0.0.1", server.port)
    files = [server.folder / "host_key.pub", tmp_path / "ecdsa.pub", tmp_path / "rsa.pub"]
    assert found == [known_hosts.HostKey.parse(file.read_text()) for file in files]
    for key in found:
        known_hosts.pin(server.pins, "127.0.0.1", server.port, key)
        with server.host() as host:
            assert host.run(["true"]).ok, key.type


def test_a_scan_of_nothing_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        known_hosts.scan("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        threading.Thread(target=lambda: stack.enter_context(listener.accept()[0]).send(b"HTTP/1.1 400\r\n")).start()
        with pytest.raises(OSError, match="did not speak ssh"):
            known_hosts.scan("127.0.0.1", listener.getsockname()[1], timeout_seconds=0.5)


# Through an entry node


@pytest.fixture
def entry(tmp_path: Path, server: SshServer) -> Iterator[SshServer]:
    """An entry node at 127.0.0.2 that knows the same key, pinned in the same file."""
    with ssh_server(tmp_path / "entry", addresses=["127.0.0.2"]) as running:
        shutil.copy(server.folder / "authorized_keys", running.folder / "authorized_keys")
        known_hosts.pin(server.pins, "127.0.0.2", running.port, (running.folder / "host_key.pub").read_text())
        yield running


def test_machines_are_reached_through_the_entry_node(server: SshServer, entry: SshServer) -> None:
    with server.host(entry_node=f"127.0.0.2:{entry.port}") as host:
        assert host.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout.split()[2] == "127.0.0.1"
    assert (
        "direct-tcpip" in (entry.folder / "log").read_text()
        or "Accepted publickey" in (entry.folder / "log").read_text()
    )


def test_the_entry_nodes_key_is_checked_too(server: SshServer, entry: SshServer) -> None:
    known_hosts.forget(server.pins, "127.0.0.2", entry.port)
    with (
        server.host(entry_node=f"127.0.0.2:{entry.port}") as host,
        pytest.raises(HostKeyMismatch, match=r"^entry node 127.0.0.2: the host key of 127.0.0.2 "),
    ):
        host.run(["true"])


def test_the_machines_key_is_checked_behind_the_entry_node(server: SshServer, entry: SshServer) -> None:
    known_hosts.forget(server.pins, "127.0.0.1", server.port)
    with (
        server.host(entry_node=f"127.0.0.2:{entry.port}") as host,
        pytest.raises(HostKeyMismatch, match=r"^air-01: the host key of 127.0.0.1 "),
    ):
        host.run(["true"])


def test_a_dead_entry_node_and_a_dead_machine_are_told_apart(server: SshServer, entry: SshServer) -> None:
    with (
        server.host(entry_node=f"127.0.0.2:{entry.port}", port=free_port(), connect_attempts=1) as host,
        pytest.raises(HostUnreachable, match=r"^air-01: .* through 127.0.0.2: the entry node can't reach it"),
    ):
        host.run(["true"])
    entry.stop()
    with (
        server.host(entry_node=f"127.0.0.2:{entry.port}", connect_attempts=1) as host,
        pytest.raises(HostUnreachable, match=r"^entry node 127.0.0.2: no ssh connection to 127.0.0.2:"),
    ):
        host.run(["true"])


def test_a_scan_goes_through_the_entry_node(server: SshServer, entry: SshServer) -> None:
    with server.host(entry_node=f"127.0.0.2:{entry.port}") as host:
        found = scan(host)
        assert found == [known_hosts.HostKey.parse((server.folder / "host_key.pub").read_text())]
        server.stop()
        with pytest.raises(HostUnreachable, match=r"^air-01: no ssh server answers at 127.0.0.1:.* through 127.0.0.2"):
            scan(host)
