"""Updates of scheduled services under a load of requests, on real engines, etcd, agents and routers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from haproxy_server import requires_haproxy
from swarm_lab import requires_swarm_lab
from update_lab import IMAGE, WEB, UpdateLab, parsed, update_lab, version
from waiting import until

from argosy import etcd
from argosy.cluster.change import State
from argosy.cluster.events import Event
from argosy.cluster.history import read_history
from argosy.cluster.lock import held
from argosy.errors import Interrupted, LockHeld, Refused, TakenBack, Unhealthy
from argosy.services import changing
from argosy.services import work as working
from argosy.services.updates import run as running
from argosy.services.updates.begin import UpdateRequest
from argosy.services.updates.events import StepBegan
from argosy.services.updates.journal import of_updates
from argosy.services.updates.record import UpdateStep
from argosy.services.work import ServicesCluster
from argosy.tasks import service_updates

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(7), requires_swarm_lab, requires_haproxy]


@pytest.fixture(scope="module")
def shared(cluster: EtcdCluster) -> Iterator[UpdateLab]:
    with (
        pytest.MonkeyPatch.context() as patch,
        etcd.connect(cluster.settings(), cluster.machines) as store,
        update_lab(cluster, store, patch) as made,
    ):
        yield made


@pytest.fixture
def lab(shared: UpdateLab) -> Iterator[UpdateLab]:
    yield shared
    shared.clear()


@pytest.fixture
def first(lab: UpdateLab) -> UpdateLab:
    """Give the lab with version 1 in service."""
    lab.submit(web=version(1))
    lab.until_served("1")
    return lab


def check_whole(lab: UpdateLab, text: str, replicas: int = 3) -> None:
    """See that one generation serves, and nothing is left of another."""
    lab.until_served(text)
    until(lambda: lab.generations() == {lab.record().generation: replicas}, 20)
    until(lambda: len(lab.routes()) == replicas + 2, 20)
    assert sorted(key.partition("/")[0] for key in lab.routes()) == ["check", *["hosts"] * replicas, "scheme"]
    assert of_updates("web").present(lab.work.store) is None
    assert lab.work.store.get("/cluster/lock") is None


class Killed(BaseException):
    """Nobody who handles errors catches it."""


def raising(step: UpdateStep, error: BaseException) -> Callable[[Event], None]:
    """Return what raises `error` when `step` begins, once."""
    left = [error]

    def tell(event: Event) -> None:
        if isinstance(event, StepBegan) and event.step is step and left:
            raise left.pop()

    return tell


class TestToAGoodVersion:
    def test_no_request_is_lost_and_the_canary_gets_its_share(self, first: UpdateLab) -> None:
        with first.load() as load:
            done = first.update(web=version(2), canary="25%", soak_seconds=3)
        assert load.failures == []
        assert done is not None
        assert (done.state, done.new.number) == (State.DONE, 2)
        assert "web: 3 new instances of weight 33, 3 old ones of 100: 24.8% of the requests" in first.lines
        check_whole(first, "2")
        previous = first.record().previous
        assert previous is not None
        assert previous.number == 1
        assert read_history(first.work.store)[0].what == "update of web: generation 1 -> 2"

    def test_a_second_time_there_is_nothing_to_do(self, first: UpdateLab) -> None:
        assert first.update(web=version(1)) is None
        assert first.lines == ["web: generation 1 (lab) is just that: nothing to do"]

    def test_unless_it_is_to_be_renewed(self, first: UpdateLab) -> None:
        with first.load() as load:
            done = first.update(web=version(1), renew=True)
        assert load.failures == []
        assert done is not None
        assert (done.state, done.new.number) == (State.DONE, 2)
        check_whole(first, "1")

    def test_and_back(self, first: UpdateLab) -> None:
        first.update(web=version(2))
        with first.load() as load:
            done = first.rollback()
        assert load.failures == []
        assert done is not None
        assert (done.state, done.new.number, done.new.definition.env) == (State.DONE, 3, {"VERSION": "1"})
        check_whole(first, "1")

    def test_a_slow_request_comes_to_its_end(self, first: UpdateLab) -> None:
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(first.asked("air-02", "/cgi-bin/slow")))

        def tell(event: Event) -> None:
            if isinstance(event, StepBegan) and event.step is UpdateStep.CLOSING:
                asking.start()

        first.update(tell, web=version(2))
        asking.join()
        assert answers == ["1 slowly"]

    def test_what_was_scaled_keeps_its_number_and_what_the_definition_changes_does_not(self, first: UpdateLab) -> None:
        changing.make(first.work, changing.scale("web", 2))
        first.update(web=version(2))
        check_whole(first, "2", replicas=2)
        first.update(web=version(2, replicas=4))
        check_whole(first, "2", replicas=4)

    def test_an_operator_s_weight_of_an_old_instance_goes_with_it(self, first: UpdateLab) -> None:
        instance = next(key.removeprefix("hosts/") for key in first.routes() if key.startswith("hosts/"))
        first.work.store.put(f"/services/web/weight/{instance}", "200")
        first.update(web=version(2))
        assert any(f"the weight that somebody gave {instance} goes" in line for line in first.lines)
        check_whole(first, "2")

    def test_with_another_check_and_other_routes(self, first: UpdateLab) -> None:
        moved = {"http": {"port": 80, "path": "/index.html"}}
        with first.load() as load:
            first.update(web=version(2, check=moved, discovery={"port": 80, "scheme": "http-and-https"}))
        assert load.failures == []
        check_whole(first, "2")
        keys = first.routes()
        assert (keys["check"], keys["scheme"]) == ("http /index.html 200", "http-and-https")


class TestToABrokenVersion:
    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ("echo it is broken; exit 3", "task: non-zero exit (3)"),
            ("echo it is deaf; sleep 1000", "not registered: its check fails: http://"),
        ],
    )
    def test_it_goes_back_by_itself_and_no_request_is_lost(self, first: UpdateLab, command: str, reason: str) -> None:
        broken = version(2, command=["sh", "-c", command], update={"deadline_seconds": 8})
        with first.load() as load, pytest.raises(TakenBack) as raised:
            first.update(web=broken)
        assert load.failures == []
        assert load.answers.keys() == {"1"}
        assert reason in str(raised.value)
        assert f": {command.partition(';')[0].removeprefix('echo ')}" in str(raised.value)
        assert raised.value.code == 34
        assert first.generations() == {1: 3}
        check_whole(first, "1")
        assert first.record().generation == 1
        first.update(web=version(3))
        check_whole(first, "3")
        assert first.record().generation == 4, "the number of what went is not used again"

    def test_that_fails_while_it_is_watched(self, first: UpdateLab) -> None:
        dies = "mkdir /w; echo 2 >/w/index.html; httpd -p 80 -h /w; sleep 9; echo no more; exit 1"
        with first.load() as load, pytest.raises(TakenBack, match=r"soaking: .*no more"):
            first.update(web=version(2, command=["sh", "-c", dies]), canary="50%", soak_seconds=60)
        assert load.answers["1"] > 0
        assert load.answers["2"] > 0
        check_whole(first, "1")


class TestInterrupted:
    @pytest.mark.parametrize("step", [UpdateStep.STARTING, UpdateStep.SHARING, UpdateStep.EMPTYING])
    def test_the_old_serve_on(self, first: UpdateLab, step: UpdateStep) -> None:
        with first.load() as load, pytest.raises(Interrupted, match="generation 1 serves as before"):
            first.update(raising(step, KeyboardInterrupt()), web=version(2), canary="50%")
        assert load.failures == []
        check_whole(first, "1")

    def test_when_the_old_go_already_the_same_again_goes_on(self, first: UpdateLab) -> None:
        with pytest.raises(Interrupted, match="interrupted while removing; the same command resumes"):
            first.update(raising(UpdateStep.REMOVING, KeyboardInterrupt()), web=version(2))
        with pytest.raises(Refused, match=r"inv service.update web resumes it"):
            changing.make(first.work, changing.scale("web", 2))
        assert first.record().generation == 2
        first.update(web=version(2))
        check_whole(first, "2")

    def test_a_rollback_takes_back_what_was_left(self, first: UpdateLab) -> None:
        with pytest.raises(Killed):
            first.update(raising(UpdateStep.EMPTYING, Killed()), web=version(2))
        with pytest.raises(Refused, match=r"has not ended \(running\), and is another one \(env\)"):
            first.update(web=version(3))
        done = first.rollback()
        assert done is not None
        assert done.state is State.ROLLED_BACK
        check_whole(first, "1")


class TestOtherOrders:
    def test_stop_first_with_a_fixed_port(self, lab: UpdateLab) -> None:
        fixed = {"ports": ["9090:80"], "update": {"order": "stop-first", "deadline_seconds": 40}}
        lab.submit(web=version(1, **fixed))
        lab.until_served("1")
        lab.update(web=version(2, **fixed))
        check_whole(lab, "2")
        assert {route.rpartition(":")[2] for key, route in lab.routes().items() if key.startswith("hosts/")} == {"9090"}
        began = [event.step for event in lab.told if isinstance(event, StepBegan)]
        assert began.index(UpdateStep.REMOVING) < began.index(UpdateStep.STARTING)
        broken = version(3, **fixed, command=["sh", "-c", "exit 1"])
        with pytest.raises(TakenBack):
            lab.update(web=broken)
        check_whole(lab, "2")

    def test_what_can_t_run_stops_nothing(self, lab: UpdateLab) -> None:
        fixed = {"ports": ["9090:80"], "update": {"order": "stop-first", "deadline_seconds": 40}}
        lab.submit(web=version(1, **fixed))
        lab.until_served("1")
        taken = fixed | {"ports": ["2377:80"]}
        for change, said in (
            ({"image": "127.0.0.1:9/none:1"}, "air-01: 127.0.0.1:9/none:1 can't be pulled: "),
            ({"secrets": ["no-such-secret"]}, "air-01: /etc/air/secrets/no-such-secret is not there"),
            (taken, "air-01: port 2377/tcp is held by another program"),
            ({"reserve": {"memory_megabytes": 10**7}}, "3 instances have no room"),
            ({"constraints": ["tier=none"]}, "no machine fits tier=none"),
        ):
            with lab.load() as load, pytest.raises(Refused) as caught:
                lab.update(web=version(2, **{**fixed, **change}))
            assert said in str(caught.value)
            assert load.failures == []
        assert lab.generations() == {1: 3}
        assert of_updates("web").present(lab.work.store) is None

    def test_a_way_back_to_what_is_gone_stops_nothing(self, lab: UpdateLab) -> None:
        first_of_two = {"image": "gone:1", "update": {"order": "stop-first", "deadline_seconds": 40}}
        for node in lab.swarms.nodes.values():
            node.docker("tag", IMAGE, "gone:1")
        lab.submit(web=version(1, **first_of_two))
        lab.until_served("1")
        lab.update(web=version(2, update=first_of_two["update"]))
        for node in lab.swarms.nodes.values():
            node.docker("rmi", "--force", "gone:1")
        with lab.load() as load, pytest.raises(Refused, match=r"air-01: gone:1 can't be pulled"):
            lab.rollback()
        assert load.failures == []
        check_whole(lab, "2")

    def test_more_instances_of_what_can_t_be_pulled_are_refused(self, lab: UpdateLab) -> None:
        for node in lab.swarms.nodes.values():
            node.docker("tag", IMAGE, "gone:1")
        lab.submit(replicas=1, web=version(1, image="gone:1"))
        lab.until_served("1")
        for node in lab.swarms.nodes.values():
            node.docker("rmi", "--force", "gone:1")
        with pytest.raises(Refused, match=r"nothing was changed: .*gone:1 can't be pulled"):
            changing.make(lab.work, changing.scale("web", 3))
        assert lab.record().replicas == 1
        changing.make(lab.work, changing.scale("web", 0))
        assert lab.generations() in ({}, {1: 0})

    def test_one_on_every_machine_but_those_out_of_service(self, lab: UpdateLab) -> None:
        everywhere = {key: value for key, value in WEB.items() if key != "replicas"} | {"global": True}
        lab.submit(web=everywhere)
        lab.until_served("1")
        node = next(node for node in lab.work.swarm.nodes() if node.hostname == "air-03")
        lab.work.swarm.update_node(node, availability="drain")
        lab.put_state("air-03", "draining")
        until(lambda: lab.generations() == {1: 2}, 30)
        with lab.load(machines=["air-01", "air-02"]) as load:
            lab.update(web={**everywhere, "env": {"VERSION": "2"}})
        assert load.failures == []
        assert lab.generations() == {2: 2}
        lab.work.swarm.update_node(node, availability="active")
        lab.put_state("air-03", "active")
        check_whole(lab, "2")

    def test_round_a_machine_that_takes_nothing_new(self, first: UpdateLab) -> None:
        node = next(node for node in first.work.swarm.nodes() if node.hostname == "air-02")
        first.work.swarm.update_node(node, availability="pause")
        with first.load() as load:
            first.update(web=version(2))
        assert load.failures == []
        check_whole(first, "2")
        assert {instance.machine for instance in first.work.look().of("web").generations[2].up} == {"air-01", "air-03"}

    def test_what_is_stopped_stays_so(self, first: UpdateLab) -> None:
        changing.make(first.work, changing.stop(["web"]))
        first.update(web=version(2))
        assert first.generations() == {}
        changing.make(first.work, changing.start(["web"]))
        check_whole(first, "2")

    def test_without_discovery(self, lab: UpdateLab) -> None:
        plain = {key: value for key, value in WEB.items() if key not in ("discovery", "check")}
        lab.submit(web=plain)
        lab.update(web={**plain, "env": {"VERSION": "2"}})
        assert lab.generations() == {2: 3}
        assert lab.routes() == {}


def second(work: ServicesCluster, **options: Any) -> UpdateRequest:
    """Return what asks for the second version."""
    target = running.target(work, "web", parsed({"web": version(2)}))
    return UpdateRequest("web", target, named=True, **options)


class TestTheTasks:
    @pytest.fixture(autouse=True)
    def reached(self, monkeypatch: pytest.MonkeyPatch, lab: UpdateLab) -> None:
        @contextmanager
        def opened(*_: object) -> Iterator[ServicesCluster]:
            yield lab.work

        monkeypatch.setattr(working, "opened", opened)

    def run(self, lab: UpdateLab, request: Callable[[ServicesCluster], UpdateRequest], **flags: bool) -> None:
        given = {"yes": True, "dry_run": False, "json": False} | flags
        service_updates._update(lab.settings, request, **given)

    def test_a_dry_run_prints_the_very_plan(self, first: UpdateLab, capsys: pytest.CaptureFixture[str]) -> None:
        before = first.work.store.get_prefix("/").entries
        self.run(first, lambda work: second(work, canary="10%", soak_seconds=5), dry_run=True)
        shown = capsys.readouterr().out.splitlines()
        assert shown[0].endswith("start generation 2 (env) beside generation 1: 3 instances, which get no requests yet")
        assert [line.rpartition("generation ")[2] for line in shown][-1] == "1"
        changed = {entry.key for entry in first.work.store.get_prefix("/").entries} ^ {entry.key for entry in before}
        assert {key for key in changed if not key.startswith("/routers/")} == set()
        assert first.generations() == {1: 3}

    def test_events_are_json_a_line_each(self, first: UpdateLab, capsys: pytest.CaptureFixture[str]) -> None:
        self.run(first, second, json=True)
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [event["step"] for event in told if event["event"] == "step-done"] == [
            "starting",
            "opening",
            "closing",
            "emptying",
            "removing",
        ]
        self.run(first, lambda _: UpdateRequest("web", rollback=True))
        check_whole(first, "1")


class TestRefused:
    def test_while_somebody_else_changes_the_cluster(self, first: UpdateLab) -> None:
        with held(first.work.store, "cluster.rolling-upgrade"), pytest.raises(LockHeld):
            first.update(web=version(2))
        assert first.generations() == {1: 3}

    def test_what_has_no_place(self, first: UpdateLab) -> None:
        with pytest.raises(Refused, match="no machine fits"):
            first.update(web=version(2, constraints=["tier=green"]))
        with pytest.raises(Refused, match="there is no way back"):
            first.rollback()

    def test_that_its_agent_is_away(self, first: UpdateLab) -> None:
        """An agent that does not follow keeps the update from going on, and the old serve."""
        agent = first.machines["air-02"]
        first.swarms.run("air-02", "sh", "-c", "kill -STOP $(pgrep -f 'argosy[.]agent')")
        try:
            with first.load(machines=["air-01", "air-03"]) as load, pytest.raises(Unhealthy):
                first.update(web=version(2, update={"deadline_seconds": 8}))
        finally:
            first.swarms.run("air-02", "sh", "-c", "kill -CONT $(pgrep -f 'argosy[.]agent')")
        assert load.failures == [], agent.log
        first.until_served("1")
