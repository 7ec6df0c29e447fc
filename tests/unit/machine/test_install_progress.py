"""What a machine's words mean while it installs itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argosy.machine.install_progress import (
    RESULT_PREFIX,
    Entry,
    State,
    Verdict,
    failures,
    not_up,
    parse_entry,
    parse_state,
)
from argosy.machine.report import MachineReport

ACTIVE: dict[str, Any] = {"state": "active", "release": "0.1.3", "seconds": 1.5, "failed": []}


def state(
    installer: str = "inactive", secrets: str = "active", marker: bool = True, booting: bool = False, **record: Any
) -> State:
    return State(installer, secrets, marker, "0.1.3", record, booting)


def test_a_state_is_read_with_its_record() -> None:
    line = f"argosy-state inactive active marker=yes booting=no release=0.1.3 {json.dumps(ACTIVE)}"
    assert parse_state(line) == State("inactive", "active", True, "0.1.3", ACTIVE)


@pytest.mark.parametrize("record", ["", " ", ' {"state": "act'])
def test_a_record_that_is_not_there_or_half_is_empty(record: str) -> None:
    line = f"argosy-state activating inactive marker=no booting=yes release=0.1.3{record}"
    assert parse_state(line) == State("activating", "inactive", False, "0.1.3", {}, booting=True)


@pytest.mark.parametrize("line", ["", "argosy-state inactive", '{"__CURSOR": "c"}', "motd: welcome"])
def test_other_lines_are_no_state(line: str) -> None:
    assert parse_state(line) is None


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (state("activating", **ACTIVE), Verdict.WORKING),
        (state("inactive", "activating", **ACTIVE), Verdict.WORKING),
        (state("inactive", "inactive", marker=False), Verdict.WORKING),
        (state("inactive", "failed", marker=False), Verdict.LACKING),
        (state("inactive", **ACTIVE), Verdict.INSTALLED),
        (state("failed", **{**ACTIVE, "state": "failed"}), Verdict.FAILED),
        (state("failed", **{**ACTIVE, "state": "installing"}), Verdict.IDLE),
        (state("inactive", **{**ACTIVE, "release": "0.1.2"}), Verdict.IDLE),
        (state("inactive"), Verdict.IDLE),
        (state("inactive", booting=True), Verdict.WORKING),
    ],
)
def test_the_verdict_on_a_state(seen: State, verdict: Verdict) -> None:
    assert seen.verdict is verdict


def entry(message: object, unit: str, pid: str = "99") -> Entry | None:
    key = "UNIT" if pid == "1" else "_SYSTEMD_UNIT"
    return parse_entry(json.dumps({"__CURSOR": "c", "MESSAGE": message, key: unit, "_PID": pid}), "air")


def test_the_installer_s_own_words_are_shown_as_they_are() -> None:
    assert entry("web: pulling 0.1.3", "air-installer.service") == Entry(
        "c", "web: pulling 0.1.3", "web: pulling 0.1.3"
    )


def test_what_is_said_about_or_by_other_units_is_told_apart() -> None:
    assert entry("Started etcd.", "air-etcd.service", pid="1") == Entry("c", "(etcd) Started etcd.")
    assert entry("Starting install.", "air-installer.service", pid="1") == Entry("c", "(installer) Starting install.")
    assert entry("secrets are missing", "air-secrets.service") == Entry("c", "(secrets) secrets are missing")


def test_etcd_s_own_talk_is_left_out() -> None:
    assert entry("raft: became follower", "air-etcd.service") == Entry("c", "")


def test_the_result_line_is_noticed_and_not_shown() -> None:
    assert entry(RESULT_PREFIX + "{}", "air-installer.service") == Entry("c", "", is_result=True)


def test_bytes_and_nothing_are_messages_too() -> None:
    assert entry([104, 105, 255], "air-installer.service") == Entry("c", "hi�", "hi�")
    assert entry(None, "air-installer.service") == Entry("c", "")


@pytest.mark.parametrize("line", ["", "not json", "[]", '{"MESSAGE": "without a cursor"}'])
def test_what_is_no_entry_is_none(line: str) -> None:
    assert parse_entry(line, "air") is None


def test_failures_are_told_with_their_service_and_log() -> None:
    record = {
        "failed": [
            {"service": "web", "reason": "answers 500", "log": ["last line"]},
            {"service": "", "reason": "no password", "log": []},
        ]
    }
    assert failures(record) == [("web: answers 500", ["last line"]), ("no password", [])]
    assert failures({}) == []


WEB = {"name": "web", "unit": "active", "check": "passing"}


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        ({"state": "waiting", "missing_secrets": ["a", "b"]}, ["it lacks the secrets a, b"]),
        ({"state": "waiting"}, ["it waits for its secrets: inv cluster.upload-secrets"]),
        ({"services": [WEB | {"check": "failing", "reason": "answers 500"}]}, ["web: answers 500"]),
        ({"services": [WEB | {"unit": "failed", "check": "none"}]}, ["web: unit is failed"]),
        ({"services": [WEB]}, []),
        ({"state": "active"}, []),
    ],
)
def test_what_is_not_up_is_told_with_its_reason(status: dict[str, Any], reasons: list[str]) -> None:
    report = MachineReport.model_validate({"state": "installing", **status})
    assert not_up(report) == reasons
