"""The small parts of the agent, each by itself."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from argosy.agent import run
from argosy.agent.configuration import Configuration
from argosy.agent.journal import Trouble
from argosy.agent.mirror import Batch
from argosy.agent.options import Options, Tunables
from argosy.agent.plans import Local, Plans
from argosy.agent.publication import Publication
from argosy.errors import EtcdError
from argosy.etcd.values import Entry
from argosy.routing import IN_SERVICE
from argosy.schema import SSL_SUPPORT, Problem, machine_key


class TestTrouble:
    def test_it_is_told_when_it_begins_changes_and_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        trouble = Trouble(logging.getLogger("x"), "over", starting="not yet")
        assert trouble.reason == "not yet"
        for reason in ("", "", "a", "a", "b", "", "", "b"):
            trouble.set(reason)
        assert [it.message for it in caplog.records] == ["a", "b", "over", "b"]

    def test_what_held_from_the_start_is_told_when_it_is_so(self, caplog: pytest.LogCaptureFixture) -> None:
        trouble = Trouble(logging.getLogger("x"), "over", starting="not yet")
        trouble.set("not yet")
        assert [it.message for it in caplog.records] == ["not yet"]


class TestThreads:
    def test_one_that_fails_ends_the_process(self) -> None:
        program = """if True:
            import threading
            from argosy.agent import journal, run
            journal.start()
            threading.excepthook = run._end_with
            threading.Thread(target=lambda: [][1], name="router").start()
            threading.Event().wait(20)
        """
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == run.EXIT_FAILED
        assert "thread router failed" in done.stderr
        assert "IndexError" in done.stderr


class TestConfiguration:
    FILES: ClassVar = {
        "haproxy.cfg": "global\n    description structure=one\n    bind :80\n",
        "maps/hosts-one.map": "a b\n",
    }

    def make(self, folder: Path, verdict: str = "") -> tuple[Configuration, list[str]]:
        checked: list[str] = []

        def check(path: Path) -> str:
            checked.append(path.read_text())
            return verdict

        return Configuration(folder, check), checked

    def test_it_is_checked_before_it_is_put_in_place_and_maps_are_there_first(self, tmp_path: Path) -> None:
        made, checked = self.make(tmp_path)
        assert made.text == made.structure == ""
        assert made.put(self.FILES) == ""
        assert checked == [self.FILES["haproxy.cfg"]]
        assert (made.structure, made.ports) == ("one", frozenset({80}))
        assert (tmp_path / "maps/hosts-one.map").read_text() == "a b\n"
        assert sorted(it.name for it in tmp_path.iterdir()) == ["haproxy.cfg", "maps"]

    def test_the_same_again_is_neither_checked_nor_written(self, tmp_path: Path) -> None:
        made, checked = self.make(tmp_path)
        made.put(self.FILES)
        before = (tmp_path / "haproxy.cfg").stat().st_mtime_ns
        made.put(self.FILES)
        assert (len(checked), (tmp_path / "haproxy.cfg").stat().st_mtime_ns) == (1, before)

    def test_what_is_refused_leaves_no_trace(self, tmp_path: Path) -> None:
        self.make(tmp_path)[0].put(self.FILES)
        made, _ = self.make(tmp_path, "no")
        assert made.put({"haproxy.cfg": "structure=two\n", "maps/hosts-two.map": ""}) == "no"
        assert made.text == self.FILES["haproxy.cfg"]
        assert [it.name for it in (tmp_path / "maps").iterdir()] == ["hosts-one.map"]

    def test_the_one_before_can_be_put_back_as_its_maps_are_there_still(self, tmp_path: Path) -> None:
        made, _ = self.make(tmp_path)
        made.put(self.FILES)
        made.put({"haproxy.cfg": "other\n", "maps/hosts-two.map": ""})
        made.restore()
        assert made.structure == "one"
        made.tidy("one")
        assert [it.name for it in (tmp_path / "maps").iterdir()] == ["hosts-one.map"]


class FakeEtcd:
    """Remembers what was written; refuses while `down`."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, int]] = []
        self.down = False

    def put(self, key: str, value: str, lease: int = 0) -> int:
        if self.down:
            raise EtcdError("down")
        self.written.append((key, value, lease))
        return 1

    def delete(self, key: str, *, prefix: bool = False) -> int:
        self.written.append((key, "", 0))
        return 1


class FakeLease:
    def __init__(self) -> None:
        self.held = 7
        self.subscribers: list[Callable[[int], None]] = []

    def id(self) -> int:
        return self.held

    def subscribe(self, callback: Callable[[int], None]) -> None:
        self.subscribers.append(callback)


class TestPublication:
    KEY, PROBLEMS = "/routers/air-01", "/routers/air-01/problems"

    def make(self) -> tuple[Publication, FakeEtcd, FakeLease]:
        store, lease = FakeEtcd(), FakeLease()
        return Publication(store, lease, "air-01"), store, lease

    def test_only_what_is_new_is_put_and_problems_come_first(self) -> None:
        made, store, _ = self.make()
        made.publish()
        made.say(5, [])
        made.publish()
        made.publish()
        made.say(6, [Problem("web", "/services/web/host_port", "taken")])
        made.publish()
        told = '[{"service": "web", "key": "/services/web/host_port", "reason": "taken"}]'
        assert store.written == [
            (self.PROBLEMS, "", 0),
            (self.KEY, "5", 7),
            (self.PROBLEMS, told, 7),
            (self.KEY, "6", 7),
        ]
        assert made.said == 6

    def test_a_new_lease_is_a_reason_to_say_it_again(self) -> None:
        made, store, lease = self.make()
        made.say(5, [])
        made.publish()
        lease.held = 8
        made.publish()
        assert store.written[-1] == (self.KEY, "5", 8)

    def test_what_etcd_refused_is_said_later_and_only_the_newest(self) -> None:
        made, store, lease = self.make()
        made.start()
        lease.subscribers[0](7)
        store.down = True
        made.say(5, [])
        made.say(6, [])
        store.down = False
        made.say(9, [])
        ended = threading.Event()
        while made.said != 9:
            ended.wait(0.01)
        made.stop()
        assert store.written[-1] == (self.KEY, "9", 7)


class FakeMirror:
    """The keys that a test sets, told as the real one tells them."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.tell: Callable[[Batch], None] = lambda _: None

    def subscribe(self, callback: Callable[[Batch], None]) -> None:
        self.tell = callback

    def current(self, keys: Iterable[str]) -> tuple[list[Entry], list[str]]:
        wanted = list(keys)
        found = [self.entries[key] for key in wanted if key in self.entries]
        return found, [key for key in wanted if key not in self.entries]

    def put(self, values: Mapping[str, str | None], full: bool = False) -> None:
        self.revision += 1
        for key, value in values.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = Entry(key, value, self.revision, self.revision)
        self.tell(Batch(self.revision, frozenset(values), full))


class TestPlans:
    def make(self, **tunables: object) -> tuple[Plans, FakeMirror, list[str]]:
        options = Options("air", "c", "air-01", "10.0.0.1", (), Tunables(**tunables))  # type: ignore[arg-type]
        plans, mirror, woken = Plans(options), FakeMirror(), []
        plans.follow(mirror, lambda: woken.append("woken"))
        return plans, mirror, woken

    def test_only_what_a_router_depends_on_wakes_it(self) -> None:
        plans, mirror, woken = self.make()
        mirror.put({}, full=True)
        mirror.put({"/settings/x": "1"})
        assert woken == ["woken"]
        assert plans.take_in()
        assert not plans.take_in()
        assert plans.revision == 1

    def test_what_came_meanwhile_is_one_plan_at_the_last_revision(self) -> None:
        plans, mirror, _ = self.make()
        for number in range(5):
            mirror.put({f"/services/s{number}/scheme": "http"})
        mirror.put({"/services/s0/scheme": None})
        assert plans.waiting_seconds >= 0
        assert plans.take_in()
        assert plans.revision == 6
        assert plans.waiting_seconds == 0
        assert sorted(plans.plan(Local()).backends) == [IN_SERVICE, *(f"service-s{number}" for number in range(1, 5))]
        assert plans.counts() == (4, 0)

    def test_the_same_inputs_are_the_same_plan(self) -> None:
        plans, mirror, _ = self.make()
        mirror.put({"/services/web/scheme": "http"})
        plans.take_in()
        first = plans.plan(Local())
        assert plans.plan(Local()) is first
        assert plans.plan(Local(certificates=True)) is not first

    def test_its_own_machine_draining_is_part_of_the_plan(self) -> None:
        plans, mirror, _ = self.make()
        mirror.put({machine_key("air-01"): '{"state": "active"}'})
        plans.take_in()
        before = plans.plan(Local())
        mirror.put({machine_key("air-01"): '{"state": "draining"}'})
        plans.take_in()
        after = plans.plan(Local())
        assert after.structure == before.structure
        assert after.backends != before.backends

    def test_a_port_of_tls_that_is_taken_turns_off_what_it_serves_and_is_told(self) -> None:
        plans, mirror, _ = self.make()
        mirror.put(
            {
                SSL_SUPPORT: "true",
                "/services/web/scheme": "http-and-https",
                "/services/mail/scheme": "tcp",
                "/services/mail/sni": "mail.example",
            }
        )
        plans.take_in()
        assert " bind :443 " in plans.plan(Local(certificates=True)).files()["haproxy.cfg"]
        config = plans.plan(Local(certificates=True, taken=frozenset({443, 8443}))).files()["haproxy.cfg"]
        assert ":443" not in config
        assert ":8443" not in config
        told = {(it.service, it.key, it.reason) for it in plans.local_problems}
        assert ("", SSL_SUPPORT, "not served: something else listens on 443 of this machine") in told
        assert ("mail", "/services/mail/sni", "not served: something else listens on 8443 of this machine") in told

    def test_the_balancer_routes_to_machines_alone_and_keeps_up_with_everything(self) -> None:
        plans, mirror, _ = self.make(role="balancer", listen=("127.0.0.1:8080",))
        mirror.put({machine_key("air-02"): '{"address": "10.0.0.2"}'})
        assert plans.take_in()
        before, revision = plans.plan(Local()), plans.revision
        mirror.put({"/services/web/scheme": "http"})
        assert plans.take_in()
        assert plans.revision > revision
        assert plans.plan(Local()).structure == before.structure
        assert list(plans.plan(Local()).backends) == ["machines"]
