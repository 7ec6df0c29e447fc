"""Who may do what: decided from the certificate's name and its record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from argosy.cluster.operator_record import Identity, OperatorRecord, Rights, may, present, refusal

AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
RECORD = OperatorRecord(
    rights=Rights.DEPLOY,
    certificate="9f2c",
    ssh_key="ssh-ed25519 AAAA air-ci",
    ssh_fingerprint="SHA256:abc",
    added=AT,
    by="ann@desk",
)
CI = Identity("ci", "9f2c", signs=False)


@pytest.mark.parametrize(
    "task",
    [
        "cluster.rolling-upgrade",
        "cluster.rolling-upgrade --abort",
        "cluster.upgrade-machine",
        "service.update",
        "discovery.set",
        "release.promote",
        "",
    ],
)
def test_who_deploys_may_do_what_brings_releases(task: str) -> None:
    assert refusal(CI, RECORD, task) == ""


@pytest.mark.parametrize(
    "task",
    [
        "cluster.add-machine",
        "cluster.remove-machine",
        "cluster.restore",
        "cluster.swarm",
        "cluster.upload-secrets",
        "secrets.rotate",
        "secrets.fetch",
        "operator.add",
        "operator.remove",
        "registry.prune",
        "a.task-of-tomorrow",
    ],
)
def test_all_else_needs_full_rights(task: str) -> None:
    assert refusal(CI, RECORD, task) == (
        f"operator ci has the rights deploy, and {task} needs full: ask an operator who has them"
    )
    assert refusal(CI, replace(RECORD, rights=Rights.FULL), task) == ""
    assert may(Rights.FULL, task)


def test_who_was_removed_may_do_nothing() -> None:
    gone = replace(RECORD, rights=Rights.FULL).revoked(AT, "ann@desk", ("air-01",))
    assert gone.left_on == ("air-01",)
    assert refusal(CI, gone) == ("operator ci was removed at 2026-01-31T12:00:00.000Z by ann@desk: nothing was done")
    assert present({"ci": gone, "bob": RECORD}) == {"bob": RECORD}


def test_who_has_no_record_is_no_operator() -> None:
    assert refusal(CI, None) == "ci is no operator of this cluster: ask one to run inv operator.add ci"


def test_a_name_with_another_certificate_is_an_older_bundle() -> None:
    assert "take its bundle with inv operator.join" in refusal(replace(CI, certificate="0000"), RECORD)


def test_a_record_is_read_as_it_was_written() -> None:
    gone = RECORD.revoked(AT, "bob@desk", ("air-01", "air-02"))
    assert OperatorRecord.parse(RECORD.text()) == RECORD
    assert OperatorRecord.parse(gone.text()) == gone
    with pytest.raises(ValueError, match="not the record of an operator: rights"):
        OperatorRecord.parse(RECORD.text().replace("deploy", "everything"))
