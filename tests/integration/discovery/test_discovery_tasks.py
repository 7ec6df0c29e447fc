"""The tasks of `discovery` against a real etcd: what they print, write, refuse, and do when somebody is faster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tenacity
from etcd_cluster import EtcdCluster
from invoke.program import Program

from argosy import etcd, inventory
from argosy.cluster.opening import OpenCluster
from argosy.discovery import keys, observing
from argosy.discovery.changes import KeyChange, Registration
from argosy.discovery.differences import ServiceChange
from argosy.errors import EtcdError, Refused, StalePlan
from argosy.etcd import Entry, Etcd
from argosy.fanout import fan_out
from argosy.tasks import root_collection

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

Answer = tuple[int, list[str], str]
"""Exit code, lines of stdout, stderr."""
TASKS = "from argosy.tasks import root_collection\n\nnamespace = root_collection()\n"


class Operator:
    """Runs tasks as `inv` does, in a project whose cluster is the test's own."""

    def __init__(self, cluster: EtcdCluster, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster, self.capsys = cluster, capsys
        self.settings = cluster.settings()

    def inv(self, *words: str) -> Answer:
        namespace = root_collection()
        section = {"client_port": self.cluster.client_port, "timeout_seconds": self.cluster.timeout_seconds}
        namespace.configure({"cluster": "test", "clusters": {"test": {"etcd": section}}})
        self.capsys.readouterr()
        try:
            Program(namespace=namespace).run(["inv", *words])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = self.capsys.readouterr()
        return code, shown.out.splitlines(), shown.err

    def json(self, *words: str) -> Any:
        code, lines, error = self.inv(*words, "--json")
        assert code == 0, error
        return json.loads("\n".join(lines))

    def refused(self, code: int, *words: str) -> str:
        """Run a task that must end with `code`, one line, and no change; return the line."""
        with etcd.connect(self.settings, self.cluster.machines) as store:
            before = store.get_prefix("/").entries
            told, lines, error = self.inv(*words)
            assert (told, lines) == (code, []), error
            assert error.count("\n") == 1, error
            assert store.get_prefix("/").entries == before
        return error.strip()


@pytest.fixture(scope="module")
def cluster_size() -> int:
    return 3


@pytest.fixture(scope="module")
def cluster(cluster: EtcdCluster) -> EtcdCluster:
    """The shared etcd, whose machines the project knows."""
    inventory.save(cluster.settings(), cluster.machines)
    return cluster


@pytest.fixture
def operator(
    cluster: EtcdCluster, store: Etcd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    monkeypatch.chdir(cluster.folder)
    return Operator(cluster, capsys)


def put(store: Etcd, **values: str) -> None:
    """Put `/services/NAME/ATTRIBUTE` for each NAME__ATTRIBUTE."""
    for name, value in values.items():
        store.put(f"/services/{name.replace('__', '/')}", value)


def machine(store: Etcd, name: str, state: str = "active") -> None:
    store.put(f"/machines/{name}", json.dumps({"address": "10.0.0.1", "role": "member", "state": state}))


@contextmanager
def routers(cluster: EtcdCluster, *names: str) -> Iterator[None]:
    """Have routers that apply everything at once, as far as etcd can tell."""
    stopped = threading.Event()

    def follow(client: Etcd) -> None:
        at = client.health()
        while not stopped.wait(0.02):
            entries = [entry for prefix in ("/services/", "/machines/") for entry in client.get_prefix(prefix).entries]
            newest = max([at, *(entry.mod_revision for entry in entries)])
            # A deletion leaves no key: whoever has listed after it has applied it.
            newest = max(newest, client.health()) if newest == at else newest
            for name in names if newest > at else ():
                client.put(f"/routers/{name}", str(newest))
            at = max(newest, at)

    with etcd.connect(cluster.settings(), cluster.machines) as client:
        for name in names:
            client.put(f"/routers/{name}", "1")
        thread = threading.Thread(target=follow, args=(client,))
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            for name in names:
                client.delete(f"/routers/{name}")


def values(store: Etcd, prefix: str = "/services/") -> dict[str, str]:
    return {entry.key.removeprefix("/services/"): entry.value for entry in store.get_prefix(prefix).entries}


class TestRegister:
    WORDS = ("discovery.register", "db", "10.0.0.9:5432", "--scheme", "tcp", "--host-port", "5432", "--weight", "7")

    def test_everything_is_written_at_one_revision_and_without_a_lease(self, operator: Operator, store: Etcd) -> None:
        code, lines, error = operator.inv(*self.WORDS, "--id", "main", "--check", "none")
        entries = store.get_prefix("/services/db/").entries
        assert (code, error) == (0, "")
        assert lines == [f"db: registered at revision {entries[0].mod_revision}"]
        assert len({entry.mod_revision for entry in entries}) == 1
        assert {entry.lease for entry in entries} == {0}
        assert values(store) == {
            "db/check": "none",
            "db/host_port": "5432",
            "db/hosts/main": "10.0.0.9:5432",
            "db/scheme": "tcp",
            "db/weight/main": "7",
        }

    def test_a_second_time_changes_nothing(self, operator: Operator, store: Etcd) -> None:
        operator.inv(*self.WORDS)
        revision = store.health()
        assert operator.inv(*self.WORDS) == (0, ["db: already so"], "")
        assert store.health() == revision

    def test_a_dry_run_prints_what_would_be_written(self, operator: Operator, store: Etcd) -> None:
        code, lines, _ = operator.inv(*self.WORDS, "--dry-run")
        assert code == 0
        assert "/services/db/hosts/10.0.0.9:5432: set to 10.0.0.9:5432" in lines
        assert values(store) == {}
        operator.inv(*self.WORDS)
        assert operator.inv(*self.WORDS, "--dry-run")[1] == ["nothing to do"]

    def test_a_service_that_is_not_routed_is_told(self, operator: Operator) -> None:
        code, _, error = operator.inv("discovery.register", "web", "10.0.0.9:80")
        assert code == 0
        assert "/services/web/scheme: not set, so the service is not routed" in error

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            (("Web", "10.0.0.1:80"), "Web: not a service's name"),
            (("web", "host:80"), "endpoint: 'host' is no IP address"),
            (("web", "10.0.0.1:80", "--weight", "heavy"), "--weight: 'heavy' is no weight from 0 to 256"),
            (("web", "10.0.0.1:80", "--id", "air-01:x"), "--id: air-01:x has the form MACHINE:CONTAINER"),
        ],
    )
    def test_bad_words_are_one_line_and_10(self, operator: Operator, words: tuple[str, ...], line: str) -> None:
        assert operator.refused(10, "discovery.register", *words).startswith(line)

    def test_a_port_that_another_service_has_is_refused_with_its_name(self, operator: Operator, store: Etcd) -> None:
        operator.inv(*self.WORDS)
        line = operator.refused(11, "discovery.register", "other", *self.WORDS[2:])
        assert line.startswith("/services/other/host_port: 5432 belongs to db")

    def test_a_tls_name_that_another_service_has_is_refused(self, operator: Operator) -> None:
        words = ("10.0.0.1:443", "--scheme", "tcp", "--sni", "a.example,b.example")
        assert operator.inv("discovery.register", "one", *words)[0] == 0
        assert "a.example belongs to one" in operator.refused(11, "discovery.register", "two", *words)

    def test_a_port_of_the_routers_own_is_refused(self, operator: Operator) -> None:
        words = ("10.0.0.1:80", "--scheme", "tcp", "--host-port", "80")
        assert "80 is the routers' own" in operator.refused(11, "discovery.register", "web", *words)

    def test_an_endpoint_that_leads_back_to_a_router_is_refused(self, operator: Operator, store: Etcd) -> None:
        machine(store, "air-01")
        words = ("web", "10.0.0.1:80", "--scheme", "http")
        assert "10.0.0.1:80 is a router's own" in operator.refused(11, "discovery.register", *words)

    def test_of_many_who_claim_one_port_at_once_one_has_it(self, operator: Operator, cluster: EtcdCluster) -> None:
        with etcd.connect(cluster.settings(), cluster.machines) as shared:

            def claim(number: int) -> str:
                wanted = Registration(f"s{number}", "10.0.0.1:7", scheme="tcp", host_port="7")
                return str(keys.register(operator.settings, shared, wanted).revision)

            outcomes = fan_out({str(number): number for number in range(6)}, claim, max_parallel=6)
            won = [name for name, outcome in outcomes.items() if outcome.ok]
            lost = [outcome.error for outcome in outcomes.values() if not outcome.ok]
            assert len(won) == 1
            assert all(isinstance(error, Refused) for error in lost), lost
            assert [entry.value for entry in shared.get_prefix("/services/").entries if "host_port" in entry.key] == [
                "7"
            ]

    def test_two_operators_who_register_the_same_agree(self, operator: Operator, cluster: EtcdCluster) -> None:
        with etcd.connect(cluster.settings(), cluster.machines) as shared:
            wanted = Registration("web", "10.0.0.1:7", scheme="http")
            outcomes = fan_out(
                dict.fromkeys("ab", wanted),
                lambda fromkey: keys.register(operator.settings, shared, fromkey),
                max_parallel=2,
            )
            assert [outcome.ok for outcome in outcomes.values()] == [True, True]
            assert sorted(bool(outcome.get().revision) for outcome in outcomes.values()) == [False, True]


def test_a_change_that_others_are_always_faster_than_gives_up(store: Etcd) -> None:
    def plan(_: Sequence[Entry]) -> KeyChange:
        store.put("/services/web/scheme", "http")
        return KeyChange({"/services/web/scheme": "tcp"})

    with pytest.raises(StalePlan, match="others change /services/ all the time"):
        keys.change(store, "/services/", plan)
    assert values(store) == {"web/scheme": "http"}


class TestDeregister:
    def test_an_instance_goes_and_the_service_stays(self, operator: Operator, store: Etcd) -> None:
        put(store, web__scheme="http", web__hosts__a="10.0.0.1:80", web__weight__a="5", web__hosts__b="10.0.0.2:80")
        code, lines, _ = operator.inv("discovery.deregister", "web", "a")
        assert code == 0
        assert lines == [f"web: deregistered at revision {store.health()}, 2 keys"]
        assert values(store) == {"web/hosts/b": "10.0.0.2:80", "web/scheme": "http"}
        code, lines, error = operator.inv("discovery.deregister", "web", "a")
        assert (code, lines) == (0, ["web: already so"])
        assert "web has no instance a" in error

    def test_a_whole_service_goes_only_when_somebody_says_yes(self, operator: Operator, store: Etcd) -> None:
        put(store, web__scheme="http", web__hosts__a="10.0.0.1:80", web2__scheme="http")
        assert "Delete service web, all 2 keys" in operator.refused(11, "discovery.deregister", "web")
        assert operator.inv("discovery.deregister", "web", "--dry-run")[1] == [
            "/services/web/hosts/a: delete",
            "/services/web/scheme: delete",
        ]
        assert operator.inv("discovery.deregister", "web", "--yes")[0] == 0
        assert values(store) == {"web2/scheme": "http"}
        code, lines, error = operator.inv("discovery.deregister", "web")
        assert (code, lines) == (0, ["web: already so"])
        assert "there is no service web (did you mean 'web2'?)" in error

    def test_what_an_agent_registered_is_refused_unless_forced(self, operator: Operator, store: Etcd) -> None:
        store.put("/services/web/hosts/air-01:air-web", "10.0.0.1:80")
        for words in (("web", "air-01:air-web"), ("web", "--yes")):
            line = operator.refused(11, "discovery.deregister", *words)
            assert "the agent of air-01 registers it" in line
            assert "inv discovery.drain web/air-01:air-web" in line
        assert operator.inv("discovery.deregister", "web", "air-01:air-web", "--force")[0] == 0
        assert values(store) == {}


class TestDrain:
    def test_an_instance_is_drained_when_every_live_router_says_so(
        self, operator: Operator, store: Etcd, cluster: EtcdCluster
    ) -> None:
        put(store, web__scheme="http", web__hosts__a="10.0.0.1:80")
        machine(store, "air-01")
        machine(store, "air-03")
        machine(store, "air-04", "down")
        with routers(cluster, "air-01", "balancer"):
            code, lines, error = operator.inv("discovery.drain", "web/a")
            assert (code, error) == (0, "cluster      its etcd tells of air-04, not known here so far\n")
            assert lines[0].startswith("web/a: draining, applied by air-01, balancer after ")
            assert lines[1].startswith("web/a: draining, not reported by air-03: no agent is there")
            assert values(store)["web/drain/a"] == "true"
            revision = store.get("/services/web/drain/a")
            assert operator.inv("discovery.drain", "web/a")[1][0].startswith("web/a: already draining, applied by")
            assert store.get("/services/web/drain/a") == revision
            assert operator.inv("discovery.undrain", "web/a")[0] == 0
            assert operator.inv("discovery.undrain", "web/a")[1][0].startswith("web/a: already takes connections")
            assert "web/drain/a" not in values(store)

    def test_a_machine_s_state_is_changed_and_what_else_it_says_is_kept(
        self, operator: Operator, store: Etcd, cluster: EtcdCluster
    ) -> None:
        machine(store, "air-01")
        with routers(cluster, "air-01"):
            assert operator.inv("discovery.drain", "air-01")[0] == 0
            entry = store.get("/machines/air-01")
            assert entry is not None
            assert json.loads(entry.value) == {"address": "10.0.0.1", "role": "member", "state": "draining"}
            assert operator.inv("discovery.drain", "air-01")[1][0].startswith("air-01: already draining")
            assert operator.inv("discovery.undrain", "air-01")[0] == 0
            assert '"state": "active"' in getattr(store.get("/machines/air-01"), "value", "")

    def test_a_machine_is_drained_when_its_agent_has_deregistered_its_instances(
        self, operator: Operator, store: Etcd, cluster: EtcdCluster
    ) -> None:
        machine(store, "air-01")
        machine(store, "air-02")
        lease = store.grant(30)
        for name in ("air-01", "air-02"):
            store.put(f"/services/web/hosts/{name}:air-web", "10.0.0.1:80", lease)
        store.put("/services/web/hosts/air-01:mine", "10.0.0.1:81")
        gone: list[int] = []

        def deregister(client: Etcd) -> None:
            wait_for(lambda: '"draining"' in getattr(client.get("/machines/air-01"), "value", ""))
            # Long enough that the routers have applied the drain itself.
            threading.Event().wait(0.5)
            client.delete("/services/web/hosts/air-01:air-web")
            gone.append(client.health())

        with etcd.connect(cluster.settings(), cluster.machines) as client, routers(cluster, "air-02"):
            thread = threading.Thread(target=deregister, args=(client,))
            thread.start()
            code, lines, error = operator.inv("discovery.drain", "air-01")
            assert (code, error) == (0, "")
            thread.join()
            told = store.get("/routers/air-02")
            assert told is not None
            assert int(told.value) >= gone[0]
            assert "applied by air-02" in lines[0]
        assert set(values(store)) == {"web/hosts/air-01:mine", "web/hosts/air-02:air-web"}

    def test_an_agent_that_does_not_deregister_is_named(self, operator: Operator, store: Etcd) -> None:
        machine(store, "air-01")
        store.put("/services/web/hosts/air-01:air-web", "10.0.0.1:80", store.grant(30))
        code, lines, error = operator.inv("discovery.drain", "air-01", "--deadline-seconds", "0.3")
        assert (code, lines) == (33, [])
        assert "air-01 drains, but its agent has not yet deregistered /services/web/hosts/air-01:air-web" in error

    def test_a_router_that_does_not_follow_is_named_after_the_deadline(self, operator: Operator, store: Etcd) -> None:
        machine(store, "air-01")
        store.put("/routers/air-01", "1")
        code, lines, error = operator.inv("discovery.drain", "air-01", "--deadline-seconds", "0.3")
        assert (code, lines) == (33, [])
        assert error.startswith("not applied in the time given by the router of air-01 (at 1)")
        assert '"draining"' in getattr(store.get("/machines/air-01"), "value", "")

    def test_a_router_that_dies_is_not_waited_for(self, operator: Operator, store: Etcd) -> None:
        machine(store, "air-01")
        store.put("/routers/air-01", "1", lease=store.grant(1))
        code, lines, error = operator.inv("discovery.drain", "air-01", "--deadline-seconds", "10")
        assert (code, error) == (0, "")
        assert lines[0] == "air-01: draining, no router is live to apply it"

    @pytest.mark.parametrize(
        ("target", "code", "line"),
        [
            ("air-1", 11, "there is no machine air-1 (did you mean 'air-01'?); known: air-01"),
            ("web/c", 11, "there is no instance web/c"),
            ("web/", 10, "web/: neither a machine's name nor SERVICE/ID"),
        ],
    )
    def test_what_is_not_there_is_refused(
        self, operator: Operator, store: Etcd, target: str, code: int, line: str
    ) -> None:
        machine(store, "air-01")
        put(store, web__hosts__a="10.0.0.1:80")
        assert operator.refused(code, "discovery.drain", target).startswith(line)

    def test_a_dry_run_changes_nothing(self, operator: Operator, store: Etcd) -> None:
        machine(store, "air-01")
        code, (line,), _ = operator.inv("discovery.drain", "air-01", "--dry-run")
        assert code == 0
        assert line.startswith("/machines/air-01: set to ")
        assert '"active"' in getattr(store.get("/machines/air-01"), "value", "")

    def test_others_may_write_the_record_meanwhile(self, operator: Operator, store: Etcd, cluster: EtcdCluster) -> None:
        machine(store, "air-01")
        # The installer records a release while the operator drains: neither loses what the other wrote.
        stopped = threading.Event()

        def record(client: Etcd) -> None:
            number = 0
            while not stopped.wait(0.01):
                entry = client.get("/machines/air-01")
                assert entry is not None
                number += 1
                value = json.dumps({**json.loads(entry.value), "release": str(number)})
                client.transact([etcd.unchanged(entry)], [etcd.Put(entry.key, value)])

        with etcd.connect(cluster.settings(), cluster.machines) as client:
            thread = threading.Thread(target=record, args=(client,))
            thread.start()
            try:
                assert operator.inv("discovery.drain", "air-01")[0] == 0
            finally:
                stopped.set()
                thread.join()
        found = json.loads(getattr(store.get("/machines/air-01"), "value", ""))
        assert found["state"] == "draining"
        assert found["address"] == "10.0.0.1"


class TestList:
    def test_services_problems_and_routers_are_shown(self, operator: Operator, store: Etcd) -> None:
        put(store, web__scheme="http", web__hosts__a="10.0.0.1:80", web__host_port="9000")
        put(store, rival__scheme="http", rival__hosts__a="10.0.0.1:81", rival__host_port="9000", odd__scheme="ftp")
        machine(store, "air-01")
        store.put("/routers/air-01", "1000000")
        shown = operator.json("discovery.list")
        assert [service["name"] for service in shown["services"]] == ["odd", "rival", "web"]
        reasons = {problem["key"]: problem["reason"] for problem in shown["problems"]}
        assert "belongs to web" in reasons["/services/rival/host_port"]
        assert "is none of" in reasons["/services/odd/scheme"]
        assert shown["routers"]["air-01"] == {"revision": 1000000, "behind": False, "problems": []}
        code, lines, _ = operator.inv("discovery.list")
        assert code == 0
        text = "\n".join(lines)
        assert "by hand" in text
        assert "up to date" in text
        assert "9000 belongs to web" in text

    def test_one_service_is_chosen_by_name(self, operator: Operator, store: Etcd) -> None:
        put(store, web__scheme="http", db__scheme="tcp")
        assert [service["name"] for service in operator.json("discovery.list", "db")["services"]] == ["db"]
        assert operator.refused(10, "discovery.list", "webb").startswith("webb: no such service (did you mean 'web'?)")

    def test_nothing_at_all_is_shown_without_a_fuss(self, operator: Operator) -> None:
        assert operator.inv("discovery.list") == (0, [], "")

    def test_names_and_values_may_be_any_bytes(self, operator: Operator, store: Etcd) -> None:
        put(store, **{"w\udcff\x1b[2J__scheme": "\udc80", "web__hosts__a\udc81\n": "10.0.0.1:80", "web__scheme": "tcp"})
        code, lines, _ = operator.inv("discovery.list")
        assert code == 0
        assert all(line.isprintable() and line.isascii() for line in lines)
        assert operator.json("discovery.list")


class TestRender:
    def test_the_live_keys_make_a_configuration_that_haproxy_takes(
        self, operator: Operator, store: Etcd, tmp_path: Path
    ) -> None:
        put(store, web__scheme="http", web__hosts__a="10.0.0.1:80", web__weight__a="x", db__scheme="ftp")
        machine(store, "air-01")
        machine(store, "air-02", "draining")
        code, lines, error = operator.inv("discovery.render")
        assert code == 0
        assert any("backend service-web" in line for line in lines)
        assert "/services/web/weight/a: 'x' is no weight" in error
        draining = operator.json("discovery.render", "--machine", "air-02")["files"]["haproxy.cfg"]
        assert draining != operator.json("discovery.render", "--machine", "air-01")["files"]["haproxy.cfg"]
        code, lines, _ = operator.inv("discovery.render", "--out", str(tmp_path / "router"))
        assert code == 0
        assert str(tmp_path / "router" / "haproxy.cfg") in lines
        assert all(Path(line).is_file() for line in lines)

    def test_a_file_of_keys_needs_no_cluster(
        self, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        content = {
            "/services/web/scheme": "http",
            "/services/web/hosts/a": "10.0.0.5:80",
            "/machines/air-01": {"address": "10.0.0.1"},
        }
        (tmp_path / "keys.json").write_text(json.dumps(content))
        code, lines, error = operator.inv("discovery.render", "--file", "keys.json")
        assert (code, error) == (0, "")
        assert any("10.0.0.5:80" in line for line in lines)
        assert "no such machine" in operator.inv("discovery.render", "--file", "keys.json", "--machine", "air-1")[2]

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            ("{", "no JSON"),
            ("[]", "no JSON object"),
            ('{"/other/x": "y"}', "'/other/x' begins with none of /services/"),
            (None, "can't be read: No such file or directory"),
        ],
    )
    def test_a_bad_file_is_one_line(self, operator: Operator, tmp_path: Path, content: str | None, line: str) -> None:
        if content is not None:
            (tmp_path / "keys.json").write_text(content)
        told = operator.refused(10, "discovery.render", "--file", str(tmp_path / "keys.json"))
        assert told.startswith(f"{tmp_path}/keys.json: {line}")

    def test_haproxy_takes_what_is_written(self, operator: Operator, store: Etcd, tmp_path: Path) -> None:
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        if not Path(haproxy).exists():
            pytest.skip("no haproxy: apt-get install haproxy")
        put(store, web__scheme="http", web__hosts__a="10.0.0.1:80", db__scheme="tcp", db__host_port="5432")
        put(store, db__hosts__a="10.0.0.1:5432", tls__scheme="tcp", tls__sni="a.example", tls__hosts__a="10.0.0.1:443")
        folder = tmp_path / "router"
        assert operator.inv("discovery.render", "--out", str(folder))[0] == 0
        config = (folder / "haproxy.cfg").read_text().replace("/var/lib/router", str(folder))
        (folder / "haproxy.cfg").write_text(config.replace("/run/router", str(tmp_path)))
        checked = subprocess.run([haproxy, "-c", "-f", folder / "haproxy.cfg"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


class Seen(Exception):
    """The watch has shown what the test waits for."""


class Watching:
    """A `discovery.watch` in a thread; `lines` are what it has shown."""

    def __init__(self, cluster: EtcdCluster, *names: str) -> None:
        self.lines: list[str] = []
        self.told: list[str] = []
        self._last = "never"
        self._cluster, self._names = cluster, names
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watching:
        self._thread.start()
        wait_for(lambda: bool(self.told))
        return self

    def __exit__(self, *_: object) -> None:
        self._last = "end service-added"
        with etcd.connect(self._cluster.settings(), self._cluster.machines) as store:
            store.put("/services/end/scheme", "http")
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        def tell(_: str, message: str) -> None:
            self.told.append(message)

        settings, machines = self._cluster.settings(), self._cluster.machines
        with OpenCluster(settings, tell, machines=machines) as opened, pytest.raises(Seen):
            observing.follow(opened, self._names, self._show)

    def _show(self, revision: int, change: ServiceChange) -> None:
        assert revision > 0
        self.lines.append(str(change))
        if self.lines[-1] == self._last:
            raise Seen


def wait_for(condition: Callable[[], bool]) -> None:
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(20), reraise=True):
        with attempt:
            assert condition()


class TestWatch:
    def test_each_change_is_shown_once_and_in_order(self, cluster: EtcdCluster, store: Etcd) -> None:
        put(store, web__scheme="http")
        with Watching(cluster) as watch:
            put(store, web__hosts__a="10.0.0.1:80", web__weight__a="5", web__scheme="tcp")
            store.delete("/services/web/", prefix=True)
        assert [line for line in watch.lines if not line.startswith("end") and "problem" not in line] == [
            "web instance-added a 10.0.0.1:80",
            "web weight a 100 -> 5",
            "web scheme http -> tcp",
            "web scheme tcp -> none",
            "web instance-removed a 10.0.0.1:80 -> none",
            "web service-removed",
        ]

    def test_only_the_named_services_are_shown(self, cluster: EtcdCluster, store: Etcd) -> None:
        with Watching(cluster, "web", "end") as watch:
            put(store, db__scheme="http", web__scheme="http")
        assert {line.split()[0] for line in watch.lines} == {"web", "end"}

    def test_it_goes_on_when_members_are_lost_and_when_all_of_etcd_was(self, cluster: EtcdCluster, store: Etcd) -> None:
        with Watching(cluster) as watch:
            put(store, a__scheme="http")
            wait_for(lambda: "a service-added" in watch.lines)
            cluster.kill("air-01")
            put_when_up(store, "/services/b/scheme")
            wait_for(lambda: "b service-added" in watch.lines)
            cluster.kill("air-02", "air-03")
            wait_for(lambda: any("waiting for it" in line for line in watch.told))
            cluster.start()
            cluster.wait_until_healthy()
            wait_for(lambda: any("continuing from revision" in line for line in watch.told))
            put_when_up(store, "/services/c/scheme")
            wait_for(lambda: "c service-added" in watch.lines)
        assert [line for line in watch.lines if "service-added" in line] == [
            f"{name} service-added" for name in ("a", "b", "c", "end")
        ]

    def test_ctrl_c_ends_it(self, cluster: EtcdCluster, store: Etcd) -> None:
        (cluster.folder / "tasks.py").write_text(TASKS)
        section = {"client_port": cluster.client_port, "timeout_seconds": cluster.timeout_seconds}
        (cluster.folder / "invoke.json").write_text(json.dumps({"clusters": {"test": {"etcd": section}}}))
        program = [sys.executable, "-c", "from invoke.main import program; program.run()"]
        process = subprocess.Popen(
            [*program, "discovery.watch", "--json"],
            cwd=cluster.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "INVOKE_CLUSTER": "test"},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert "watching 0 services" in process.stderr.readline()
        store.put("/services/web/scheme", "http")
        assert json.loads(process.stdout.readline())["what"] == "service-added"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
        assert process.returncode == 130, error
        assert "Traceback" not in error


def put_when_up(store: Etcd, key: str) -> None:
    """Put `key` as soon as etcd has a leader again."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(EtcdError),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(20),
        reraise=True,
    ):
        with attempt:
            store.put(key, "http")


def test_without_etcd_each_task_ends_with_one_line(
    operator: Operator, cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "client_port", 1)
    for words in (("discovery.list",), ("discovery.register", "web", "10.0.0.1:80"), ("discovery.drain", "web/a")):
        code, lines, error = operator.inv(*words)
        assert (code, lines, error.count("\n")) == (50, [], 1), error
        assert "etcd of cluster test does not answer" in error
