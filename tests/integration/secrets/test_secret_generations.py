"""Secrets brought from one checkout and another: real sshds, each with an /etc of its own, and a real etcd.

What a checkout lacks is never made anew on machines that have it, and nobody's older set replaces the newest one.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from raised import raises
from secret_cluster import LOGIN, SECRETS, Checkout, cluster_with_secrets
from secret_machines import MACHINES, MARKS

from argosy import inventory
from argosy.cluster.history import read_history
from argosy.cluster.lock import KEY as LOCK
from argosy.cluster.opening import OpenCluster
from argosy.cluster.operator_record import OperatorRecord, Rights
from argosy.errors import ArgosyError, ConfigError, EtcdError, HostsFailed, Refused
from argosy.model import Machine
from argosy.pki import authority
from argosy.secrets import checkout as remembering
from argosy.secrets import fetching, syncing
from argosy.secrets import upload as machine_files
from argosy.secrets.deciding import Effect
from argosy.secrets.generations import KEY, SecretsRecord
from argosy.ssh.host import Host

pytest_plugins = ["etcd_fixtures"]
pytestmark = MARKS

NAMES = tuple(machine.name for machine in MACHINES)


@pytest.fixture(scope="module")
def cluster_of_file(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    with cluster_with_secrets(tmp_path_factory.mktemp("cluster"), programs) as made:
        made.save()
        yield made


@pytest.fixture
def first(cluster_of_file: Checkout) -> Iterator[Checkout]:
    """The checkout that has set up the cluster, with all as it was then."""
    yield cluster_of_file.restored()
    cluster_of_file.lab.start()


@pytest.fixture
def second(first: Checkout, tmp_path: Path) -> Checkout:
    """A clone with all that the first checkout has."""
    return first.copy(tmp_path / "second")


class Killed(BaseException):
    """The operator's process ends here."""


def disks(first: Checkout) -> dict[str, dict[str, tuple[bytes, int]]]:
    """Return the files of each machine, and when they were changed."""
    found = {}
    for name in NAMES:
        folder = first.lab.etc(name) / "air" / "secrets"
        files = [path for path in folder.rglob("*") if path.is_file()]
        found[name] = {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ctime_ns) for path in files}
    return found


def fetched(checkout: Checkout, *, agrees: bool = True) -> fetching.Fetched:
    def agree(changes: object) -> None:
        if not agrees:
            raise Refused(str(changes))

    return fetching.fetch(checkout.settings(), [], checkout.lab.report, agree)


def forget(first: Checkout, *others: Checkout) -> None:
    """Make it a cluster that an older release has set up: without a record, without a key for it."""
    with OpenCluster(first.settings()) as cluster:
        cluster.store.delete(KEY)
    for name in NAMES:
        (first.lab.etc(name) / "air" / "secrets" / "fingerprint.key").unlink()
    for checkout in (first, *others):
        for file in ("generation.json", "fingerprint.key"):
            (checkout.folder / file).unlink(missing_ok=True)


def drop(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return remove


def other_ca(folder: Path) -> None:
    shutil.rmtree(folder / "pki")
    authority.ensure_ca(folder)


LACKS = {
    "password": drop("token"),
    "registry-password": drop("registry.password"),
    "login": drop(LOGIN),
    "certificate": drop("keys/site.pem"),
    "file": drop("machine/own"),
    "generation": drop("generation.json"),
    "fingerprint-key": drop("fingerprint.key"),
    "ca": drop("pki/ca.crt", "pki/ca.key"),
    "ca-key": drop("pki/ca.key"),
    "ca-certificate": drop("pki/ca.crt"),
    "pki": drop("pki"),
    "another-ca": other_ca,
    "machine-certificates": drop("pki/machines"),
    "all": lambda folder: shutil.rmtree(folder),
    "all-but-ca-password-and-key": drop("token", "keys", "machine", "generation.json", "fingerprint.key"),
}


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "of-an-older-release"])
def test_a_clone_that_lacks_a_part_changes_nothing(first: Checkout, tmp_path: Path, recorded: bool) -> None:
    if not recorded:
        forget(first)
    before, entry = disks(first), first.entry()
    wrong = {}
    for part, remove in LACKS.items():
        if not recorded and part in ("generation", "fingerprint-key", "all-but-ca-password-and-key"):
            continue
        clone = first.copy(tmp_path / f"clone-{part}")
        remove(clone.folder)
        try:
            clone.upload()
        except (Refused, ConfigError):
            continue
        except ArgosyError as error:
            wrong[part] = repr(error)
        else:
            wrong[part] = "not refused"
    assert wrong == {}
    assert disks(first) == before
    assert first.entry() == entry
    with OpenCluster(first.settings()) as cluster:
        assert cluster.store.get(LOCK) is None


def test_even_one_who_agrees_to_all_makes_nothing_anew(first: Checkout, second: Checkout) -> None:
    second.agrees = True
    before = disks(first)
    for part in ("password", "registry-password", "ca", "machine-certificates"):
        shutil.rmtree(second.folder)
        shutil.copytree(first.folder, second.folder)
        LACKS[part](second.folder)
        with raises(Refused, "inv secrets.fetch"):
            second.upload()
    assert disks(first) == before


def test_the_first_upload_is_recorded_and_the_same_again_changes_nothing(first: Checkout, second: Checkout) -> None:
    record = first.record()
    assert record.intended is None
    assert record.present is not None
    assert record.present.number == 1
    assert record.present.folder == str(first.folder)
    assert {"token", "ca.crt", "keys/site.pem", "air-03:etcd-server.key"} < set(record.present.files)
    before, entry = disks(first), first.entry()
    for checkout in (first, second):
        assert checkout.upload().changes == {name: [] for name in NAMES}
    assert disks(first) == before
    assert first.entry() == entry


def test_the_record_tells_nothing_that_passwords_could_be_tried_against(first: Checkout) -> None:
    entry = first.entry()
    assert entry is not None
    for path in first.folder.rglob("*"):
        if path.is_file() and path.name != "generation.json":
            assert sha256(path.read_bytes()).hexdigest()[:16] not in entry.value
    assert (first.folder / "fingerprint.key").read_text() not in entry.value


def test_what_is_changed_is_asked_for_and_an_older_checkout_is_refused_until_it_fetches(
    first: Checkout, second: Checkout
) -> None:
    (first.folder / "token").write_text("new")
    (first.folder / "keys" / "site.pem").unlink()
    before = disks(first)
    with raises(Refused, "token", "keys/site.pem"):
        first.upload()
    assert disks(first) == before
    first.agrees = True
    assert first.upload().generation == 2
    assert [(each.effect, each.name, each.machines) for each in first.asked] == [
        (Effect.REMOVES, "keys/site.pem", NAMES),
        (Effect.REPLACES, "token", NAMES),
    ]
    before = disks(first)
    second.agrees = True
    with raises(Refused, "generation 2", "inv secrets.fetch"):
        second.upload()
    assert disks(first) == before
    with pytest.raises(Refused):
        fetched(second, agrees=False)
    assert (second.folder / "token").read_text() != "new"
    done = fetched(second)
    assert (done.generation, done.lacking) == (2, ())
    assert (second.folder / "token").read_text() == "new"
    assert not (second.folder / "keys" / "site.pem").exists()
    assert second.upload().changes == {name: [] for name in NAMES}
    assert disks(first) == before
    (second.folder / "token").write_text("newer")
    assert second.upload().generation == 3
    with raises(Refused, "generation 3"):
        first.upload()
    with OpenCluster(first.settings()) as cluster:
        assert [entry.outcome for entry in read_history(cluster.store)] == ["done"] * 2


def test_a_checkout_with_nothing_fetches_all_but_the_cas_key(first: Checkout, tmp_path: Path) -> None:
    new = Checkout(first.lab, tmp_path / "new", first.client_port)
    done = fetched(new)
    assert [line for line in done.lacking if "ca.key" not in line] == []
    assert str(first.folder) in done.lacking[0]
    files = {str(path.relative_to(new.folder)) for path in new.folder.rglob("*") if path.is_file()}
    assert {"token", "keys/site.pem", "machine/own", "registry.password", "fingerprint.key", LOGIN} < files
    assert (new.folder / LOGIN).read_bytes() == b"of another registry"
    secret = [path for path in new.folder.rglob("*") if path.is_file() and path.suffix != ".crt"]
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    with raises(ConfigError, path=str(new.folder / "pki" / "ca.key")):
        new.upload()
    shutil.copy(first.folder / "pki" / "ca.key", new.folder / "pki" / "ca.key")
    before = disks(first)
    assert new.upload().changes == {name: [] for name in NAMES}
    assert disks(first) == before
    assert fetched(new, agrees=False).changes == ()


@pytest.fixture
def written(first: Checkout) -> Iterator[Callable[[str, object], None]]:
    """Puts a record into etcd for as long as the test lasts."""
    with OpenCluster(first.settings()) as cluster:
        keys: list[str] = []

        def write(key: str, value: object) -> None:
            keys.append(key)
            cluster.store.put(key, json.dumps(value))

        yield write
        for key in keys:
            cluster.store.delete(key)


def test_a_machine_is_remembered_with_the_os_that_etcd_tells(
    first: Checkout, written: Callable[[str, object], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machines of the tests are on loopback.
    monkeypatch.setattr(inventory, "check_address", lambda word: word)
    machine = MACHINES[0]
    written(f"/machines/{machine.name}", {"address": machine.address, "os": "flatcar"})
    settings = Checkout(first.lab, tmp_path / "new", first.client_port).settings()
    (settings.state_path / "machines.json").unlink()
    fetching.fetch(settings, [machine.address], first.lab.report, lambda _: None)
    assert inventory.load(settings) == [Machine(machine.name, machine.address, "flatcar")]


def test_an_operator_who_was_removed_fetches_nothing(second: Checkout, written: Callable[[str, object], None]) -> None:
    (second.folder / "pki" / authority.OPERATOR_NAME).write_text("ann")
    record = OperatorRecord(
        rights=Rights.FULL,
        certificate=authority.operator_fingerprint(authority.operator_path(second.folder)),
        ssh_key="ssh-ed25519 AAAAann air-test-ann",
        ssh_fingerprint="SHA256:ann",
        added=datetime(2026, 1, 31, tzinfo=UTC),
        by="founder@desk",
    )
    written("/cluster/operators/ann", record.to_json())
    assert fetched(second).changes == ()
    written("/cluster/operators/ann", record.revoked(record.added, "founder@desk", ()).to_json())
    with raises(Refused, "operator ann was removed"):
        fetched(second)


@pytest.mark.parametrize("arrived", [True, False])
def test_what_a_lost_checkout_has_begun_is_taken_over(
    first: Checkout, second: Checkout, arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (first.folder / "token").read_bytes()
    (first.folder / "token").write_text("new")
    first.agrees = second.agrees = True
    bring = machine_files.bring

    def break_off(host: Host, *arguments: object) -> object:
        if arrived and host.name == "air-02":
            return bring(host, *arguments)  # type: ignore[arg-type]
        raise EtcdError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(machine_files, "bring", break_off)
        with pytest.raises(HostsFailed):
            first.upload()
    with raises(Refused, "has begun and not ended", str(first.folder)):
        second.upload()
    fetched(second)
    assert (second.folder / "token").read_bytes() == (b"new" if arrived else old)
    second.upload()
    assert {first.lab.held(name)["token"] for name in NAMES} == {b"new" if arrived else old}
    record = second.record()
    assert record.intended is None
    assert record.present is not None
    assert record.present.number == (2 if arrived else 1)


class Effects:
    """What an upload does outside of its own memory, counted; number `kill` does not happen, and it ends there."""

    def __init__(self, patch: pytest.MonkeyPatch, kill: int) -> None:
        self.kill, self.count, self.lock = kill, 0, threading.Lock()
        for module, name in ((remembering, "remember"), (machine_files, "bring"), (syncing.Recorder, "_put")):
            patch.setattr(module, name, self._counted(getattr(module, name), in_thread=name == "bring"))

    def _counted(self, function: Callable[..., object], *, in_thread: bool) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            with self.lock:
                self.count += 1
                killed = self.count >= self.kill
            if killed:
                # A thread of a killed process ends, too; here it has to say so.
                raise EtcdError("killed") if in_thread else Killed
            return function(*arguments)

        return counted


def test_killed_between_any_two_steps_the_same_again_ends_it(first: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    first.agrees = True
    kill, whole = 0, False
    while not whole:
        kill += 1
        (first.folder / "token").write_text(f"value {kill}")
        with monkeypatch.context() as patch:
            effects = Effects(patch, kill)
            with suppress(Killed, HostsFailed):
                first.upload()
            whole = effects.count < kill
        first.upload()
        assert {first.lab.held(name)["token"] for name in NAMES} == {f"value {kill}".encode()}
        record, remembered = first.record(), remembering.remembered(first.settings())
        assert record.intended is None
        assert remembered is not None
        assert remembered.record == record
    assert kill > 6


def test_of_two_operators_at_once_one_brings_its_set_whole(first: Checkout, second: Checkout) -> None:
    outcomes: dict[str, object] = {}

    def operate(name: str, checkout: Checkout) -> None:
        checkout.agrees = True
        (checkout.folder / "token").write_text(name)
        try:
            outcomes[name] = checkout.upload().generation
        except ArgosyError as error:
            outcomes[name] = error

    threads = [threading.Thread(target=operate, args=pair) for pair in (("first", first), ("second", second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [name for name, outcome in outcomes.items() if outcome == 2]
    (refused,) = [outcome for outcome in outcomes.values() if outcome != 2]
    assert isinstance(refused, Refused)
    assert {first.lab.held(name)["token"] for name in NAMES} == {winner.encode()}
    assert first.record().intended is None


class TestAClusterOfAnOlderRelease:
    def test_is_adopted_by_whoever_has_what_the_machines_have(self, first: Checkout) -> None:
        forget(first)
        uploaded = first.upload()
        assert [(str(each.effect), each.name) for each in uploaded.seen.decision.differences] == [
            ("adds", "fingerprint.key")
        ]
        assert uploaded.generation == 1
        assert first.record().present is not None

    def test_what_would_be_replaced_is_refused_and_fetched(self, first: Checkout) -> None:
        forget(first)
        first.agrees = True
        old = (first.folder / "token").read_bytes()
        (first.folder / "token").write_text("changed")
        before = disks(first)
        with raises(Refused, "token on air-01, air-02, air-03", "inv secrets.fetch"):
            first.upload()
        assert disks(first) == before
        fetched(first)
        assert (first.folder / "token").read_bytes() == old
        assert first.upload().generation == 1

    def test_machines_that_differ_are_nobodys_to_choose_from(self, first: Checkout) -> None:
        forget(first)
        (first.lab.etc("air-02") / "air" / "secrets" / "token").write_text("other")
        with raises(Refused, "token on air-02"):
            first.upload()
        with raises(Refused, "air-01 and air-02 hold different token"):
            fetched(first)

    def test_a_machine_that_can_not_be_asked_does_not_count_as_empty(self, first: Checkout) -> None:
        forget(first)
        for name in NAMES[:2]:
            shutil.rmtree(first.lab.etc(name) / "air" / "secrets")
        first.lab.servers[2].stop()
        with raises(Refused, "air-03 can't be asked"):
            first.upload(MACHINES[:2])
        assert not (first.lab.etc("air-01") / "air" / "secrets").exists()


def test_a_file_of_unknown_origin_stays(first: Checkout) -> None:
    first.agrees = True
    path = first.lab.etc("air-02") / "air" / "secrets" / "stray"
    path.write_text("whose?")
    with raises(Refused, "stray on air-02"):
        first.upload()
    assert path.exists()
    path.unlink()
    assert first.upload().generation == 1


def test_a_new_machine_gets_nothing_from_an_older_checkout(first: Checkout, second: Checkout) -> None:
    first.agrees = True
    (first.folder / "token").write_text("new")
    first.upload()
    shutil.rmtree(first.lab.etc("air-03") / "air" / "secrets")
    with raises(Refused, "older"):
        second.upload(MACHINES[2:])
    assert not (first.lab.etc("air-03") / "air" / "secrets").exists()
    first.upload(MACHINES[2:])
    assert first.lab.held("air-03")["token"] == b"new"


def test_no_machine_is_added_by_a_checkout_that_may_not_bring_it_secrets(first: Checkout, second: Checkout) -> None:
    first.agrees = True
    (first.folder / "token").write_text("new")
    first.upload()
    with OpenCluster(second.settings()) as cluster, raises(Refused, "older"):
        syncing.check(cluster, among=MACHINES)
    with OpenCluster(first.settings()) as cluster:
        syncing.check(cluster, among=MACHINES)


def test_a_machine_that_was_left_out_holds_what_is_known(first: Checkout) -> None:
    first.agrees = True
    for value in ("two", "three"):
        (first.folder / "token").write_text(value)
        first.upload(MACHINES[:1])
    first.upload()
    assert {first.lab.held(name)["token"] for name in NAMES} == {b"three"}


def test_without_etcd_nothing_is_taken_from_machines_and_what_they_lack_is_brought(
    first: Checkout,
) -> None:
    first.agrees = True
    first.client_port = 1
    (first.lab.etc("air-02") / "air" / "secrets" / "token").unlink()
    changes = first.upload().changes
    assert [str(change) for change in changes["air-02"]] == ["write token"]
    (first.folder / "token").write_text("new")
    with raises(Refused, "etcd does not answer"):
        first.upload()
    assert b"new" not in {first.lab.held(name)["token"] for name in NAMES}


def test_what_may_be_made_is_made_while_nobody_has_it(first: Checkout) -> None:
    more = {**SECRETS, "more": {"generate_bytes": 8}}
    assert first.upload(secrets=more).generation == 2
    assert {first.lab.held(name)["more"] for name in NAMES} == {(first.folder / "more").read_bytes()}


def test_a_machine_with_another_set_than_was_looked_at_is_left_alone(
    first: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.agrees = True
    (first.folder / "token").write_text("new")
    bring = machine_files.bring

    def late(host: Host, *arguments: object) -> object:
        if host.name == "air-03":
            host.run("echo somebody >/etc/air/secrets/token", sudo=True)
        return bring(host, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(machine_files, "bring", late)
    with pytest.raises(HostsFailed) as caught:
        first.upload()
    assert set(caught.value.failures) == {"air-03"}
    assert first.lab.held("air-03")["token"] == b"somebody\n"


def test_the_record_of_another_tool_is_told(first: Checkout) -> None:
    with OpenCluster(first.settings()) as cluster:
        cluster.store.put(KEY, '{"id": 1}')
    with raises(Refused, KEY):
        first.upload()
    with pytest.raises(ValueError, match="not the record"):
        SecretsRecord.parse('{"id": 1}')
