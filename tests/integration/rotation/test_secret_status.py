"""What is seen of the secrets on machines: real sshds, real files, real certificates; never a value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from secret_machines import MACHINES, MARKS, Lab, machines_with_secrets

from argosy.config.loading import Settings
from argosy.pki import authority as pki
from argosy.rotation import provisioning_host, status
from argosy.rotation.plan import Phase, Record
from argosy.rotation.status import SecretStatus
from argosy.secrets import upload
from argosy.ssh.host import Hosts

pytestmark = MARKS

SECRETS = {"token": {"generate_bytes": 8}, "printed": {"command": ["printf", "hunter2"]}}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with machines_with_secrets(tmp_path) as made:
        yield made


def look(settings: Settings) -> SecretStatus:
    with Hosts(settings, MACHINES) as hosts:
        return status.observe(hosts, settings, MACHINES)


def test_all_is_told_and_no_value(lab: Lab) -> None:
    settings = lab.settings(secrets=SECRETS)
    lab.upload(settings)
    found = look(settings)
    assert found.problems() == []
    machines = found.to_json()["machines"]
    assert set(machines) == {"here", *(machine.name for machine in MACHINES)}
    files = {machine["name"]: machine for machine in machines["air-02"]["files"]}
    assert set(files) == set(lab.held("air-02")) - {".complete"}
    (server,) = files["etcd-server.crt"]["certificates"]
    (authority,) = files["ca.crt"]["certificates"]
    assert server["subject"] == "air-02"
    assert server["signer"] == authority["subject"] == authority["signer"]
    assert 1090 < server["days"] <= 1096
    shown = json.dumps(found.to_json()) + repr(found)
    token = (settings.secrets_path / "token").read_text()
    assert token not in shown
    assert "hunter2" not in shown
    assert "PRIVATE" not in shown


def test_what_is_missing_differs_or_ends_soon_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = lab.settings(secrets=SECRETS)
    monkeypatch.setattr(pki, "_now", lambda: datetime.now(UTC) - timedelta(days=1096 - 20))
    pki.ensure_registry_certificate(settings.secrets_path, ["10.0.0.5"])
    monkeypatch.undo()
    lab.upload(settings)
    folder = lab.etc("air-01") / "air" / "secrets"
    (folder / "token").write_text("another")
    (folder / "printed").unlink()
    (folder / "stranger").write_text("x")
    (lab.etc("air-02") / "air/secrets/token").chmod(0o644)
    problems = look(settings).problems()
    assert problems == [
        "here: registry/tls.crt: registry expires in 19 days",
        "air-01: printed is missing",
        "air-01: stranger is not wanted",
        "air-01: token differs",
        "air-02: token is open to others",
    ]


def test_a_certificate_that_ends_soon_is_said_before_it_is_renewed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = lab.settings()
    monkeypatch.setattr(pki, "_now", lambda: datetime.now(UTC) - timedelta(days=1096 - 20))
    lab.upload(settings)
    monkeypatch.undo()
    problems = look(settings).problems()
    assert "air-03: etcd-peer.crt is to be renewed" in problems
    assert "air-03: etcd-peer.crt: air-03 expires in 19 days" in problems


def test_a_machine_that_is_away_and_a_rotation_that_has_not_ended(lab: Lab) -> None:
    settings = lab.settings()
    lab.upload(settings)
    lab.servers[1].stop()
    provisioning_host.write_record(
        settings, replace(Record("r1", Phase.ISSUE, "2026-01-01T00:00:00Z"), phase=Phase.ISSUE)
    )
    problems = look(settings).problems()
    assert len(problems) == 2
    assert problems[0].startswith("air-02: no ssh connection")
    assert problems[1].endswith("inv secrets.rotate --ca resumes it")


def test_a_differing_file_is_a_difference_by_name(lab: Lab) -> None:
    settings = lab.settings(secrets=SECRETS)
    lab.upload(settings)
    (settings.secrets_path / "token").write_text("new")
    with Hosts(settings, MACHINES) as hosts:
        found = upload.differences(hosts, settings, MACHINES)
    assert {name: [str(change) for change in changes] for name, changes in found.items()} == {
        machine.name: ["replace token"] for machine in MACHINES
    }
