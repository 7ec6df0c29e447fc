"""A backup is made of a real etcd and becomes a cluster again, on machines that do what they are sent (member_lab)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from member_lab import SCRIPTS, Lab

from argosy import inventory
from argosy.cluster import lock
from argosy.cluster.operator_record import OperatorRecord, Rights
from argosy.errors import CommandFailed, ConfigError, HostsFailed, HostUnreachable, Refused
from argosy.membership import adding, backups
from argosy.membership.adding import Options

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

CI = OperatorRecord(
    rights=Rights.DEPLOY,
    certificate="9f2c",
    ssh_key="ssh-ed25519 AAAAci air-test-ci",
    ssh_fingerprint="SHA256:ci",
    added=datetime(2026, 1, 31, tzinfo=UTC),
    by="ann@desk",
)


@pytest.fixture
def lab(programs_of_each: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path, programs_of_each, monkeypatch, 3)
    try:
        made.start()
        yield made
    finally:
        made.cluster.stop()


def restore(lab: Lab, path: Path, *names: str, force: bool = False) -> backups.Restoring:
    wanted = backups.plan_restore(lab.settings, path, names, force=force)
    backups.restore(lab.settings, wanted, lab.report)
    return wanted


def test_all_three_are_lost_and_come_back_as_they_were(lab: Lab, tmp_path: Path) -> None:
    with lab.store() as store:
        store.put("/settings/kept", "yes")
        store.put("/machines/air-09", '{"address": "10.0.0.9"}')
        store.put("/cluster/operators/ci", CI.text())
        with lock.held(store, "cluster.rolling-upgrade"):
            path = tmp_path / "backups" / "monday.db"
            made = backups.backup(lab.settings, path)
        store.put("/settings/later", "lost")
    assert backups.backup_json(made)["sha256"] == made.sha256
    with pytest.raises(Refused, match="is there already: give another name, or --force"):
        backups.backup(lab.settings, path)
    with pytest.raises(Refused, match="is a folder"):
        backups.backup(lab.settings, path.parent)

    with pytest.raises(Refused, match="etcd works: restoring would undo all that was written after the backup"):
        backups.plan_restore(lab.settings, path, ["air-01"])
    assert lab.known() == ["air-01", "air-02", "air-03", "air-09"]
    # As in a checkout that has not asked etcd since.
    inventory.forget(lab.settings, ["air-09"])
    names = lab.known()
    for name in names:
        lab.cluster.kill(name)
    done = restore(lab, path, *names)
    assert [str(step) for step in done.steps][1:] == [
        "air-01, air-02, air-03: stop etcd, set its data aside, restore the snapshot as a new cluster, start it",
        "machines: tell them who runs etcd: air-01, air-02, air-03; restart the agents, one after the other",
        "air-01, air-02, air-03: install again what they run, so that etcd knows it",
    ]
    lab.cluster.wait_until_healthy()
    assert lab.voters() == names
    assert "/settings/kept" in lab.stored()
    assert "/settings/later" not in lab.stored()
    assert "/cluster/lock" not in lab.stored()
    assert lab.history() == [("restore monday.db on air-01, air-02, air-03", "done")]
    assert {machine.endpoints for machine in lab.machines.values()} == {lab.urls(*names)}
    assert all(machine.done.count("restart the agent") == 1 for machine in lab.machines.values())
    assert any("knows air-09, too: if they are gone, inv cluster.remove-machine" in line for line in lab.said)
    assert any(line.startswith("lock: broken: ") for line in lab.said)
    assert "etcd: has the operators ci, as the backup has: inv operator.remove who was removed since" in lab.said
    # The same once more, as after an operator's death: forced, since now etcd works.
    restore(lab, path, *names, force=True)
    lab.cluster.wait_until_healthy()
    assert lab.voters() == names


def test_one_begins_and_the_others_join_it(lab: Lab, tmp_path: Path) -> None:
    with lab.store() as store:
        store.put("/settings/kept", "yes")
    path = backups.backup(lab.settings, tmp_path / "monday.db").path
    lab.power_off("air-01")
    lab.power_off("air-03")
    lab.machines["air-01"].up = True
    restore(lab, path, "air-01")
    assert lab.voters() == ["air-01"]
    # Of the old cluster nobody is left to be mistaken for one of the new: one was stopped, one is off.
    assert "air-02" not in lab.cluster.processes
    assert (lab.data("air-02") / "aside-of-the-old-cluster").is_dir()
    assert any(line.startswith("air-03: not reached") for line in lab.said)
    assert lab.machines["air-02"].endpoints == lab.urls("air-01")
    adding.add(lab.settings, "air-01", "air-02", lab.report, Options(install=True))
    # It comes back with data of the old cluster, which has to be out of its way.
    lab.machines["air-03"].up = True
    adding.add(lab.settings, "air-01", "air-03", lab.report, Options(install=True))
    assert lab.voters() == ["air-01", "air-02", "air-03"]
    assert "/settings/kept" in lab.stored()


def test_nothing_is_stopped_when_a_machine_lacks_what_it_takes(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backups.backup(lab.settings, tmp_path / "monday.db").path
    lab.machines["air-03"].up = False
    with pytest.raises(HostsFailed, match="Preparing failed on 1 of 3 machines: air-03"):
        restore(lab, path, *lab.known(), force=True)
    with pytest.raises(HostUnreachable):
        restore(lab, path, "air-03", force=True)

    def refuse(*_: object) -> None:
        raise CommandFailed("air-01: it is not set up to run etcd")

    monkeypatch.setitem(SCRIPTS, "prepare the restoring", refuse)
    with pytest.raises(CommandFailed, match="not set up to run etcd"):
        restore(lab, path, "air-01", force=True)
    assert lab.voters() == ["air-01", "air-02", "air-03"]


def test_only_a_whole_backup_and_a_sensible_wish_is_taken(lab: Lab, tmp_path: Path) -> None:
    path = backups.backup(lab.settings, tmp_path / "monday.db").path
    with pytest.raises(ConfigError, match="give the machines that will run etcd"):
        backups.plan_restore(lab.settings, path, [], force=True)
    with pytest.raises(ConfigError, match=r"more than etcd\.max_members, 5"):
        backups.plan_restore(lab.settings, path, [f"127.0.8.{number}" for number in range(1, 7)], force=True)
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(ConfigError, match="damaged"):
        backups.plan_restore(lab.settings, path, ["air-01"], force=True)
