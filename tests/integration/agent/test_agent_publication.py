"""What the agent writes to etcd of its router, and what wakes the router, with stand-ins for etcd and the mirror."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from argosy.agent.mirror import Batch
from argosy.agent.options import Options, Tunables
from argosy.agent.publication import Publication
from argosy.agent.router.plans import Plans
from argosy.errors import EtcdError
from argosy.etcd.values import Entry
from argosy.routing.plan import IN_SERVICE
from argosy.schema import SSL_SUPPORT, Problem, machine_key


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
        assert sorted(plans.plan().backends) == [IN_SERVICE, *(f"service-s{number}" for number in range(1, 5))]
        assert plans.counts() == (4, 0)

    def test_the_same_inputs_are_the_same_plan(self) -> None:
        plans, mirror, _ = self.make()
        mirror.put({"/services/web/scheme": "http"})
        plans.take_in()
        first = plans.plan()
        assert plans.plan() is first
        assert plans.plan(certificates=True) is not first

    def test_its_own_machine_draining_is_part_of_the_plan(self) -> None:
        plans, mirror, _ = self.make()
        mirror.put({machine_key("air-01"): '{"state": "active"}'})
        plans.take_in()
        before = plans.plan()
        mirror.put({machine_key("air-01"): '{"state": "draining"}'})
        plans.take_in()
        after = plans.plan()
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
        assert " bind :443 " in plans.plan(certificates=True).files()["haproxy.cfg"]
        config = plans.plan(certificates=True, taken=frozenset({443, 8443})).files()["haproxy.cfg"]
        assert ":443" not in config
        assert ":8443" not in config
        told = {(problem.service, problem.key, problem.reason) for problem in plans.local_problems}
        assert ("", SSL_SUPPORT, "not served: something else listens on 443 of this machine") in told
        assert ("mail", "/services/mail/sni", "not served: something else listens on 8443 of this machine") in told

    def test_the_balancer_routes_to_machines_alone_and_keeps_up_with_everything(self) -> None:
        plans, mirror, _ = self.make(role="balancer", listen=("127.0.0.1:8080",))
        mirror.put({machine_key("air-02"): '{"address": "10.0.0.2"}'})
        assert plans.take_in()
        before, revision = plans.plan(), plans.revision
        mirror.put({"/services/web/scheme": "http"})
        assert plans.take_in()
        assert plans.revision > revision
        assert plans.plan().structure == before.structure
        assert list(plans.plan().backends) == ["machines"]
