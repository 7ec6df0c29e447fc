"""What an existing machine lacks: decided from what was seen on it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine_examples import config, content

from argosy.cloudconfig.changes import (
    OBSERVE,
    Observed,
    all_files,
    keep_chosen,
    parse_observed,
    plan_changes,
)
from argosy.cloudconfig.dialects.machine import MachineConfig
from argosy.cloudconfig.shared import DAEMON_JSON, SHARED, merge_daemon_json, merge_environment
from argosy.cloudconfig.writing import bring
from argosy.errors import Refused
from argosy.model import File
from argosy.paths import Names
from argosy.ssh.shell import Script

NAMES = Names("air")
ORIGINS = "/etc/air/shared.json"


def observed(machine: MachineConfig, without: str = "") -> Observed:
    """Return a machine that is as `machine` says, but for the file `without`."""
    files = {
        file.path: (file.permissions, hashlib.sha256(file.content.encode()).hexdigest())
        for file in all_files(machine)
        if file.path != without
    }
    same: dict[str, str | None] = {path: content(machine, path) for path in SHARED}
    text = plan_changes(machine, Observed(), NAMES).files[0].content
    files[ORIGINS] = ("0644", hashlib.sha256(text.encode()).hexdigest())
    same[ORIGINS] = text
    return Observed(files, frozenset(unit.name for unit in machine.units if unit.enabled), shared=same)


def test_a_bare_machine_gets_everything_and_starts_to_wait() -> None:
    changes = plan_changes(config(), Observed(), NAMES)
    assert [file.path for file in changes.files] == [ORIGINS, *(file.path for file in all_files(config()))]
    assert changes.reload_units
    assert changes.restart_docker
    at_once = ("air-swap.service", "air-resolver.service", "air-resolver.path")
    assert changes.enable == ("air-secrets.path", "air-etcd.service", *at_once)
    assert changes.start == ("air-secrets.path", *at_once)
    assert "write /etc/air/machine.env (0644)" in changes.lines()


def test_a_machine_that_is_installed_keeps_its_release_and_its_image_of_etcd() -> None:
    path, wanted = "/etc/air/etcd.env", content(config(), "/etc/air/etcd.env")
    kept = keep_chosen(config(), NAMES, "IMAGE=r:5000/air/etcd@sha256:old\nETCD_NAME=other\n")
    image, rest = content(kept, path).split("\n", 1)
    assert image == "IMAGE=r:5000/air/etcd@sha256:old"
    assert rest == wanted.split("\n", 1)[1]
    names = {file.path for file in config().files}
    assert {file.path for file in kept.files} == names - {"/etc/air/release.env"}
    for nothing in (None, "", "ETCD_NAME=other\n"):
        assert content(keep_chosen(config(), NAMES, nothing), path) == wanted


def test_a_second_run_changes_nothing() -> None:
    changes = plan_changes(config(), observed(config()), NAMES)
    assert not changes
    assert changes.lines() == []


def test_docker_that_was_not_restarted_yet_is() -> None:
    seen = observed(config())
    pending = replace(seen, files={**seen.files, "/etc/air/restart-docker": ("0644", "")})
    changes = plan_changes(config(), pending, NAMES)
    assert changes
    assert changes.lines() == ["restart Docker, which reads its settings anew"]


class Recorder:
    """A host that says what is done to it, and dies before the step of that number."""

    def __init__(self, dies_at: int = -1) -> None:
        self.done: list[str] = []
        self.dies_at = dies_at

    def run(self, command: Sequence[str], **_options: object) -> None:
        self._do(command.title if isinstance(command, Script) else " ".join(command))

    def put_bytes(self, _data: bytes, path: str, **_options: object) -> None:
        self._do(path)

    def _do(self, what: str) -> None:
        if len(self.done) == self.dies_at:
            raise KeyboardInterrupt
        self.done.append(what)


def test_killed_before_any_step_docker_is_restarted_and_units_start_in_the_end() -> None:
    marker, changes, whole = "/etc/air/restart-docker", plan_changes(config(), Observed(), NAMES), observed(config())
    steps: Any = Recorder()
    bring(steps, changes, marker)
    assert steps.done.index(marker) < steps.done.index(DAEMON_JSON) < steps.done.index("restart Docker")
    for step in range(len(steps.done)):
        host: Any = Recorder(step)
        with pytest.raises(KeyboardInterrupt):
            bring(host, changes, marker)
        restarted = "restart Docker" in host.done
        files = {path: found for path, found in whole.files.items() if path in host.done}
        files |= {marker: ("0644", "")} if marker in host.done and not restarted else {}
        enabled = frozenset(word for line in host.done if " enable " in line for word in line.split())
        texts = {path: whole.shared[path] if path in host.done else None for path in whole.shared}
        again = plan_changes(config(), Observed(files, enabled, texts), NAMES)
        assert again.restart_docker is not restarted
        assert again.start == changes.start or any(" start " in line for line in host.done)


def test_a_changed_unit_is_read_anew_and_docker_left_alone() -> None:
    changes = plan_changes(config(), observed(config(), without="/etc/systemd/system/air-etcd.service"), NAMES)
    assert changes.lines() == ["write /etc/systemd/system/air-etcd.service (0644)", "make systemd read its units anew"]


def test_a_wrong_mode_is_a_change() -> None:
    seen = observed(config())
    files = {**seen.files, "/opt/air/bin/air": ("0644", seen.files["/opt/air/bin/air"][1])}
    assert plan_changes(config(), replace(seen, files=files), NAMES).lines() == ["write /opt/air/bin/air (0755)"]


def test_what_the_owner_wrote_into_shared_files_stays() -> None:
    shared: dict[str, str | None] = {
        "/etc/environment": "HTTP_PROXY=http://proxy\nMACHINE_NAME=old\n",
        "/etc/docker/daemon.json": '{"mtu": 1400}',
    }
    files = {file.path: file.content for file in plan_changes(config(), Observed(shared=shared), NAMES).files}
    assert files["/etc/environment"].startswith("HTTP_PROXY=http://proxy\nCOREOS_PUBLIC_IPV4=")
    assert "old" not in files["/etc/environment"]
    daemon = json.loads(files["/etc/docker/daemon.json"])
    assert daemon["mtu"] == 1400
    assert daemon["bip"] == "172.17.42.1/16"


def test_what_was_there_before_is_written_down_first_and_once() -> None:
    shared: dict[str, str | None] = {"/etc/docker/daemon.json": '{"mtu": 1400}'}
    first = plan_changes(config(), Observed(shared=shared), NAMES).files
    assert first[0].path == ORIGINS, "before anything is changed"
    written = json.loads(first[0].content)
    assert written["/etc/docker/daemon.json"]["before"] == '{"mtu": 1400}'
    assert written["/etc/docker/daemon.json"]["ours"]["bip"] == "172.17.42.1/16"
    assert written["/etc/environment"]["before"] is None

    now: dict[str, str | None] = {file.path: file.content for file in first}
    later = plan_changes(config(docker={"dns": ["10.9.9.9"]}), Observed(shared=now), NAMES).files[0]
    again = json.loads(later.content)
    assert again["/etc/docker/daemon.json"]["before"] == '{"mtu": 1400}'
    assert again["/etc/docker/daemon.json"]["ours"]["dns"] != written["/etc/docker/daemon.json"]["ours"]["dns"]


def test_a_machine_that_was_ours_before_it_was_written_down_loses_what_is_ours() -> None:
    seen = observed(config())
    daemon = json.loads(seen.shared["/etc/docker/daemon.json"] or "") | {"mtu": 1400}
    shared = {**seen.shared, ORIGINS: None, "/etc/docker/daemon.json": json.dumps(daemon)}
    file = plan_changes(config(), replace(seen, shared=shared), NAMES).files[0]
    before = {path: each["before"] for path, each in json.loads(file.content).items()}
    assert json.loads(before["/etc/docker/daemon.json"]) == {"mtu": 1400}
    assert before["/etc/environment"] is None


def test_merging_twice_is_merging_once() -> None:
    once = merge_environment("A=1\n", "B=2\nC=3\n")
    assert merge_environment(once, "B=2\nC=3\n") == once == "A=1\nB=2\nC=3\n"
    tight = '{"bip":"172.17.42.1/16","mtu":1400}'
    assert merge_daemon_json(tight, '{"bip": "172.17.42.1/16"}') == tight


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_broken_daemon_json_is_refused_not_replaced(text: str) -> None:
    with pytest.raises(Refused, match=r"air-01: its /etc/docker/daemon\.json is not JSON"):
        plan_changes(config(), Observed(shared={"/etc/docker/daemon.json": text}), NAMES)


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
