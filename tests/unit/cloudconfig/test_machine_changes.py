"""What an existing machine lacks: decided from what was seen on it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from machine_examples import config, content

from argosy.dialects import File, MachineConfig
from argosy.errors import Refused
from argosy.machine_changes import (
    OBSERVE,
    Observed,
    all_files,
    merge_daemon_json,
    merge_environment,
    parse_observed,
    plan_changes,
)


def observed(machine: MachineConfig, without: str = "", shared: dict[str, str] | None = None) -> Observed:
    """Return a machine that is as `machine` says, but for the file `without`."""
    files = {
        file.path: (file.permissions, hashlib.sha256(file.content.encode()).hexdigest())
        for file in all_files(machine)
        if file.path != without
    }
    same = {path: content(machine, path) for path in ("/etc/environment", "/etc/docker/daemon.json")}
    return Observed(files, frozenset(unit.name for unit in machine.units if unit.enabled), shared=shared or same)


def test_a_bare_machine_gets_everything_and_starts_to_wait() -> None:
    changes = plan_changes(config(), Observed())
    assert [file.path for file in changes.files] == [file.path for file in all_files(config())]
    assert changes.reload_units
    assert changes.restart_docker
    at_once = ("air-swap.service", "air-resolver.service", "air-resolver.path")
    assert changes.enable == ("air-secrets.path", "air-etcd.service", *at_once)
    assert changes.start == ("air-secrets.path", *at_once)
    assert "write /etc/air/machine.env (0644)" in changes.lines()


def test_a_second_run_changes_nothing() -> None:
    changes = plan_changes(config(), observed(config()))
    assert not changes
    assert changes.lines() == []


def test_a_changed_unit_is_read_anew_and_docker_left_alone() -> None:
    changes = plan_changes(config(), observed(config(), without="/etc/systemd/system/air-etcd.service"))
    assert changes.lines() == ["write /etc/systemd/system/air-etcd.service (0644)", "make systemd read its units anew"]


def test_a_wrong_mode_is_a_change() -> None:
    seen = observed(config())
    files = {**seen.files, "/opt/air/bin/air": ("0644", seen.files["/opt/air/bin/air"][1])}
    assert plan_changes(config(), replace(seen, files=files)).lines() == ["write /opt/air/bin/air (0755)"]


def test_a_machine_without_docker_is_refused() -> None:
    with pytest.raises(Refused, match="air-01: it has no docker and no flock; install that first"):
        plan_changes(config(), Observed(lacking=("docker", "flock")))


def test_what_the_owner_wrote_into_shared_files_stays() -> None:
    shared = {
        "/etc/environment": "HTTP_PROXY=http://proxy\nMACHINE_NAME=old\n",
        "/etc/docker/daemon.json": '{"mtu": 1400}',
    }
    files = {file.path: file.content for file in plan_changes(config(), Observed(shared=shared)).files}
    assert files["/etc/environment"].startswith("HTTP_PROXY=http://proxy\nCOREOS_PUBLIC_IPV4=")
    assert "old" not in files["/etc/environment"]
    daemon = json.loads(files["/etc/docker/daemon.json"])
    assert daemon["mtu"] == 1400
    assert daemon["bip"] == "172.17.42.1/16"


def test_merging_twice_is_merging_once() -> None:
    once = merge_environment("A=1\n", "B=2\nC=3\n")
    assert merge_environment(once, "B=2\nC=3\n") == once == "A=1\nB=2\nC=3\n"
    tight = '{"bip":"172.17.42.1/16","mtu":1400}'
    assert merge_daemon_json(tight, '{"bip": "172.17.42.1/16"}') == tight


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_broken_daemon_json_is_refused_not_replaced(text: str) -> None:
    with pytest.raises(Refused, match=r"air-01: its /etc/docker/daemon\.json is not JSON"):
        plan_changes(config(), Observed(shared={"/etc/docker/daemon.json": text}))


def test_the_script_sees_files_with_mode_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_text("x\n")
    path.chmod(0o640)
    result = subprocess.run(
        ["sh", "-c", OBSERVE, "sh", "no-such.service other.service", str(path), "/nonexistent"],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = parse_observed(result.stdout, {})
    assert seen.files == {str(path): ("0640", hashlib.sha256(b"x\n").hexdigest())}
    assert seen.enabled == frozenset()
    assert File(str(path), "x\n", 0o640).permissions == "0640"
