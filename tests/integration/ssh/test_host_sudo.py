"""A user that is not root, on a real sshd with a real sudo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
from ssh_server import SshServer, in_namespace_of_its_own, open_way, requires_namespaces, requires_sshd, ssh_server

from argosy.errors import CommandFailed, DeadlineExceeded, Refused
from argosy.ssh import files as host_files
from argosy.ssh.host import Host

pytestmark = [pytest.mark.integration, requires_sshd, requires_namespaces]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    folder = tmp_path_factory.mktemp("sudo")
    wrapper = in_namespace_of_its_own(folder, "core ALL=(ALL) NOPASSWD: ALL")
    with ssh_server(folder / "sshd", wrapper=wrapper, user="core") as running:
        yield running


@pytest.fixture
def host(server: SshServer, tmp_path: Path) -> Iterator[Host]:
    open_way(tmp_path)
    with server.host() as host:
        yield host


def test_commands_are_the_users_unless_asked_otherwise(host: Host) -> None:
    assert host.run(["id", "-un"]).stdout == "core\n"
    assert host.run(["id", "-un"], sudo=True).stdout == "root\n"
    assert host.run("id -un | cat; echo $0", sudo=True).stdout == "root\nsh\n"


def test_a_failing_command_is_not_blamed_on_sudo(host: Host) -> None:
    with pytest.raises(CommandFailed, match=r"`false` ended with 1$"):
        host.run(["false"], sudo=True)


def test_files_of_root_are_written_and_read(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "root-only"
    target.mkdir(mode=0o700)
    host.put_bytes(b"secret", f"{target}/key", mode=0o600, sudo=True)
    status = (target / "key").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    with pytest.raises(CommandFailed, match="Permission denied"):
        host.run(["cat", f"{target}/key"])
    host.get(f"{target}/key", tmp_path / "back", sudo=True)
    assert (tmp_path / "back").read_text() == "secret"
    assert host_files.exists(host, f"{target}/key", sudo=True)
    assert host_files.append(host, f"{target}/list", "line", sudo=True)


def test_folders_that_are_sent_as_root_belong_to_root(host: Host, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    os.chown(tmp_path / "source" / "file", 1234, 1234)
    host.put(tmp_path / "source", str(tmp_path / "there"), recursive=True, sudo=True)
    assert (tmp_path / "there" / "file").stat().st_uid == 0


def test_a_process_of_root_is_ended_too(host: Host, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="was ended"):
        host.run(f"echo $$ >{tmp_path}/pid; sleep 60 | cat", sudo=True, timeout_seconds=0.7)
    pid = int((tmp_path / "pid").read_text())
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(8), reraise=True):
        with attempt:
            assert not Path(f"/proc/{pid}").exists()


def test_a_follower_of_root_is_ended_too(host: Host, tmp_path: Path) -> None:
    line = f"echo $$ >{tmp_path}/pid; while :; do echo line; sleep 0.1; done"
    assert host.stream(["sh", "-c", line], on_line=lambda _: True, sudo=True, deadline_seconds=20) == 0
    pid = int((tmp_path / "pid").read_text())
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(8), reraise=True):
        with attempt:
            assert not Path(f"/proc/{pid}").exists()


def test_a_user_that_sudo_asks_for_a_password_is_refused_with_the_next_step(tmp_path: Path) -> None:
    wrapper = in_namespace_of_its_own(tmp_path, "core ALL=(ALL) ALL")
    with (
        ssh_server(tmp_path / "sshd", wrapper=wrapper, user="core") as server,
        server.host() as host,
        pytest.raises(Refused, match=r"^air-01: core may not use sudo without a password there; see sudoers\(5\)"),
    ):
        host.run(["true"], sudo=True)
