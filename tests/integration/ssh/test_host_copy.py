"""Files to and from a real machine: whole or not at all, with their modes, inside of where they belong."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer, requires_sshd, ssh_server

from argosy.errors import CommandFailed, ConfigError
from argosy.ssh import copy, known_hosts
from argosy.ssh import files as host_files
from argosy.ssh.channel import Sink
from argosy.ssh.host import Host

pytestmark = [pytest.mark.integration, requires_sshd]

NASTY_NAMES = ["a b", "-rf", "it's", "$HOME", "new\nline", "ümläut", "*"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(server: SshServer) -> Iterator[Host]:
    with server.host() as host:
        yield host


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_bytes_become_a_file_with_its_mode_and_nothing_beside_it(host: Host, tmp_path: Path) -> None:
    for name in NASTY_NAMES:
        target = tmp_path / name
        host.put_bytes(b"\0secret\xff", str(target), mode=0o600)
        assert (target.read_bytes(), mode_of(target)) == (b"\0secret\xff", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NASTY_NAMES)


def test_an_empty_file_is_a_file(host: Host, tmp_path: Path) -> None:
    host.put_bytes(b"", str(tmp_path / "empty"))
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_reader_sees_the_old_file_or_the_new_one(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "settings"
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]
    target.write_bytes(contents[0])
    seen: set[bytes] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(6):
        host.put_bytes(contents[number % 2], str(target))
    over.set()
    reader.join()
    assert seen <= set(contents)


def test_a_link_is_replaced_and_not_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "link").symlink_to("victim")
    host.put_bytes(b"new", str(tmp_path / "link"))
    assert (tmp_path / "victim").read_text() == "untouched"
    assert not (tmp_path / "link").is_symlink()


def test_where_it_can_not_be_written_one_line_says_so(host: Host, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"^air-01: `put /nowhere/file` ended with 1: .*No such file or directory"):
        host.put_bytes(b"x", "/nowhere/file")
    with pytest.raises(CommandFailed, match="is a directory"):
        host.put_bytes(b"x", str(tmp_path))


def test_an_upload_that_breaks_off_leaves_the_old_file(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "settings"
    target.write_text("old")
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    with source.open("rb") as file:

        def feed(sink: Sink) -> None:
            sink.write(file.read(10))

        with pytest.raises(CommandFailed, match=f"the upload of {target} broke off"):
            copy._write(host, feed, 100_000, str(target), mode=0o644, sudo=False, name="")
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["settings", "source"]


def test_a_file_keeps_its_mode_and_goes_into_a_folder(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "tool.sh"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o751)
    (tmp_path / "folder").mkdir()
    host.put(source, str(tmp_path / "copy"))
    host.put(source, str(tmp_path / "folder"), mode=0o600)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "folder" / "tool.sh").read_bytes() == source.read_bytes()
    assert (mode_of(tmp_path / "copy"), mode_of(tmp_path / "folder" / "tool.sh")) == (0o751, 0o600)


def test_what_is_not_here_is_refused_before_anything_is_sent(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read"):
        host.put(tmp_path / "nope", "/tmp/never")
    with pytest.raises(ConfigError, match="is a folder, and recursive was not asked for"):
        host.put(tmp_path, "/tmp/never")


def make_tree(root: Path) -> None:
    for name in NASTY_NAMES:
        (root / name).mkdir(parents=True)
        (root / name / name).write_text(name)
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("run")
    (root / "empty").mkdir()


def tree(root: Path) -> dict[str, tuple[int, bytes | str | None]]:
    found: dict[str, tuple[int, bytes | str | None]] = {}
    for path in root.rglob("*"):
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (stat.S_IMODE(path.lstat().st_mode), content)
    return found


def test_folders_travel_both_ways(host: Host, tmp_path: Path) -> None:
    source, there, back = tmp_path / "source", tmp_path / "there" / "deep", tmp_path / "back"
    make_tree(source)
    host.put(source, str(there), recursive=True)
    assert tree(there) == tree(source)
    assert host.get(str(there), back, recursive=True) == []
    assert tree(back) == tree(source)


def test_a_second_copy_replaces_and_removes_nothing(host: Host, tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "there"
    make_tree(source)
    host.put(source, str(there), recursive=True)
    (there / "own").write_text("mine")
    (source / "run").write_text("changed")
    host.put(source, str(there), recursive=True)
    assert (there / "own").read_text() == "mine"
    assert (there / "run").read_text() == "changed"


def test_a_file_comes_back_with_its_mode(host: Host, tmp_path: Path) -> None:
    remote, local = tmp_path / "remote", tmp_path / "local"
    remote.write_bytes(os.urandom(3_000_000))
    remote.chmod(0o640)
    (tmp_path / "link").symlink_to("remote")
    assert host.get(str(tmp_path / "link"), local) == []
    assert (local.read_bytes(), mode_of(local)) == (remote.read_bytes(), 0o640)
    (tmp_path / "folder").mkdir()
    host.get(str(remote), tmp_path / "folder")
    assert (tmp_path / "folder" / "remote").read_bytes() == remote.read_bytes()
    host.get(str(remote), tmp_path / "new", recursive=True)
    assert (tmp_path / "new" / "remote").read_bytes() == remote.read_bytes()


def test_what_is_not_there_is_told_and_leaves_nothing_here(host: Host, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"`get /nope` ended with 2: no such file or folder: /nope"):
        host.get("/nope", tmp_path / "local")
    with pytest.raises(CommandFailed, match="is a folder, and recursive was not asked for"):
        host.get(str(tmp_path), tmp_path / "local")
    with pytest.raises(CommandFailed, match="no such file"):
        host.get("/nope", tmp_path / "folder", recursive=True)
    assert not (tmp_path / "local").exists()


def test_what_can_not_be_written_here_is_told(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CommandFailed, match=r"^air-01: can't write .*/file here: "):
        host.get(str(tmp_path / "file"), tmp_path / "file" / "below")


def test_a_machine_can_not_write_outside_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, link, 0o4755
            archive.addfile(member, io.BytesIO())

        add("../escaped")
        add(str(outside / "absolute"))
        add("door", tarfile.SYMTYPE, str(outside))
        add("door/through")
        add("up/door", tarfile.SYMTYPE, "../../outside")
        add("self", tarfile.SYMTYPE, ".")
        add("self/door", tarfile.SYMTYPE, "../outside")
        add("late", tarfile.SYMTYPE, "fine")
        add("late/through")
        add("fifo", tarfile.FIFOTYPE)
        add("hard", tarfile.LNKTYPE, "../outside/x")
        add("fine")
    buffer.seek(0)
    with tarfile.open(fileobj=buffer, mode="r|") as archive:
        left_out = copy._unpack(archive, tmp_path / "here")
    assert set(left_out) >= {
        "../escaped",
        str(outside / "absolute"),
        "door",
        "up/door",
        "self/door",
        "late",
        "fifo",
        "hard",
    }
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "escaped").exists()
    assert mode_of(tmp_path / "here" / "fine") == 0o755, "no set-uid bit from a machine"


def test_hard_links_and_links_within_come_along(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "one").write_text("same")
    (source / "two").hardlink_to(source / "one")
    (source / "deep" / "up").symlink_to("../one")
    for _ in range(2):
        assert host.get(str(source), tmp_path / "back", recursive=True) == []
        assert tree(tmp_path / "back") == tree(source)


def test_exists_and_directory(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "it's"
    assert not host_files.exists(host, str(folder))
    for _ in range(2):
        host_files.directory(host, str(folder), mode=0o750)
        assert host_files.exists(host, str(folder))
        assert mode_of(folder) == 0o750


def test_append_adds_a_line_once_whatever_is_in_it(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    for line in ["first", "it's $HOME", 'a "b" .*', "-x"]:
        assert host_files.append(host, str(file), line)
        assert not host_files.append(host, str(file), line)
    assert file.read_text() == 'first\nit\'s $HOME\na "b" .*\n-x\n'
    file.write_text("no line break at the end")
    assert host_files.append(host, str(file), "end")
    assert file.read_text() == "no line break at the end\nend\n"


def test_rsync_goes_under_the_same_trust(server: SshServer, host: Host, tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "it's there"
    make_tree(source)
    there.mkdir()
    (there / "old").touch()
    host_files.rsync(host, f"{source}/", f"{there}/", exclude=["empty"], delete=True)
    expected = tree(source)
    del expected["empty"]
    assert tree(there) == expected
    server.pins.rename(server.folder / "away")
    try:
        with pytest.raises(CommandFailed, match="rsync to"):
            host_files.rsync(host, f"{source}/", f"{there}/")
    finally:
        (server.folder / "away").rename(server.pins)


def test_rsync_goes_through_the_entry_node(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with ssh_server(tmp_path / "entry", addresses=["127.0.0.2"]) as entry:
        (entry.folder / "authorized_keys").write_text((server.folder / "authorized_keys").read_text())
        known_hosts.pin(server.pins, "127.0.0.2", entry.port, (entry.folder / "host_key.pub").read_text())
        with server.host(entry_node=f"127.0.0.2:{entry.port}") as host:
            host_files.rsync(host, str(tmp_path / "file"), str(tmp_path / "copy"))
        assert "Accepted publickey" in (entry.folder / "log").read_text()
    assert (tmp_path / "copy").read_text() == "x"
