from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from argosy.ssh import known_hosts
from argosy.ssh.known_hosts import HostKey

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDzm3IZFx/Zb+0b3bmyNv4r5vU4dJEc3oKMgqgm0hKgB root@air-01"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "known_hosts"


def test_no_file_means_that_nothing_is_pinned(file: Path) -> None:
    assert known_hosts.read(file) == {}
    assert not known_hosts.forget(file, "10.0.0.1", 22)
    assert not file.exists()


def test_a_pinned_key_is_read_back(file: Path) -> None:
    assert known_hosts.pin(file, "10.0.0.1", 22, ED)
    assert known_hosts.pin(file, "10.0.0.1", 2222, OTHER)
    assert known_hosts.read(file) == {"10.0.0.1": (HostKey.parse(ED),), "[10.0.0.1]:2222": (HostKey.parse(OTHER),)}


def test_pinning_again_changes_nothing(file: Path) -> None:
    known_hosts.pin(file, "10.0.0.1", 22, ED, OTHER)
    before = file.stat()
    assert not known_hosts.pin(file, "10.0.0.1", 22, OTHER, HostKey.parse(ED))
    assert file.stat() == before


def test_a_new_pin_replaces_the_host_and_no_other(file: Path) -> None:
    known_hosts.pin(file, "10.0.0.1", 22, ED)
    known_hosts.pin(file, "10.0.0.2", 22, ED)
    assert known_hosts.pin(file, "10.0.0.1", 22, OTHER)
    assert known_hosts.read(file) == {"10.0.0.1": (HostKey.parse(OTHER),), "10.0.0.2": (HostKey.parse(ED),)}


def test_foreign_lines_are_kept_and_trusted_for_nothing(file: Path) -> None:
    file.parent.mkdir()
    foreign = f"# by hand\n@revoked 10.0.0.9 {OTHER}\n|1|salt=|hash= {OTHER}\nbroken\n"
    file.write_text(f"{foreign}10.0.0.1,node {ED}\n")
    known_hosts.forget(file, "10.0.0.1", 22)
    assert file.read_text().startswith(foreign)
    assert set(known_hosts.read(file)) == {"node"}


def test_parallel_pins_all_arrive(file: Path) -> None:
    threads = [
        threading.Thread(target=known_hosts.pin, args=(file, f"10.0.0.{number}", 22, ED)) for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known_hosts.read(file)) == 20


def test_a_changed_file_is_read_anew(file: Path) -> None:
    known_hosts.pin(file, "10.0.0.1", 22, ED)
    assert known_hosts.read(file)
    known_hosts.forget(file, "10.0.0.1", 22)
    assert known_hosts.read(file) == {}


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(ED)
    said = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert HostKey.parse(ED).fingerprint in said.stdout.split()


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa " + ED.split()[1]])
def test_what_is_not_a_key_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        HostKey.parse(line)


@pytest.mark.parametrize(("address", "port"), [("10.0.0.1", 22), ("10.0.0.1", 2222), ("gate.example.com", 2202)])
def test_a_place_is_read_as_it_was_written(address: str, port: int) -> None:
    assert known_hosts.place(known_hosts.entry_name(address, port)) == (address, port)


@pytest.mark.parametrize("entry", ["[10.0.0.1]:ssh", "[::1]", "::1"])
def test_what_somebody_else_has_written_is_an_address(entry: str) -> None:
    assert known_hosts.place(entry) == (entry, 22)
