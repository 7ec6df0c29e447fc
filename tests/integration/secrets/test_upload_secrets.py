"""Secrets on machines: real sshds, each with an /etc of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from raised import raises
from secret_machines import MACHINES, MARKS, Lab, machines_with_secrets

from argosy.cluster.opening import OpenCluster
from argosy.errors import ConfigError, HostsFailed
from argosy.report import silent
from argosy.secrets import syncing, upload

pytestmark = MARKS


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with machines_with_secrets(tmp_path) as made:
        yield made


SECRETS = {"token": {"generate_bytes": 8}, "printed": {"command": ["printf", "hunter2"]}}


def test_every_machine_gets_its_own_and_a_second_run_changes_nothing(lab: Lab) -> None:
    settings = lab.settings(secrets=SECRETS)
    lab.upload(settings)
    for machine in MACHINES:
        files = upload.gather(settings, [machine], silent)[machine.name]
        wanted = {name: file.reveal() for name, file in files.items()}
        assert lab.held(machine.name) == {**wanted, ".complete": b""}
    assert lab.held("air-01")["etcd-server.key"] != lab.held("air-02")["etcd-server.key"]
    before = {path: path.stat().st_ctime_ns for path in lab.etc("air-01").joinpath("air").rglob("*")}
    assert lab.plan(settings) == []
    assert lab.upload(settings) == {machine.name: [] for machine in MACHINES}
    assert {path: path.stat().st_ctime_ns for path in before} == before
    assert sorted(lab.reported) == [(machine.name, "secrets: unchanged") for machine in MACHINES]


def test_a_dry_run_shows_names_and_neither_values_nor_changes(lab: Lab) -> None:
    settings = lab.settings(secrets=SECRETS)
    first = [str(step) for step in lab.plan(settings)]
    assert f"here: make {settings.secrets_path}/token" in first
    assert "secrets: adds etcd-server.key on air-01, air-02, air-03" in first
    assert not settings.secrets_path.exists()
    assert not lab.etc("air-01").joinpath("air").exists()
    lab.upload(settings)
    (settings.secrets_path / "token").write_text("rotated")
    steps = [str(step) for step in lab.plan(settings)]
    assert steps == ["secrets: replaces token on air-01, air-02, air-03"]
    assert "rotated" not in "".join(steps)


def test_what_is_no_longer_wanted_goes_and_one_machine_that_lost_a_file_gets_it_back(lab: Lab) -> None:
    lab.upload(lab.settings(secrets=SECRETS))
    settings = lab.settings(secrets={"token": SECRETS["token"]})
    lab.etc("air-02").joinpath("air/secrets/ca.crt").unlink()
    changes = lab.upload(settings)
    assert [str(change) for change in changes["air-01"]] == ["remove printed"]
    assert [str(change) for change in changes["air-02"]] == ["remove printed", "write ca.crt"]
    assert "printed" not in lab.held("air-03")


def test_a_missing_secret_touches_no_machine(lab: Lab) -> None:
    with raises(ConfigError, path="secrets.token"):
        lab.upload(lab.settings(secrets={"token": {"file": "nowhere"}}))
    assert not lab.etc("air-01").joinpath("air").exists()


def test_the_hook_runs_before_a_change_and_not_without_one(lab: Lab) -> None:
    settings = lab.settings(hooks={"prepare_machine": ["echo one >>/etc/hook-ran", "echo two >>/etc/hook-ran"]})
    assert "air-01: run echo one >>/etc/hook-ran" in [str(step) for step in lab.plan(settings)]
    lab.upload(settings)
    lab.upload(settings)
    assert lab.etc("air-01").joinpath("hook-ran").read_text() == "one\ntwo\n"


def test_a_hook_that_fails_stops_that_machine_alone(lab: Lab) -> None:
    lab.etc("air-02").joinpath("bad").touch()
    settings = lab.settings(hooks={"prepare_machine": ["test ! -e /etc/bad"]})
    with pytest.raises(HostsFailed) as caught:
        lab.upload(settings)
    assert set(caught.value.failures) == {"air-02"}
    assert ".complete" in lab.held("air-01")
    assert not lab.etc("air-02").joinpath("air").exists()


def test_a_full_disk_is_one_line_and_leaves_the_old_set_complete(lab: Lab) -> None:
    lab.upload(lab.settings())
    old = lab.held("air-01")
    machine_folder = lab.settings().secrets_path / "machine"
    machine_folder.mkdir()
    (machine_folder / "big").write_bytes(bytes(3 << 20))
    small_disk = """
        cp -a /etc/air/secrets /etc/air/old
        mount -t tmpfs -o size=1m,mode=700 none /etc/air/secrets
        cp -a /etc/air/old/. /etc/air/secrets/
    """
    settings = lab.settings()
    with OpenCluster(settings, lab.report, machines=MACHINES) as cluster:
        host = cluster.hosts["air-01"]
        host.run(small_disk)
        with pytest.raises(HostsFailed) as caught:
            syncing.upload(cluster, MACHINES, syncing.refuse_taking)
        there = host.run("cd /etc/air/secrets && find . -type f | sort").stdout.split()
    message = str(caught.value)
    assert "No space left on device" in message
    assert "\n" not in message
    assert there == sorted(f"./{name}" for name in old)
