"""Scheduled services from submit to destroy, on real engines, a real etcd and real registrars."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from service_lab import SERVE, WEB, ServiceLab, service_lab
from swarm_lab import requires_swarm_lab
from waiting import until

from argosy import etcd
from argosy.cluster.lock import held
from argosy.errors import ConfigError, LockHeld, Refused, Unhealthy
from argosy.rendering.service_unit import DOCKER
from argosy.services import changing, reaching
from argosy.services.actions import Action
from argosy.services.applying import Executor
from argosy.ssh.host import Host, Hosts

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(6), requires_swarm_lab]


GOLDEN = sorted((Path(__file__).parents[2] / "unit" / "golden" / "swarm").glob("*.json"))


@pytest.fixture(scope="module")
def shared(cluster: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceLab]:
    with (
        etcd.connect(cluster.settings(), cluster.machines) as store,
        service_lab(tmp_path_factory.mktemp("services"), cluster, store) as made,
    ):
        yield made


@pytest.fixture
def lab(shared: ServiceLab) -> Iterator[ServiceLab]:
    yield shared
    shared.clear()


def actions(lab: ServiceLab, change: changing.Change) -> list[str]:
    return [step.action for plan in changing.plans(lab.work, change) for step in plan.steps()]


def test_a_service_is_placed_registered_and_answers(lab: ServiceLab) -> None:
    lab.submit(web=WEB)
    running = lab.running()
    assert len(running.up) == 2
    assert {instance.id for instance in running.up} == lab.hosts()
    assert len({instance.machine for instance in running.up}) == 2
    for instance in running.up:
        address, _, port = instance.endpoint.partition(":")
        status, body = lab.swarms.get(address, int(port))
        assert (status, body.decode().split()) == (200, [instance.container, "lab"])
    assert json.loads(lab.history()[0])["what"] == "submit web"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_engine_keeps_what_a_golden_file_says(lab: ServiceLab, path: Path) -> None:
    spec = json.loads(path.read_text())
    lab.work.swarm.create_service(spec)
    kept = lab.work.swarm.service("air-web-7")
    assert kept
    assert present(spec) == {key: value for key, value in present(kept.spec).items() if key in spec}


def present(value: Any) -> Any:
    """Return what a spec says without what means nothing: empty, zero or false; the engine leaves some of it out, and
    adds what it is by default."""
    if isinstance(value, dict):
        own = {key: present(part) for key, part in value.items() if key not in ("Isolation", "DNSConfig", "Runtime")}
        return {key: part for key, part in own.items() if part not in (None, "", 0, False, [], {})}
    return [present(part) for part in value] if isinstance(value, list) else value


def test_submitted_again_nothing_changes(lab: ServiceLab) -> None:
    lab.submit(web=WEB)
    before = [instance.task.id for instance in lab.running().up]
    lab.submit(web=WEB)
    assert [instance.task.id for instance in lab.running().up] == before
    assert len(lab.history()) == 1
    with pytest.raises(Refused, match=r"another env: inv service.update web"):
        lab.submit(web={**WEB, "env": {"A": "b"}})


def test_constraints_and_bounds_hold(lab: ServiceLab) -> None:
    lab.submit(web={**WEB, "constraints": ["tier=green", "rack!=r2"], "replicas": 3})
    assert {instance.machine for instance in lab.running().up} == {"air-01"}
    lab.submit(spread={**WEB, "max_per_machine": 1, "replicas": 3})
    assert {instance.machine for instance in lab.running("spread").up} == {"air-01", "air-02", "air-03"}
    lab.submit(all={key: value for key, value in WEB.items() if key != "replicas"} | {"global": True})
    assert {instance.machine for instance in lab.running("all").up} == {"air-01", "air-02", "air-03"}


def test_two_that_conflict_are_kept_apart(lab: ServiceLab) -> None:
    lab.submit(a={**WEB, "conflicts": ["b"]}, b={**WEB, "replicas": 1})
    where = {name: {instance.machine for instance in lab.running(name).up} for name in "ab"}
    assert len(where["a"]) == 2
    assert not where["a"] & where["b"]
    lab.swarms.nodes["air-01"].swarm.update_node(node_id(lab, min(where["b"])), availability="drain")
    try:
        until(lambda: any("no suitable node" in instance.task.error for instance in lab.running("b").instances), 20)
        assert lab.up("a") == 2
    finally:
        lab.swarms.nodes["air-01"].swarm.update_node(node_id(lab, min(where["b"])), availability="active")
    until(lambda: lab.up("b") == 1, 20)


def node_id(lab: ServiceLab, machine: str) -> str:
    return next(node.id for node in lab.work.swarm.nodes() if node.hostname == machine)


def test_scaled_up_and_down(lab: ServiceLab) -> None:
    lab.submit(web=WEB)
    first = {instance.id for instance in lab.running().up}
    lab.make(changing.scale("web", 5))
    assert len(lab.hosts()) == 5
    assert first < lab.hosts()
    lab.make(changing.scale("web", 1))
    assert lab.up() == 1
    until(lambda: lab.hosts() == {instance.id for instance in lab.running().up})


def test_stopped_and_started(lab: ServiceLab) -> None:
    lab.submit(web=WEB)
    lab.make(changing.stop(["web"]))
    assert lab.work.swarm.services() == []
    assert lab.hosts() == set()
    assert not any("/generation/" in key for key in lab.known_keys())
    assert lab.work.look().of("web").record is not None
    assert actions(lab, changing.stop(["web"])) == []
    lab.make(changing.start(["web"]))
    assert len(lab.hosts()) == 2


def test_destroyed_nothing_is_left(lab: ServiceLab) -> None:
    lab.submit(web=WEB)
    assert "/services/web/scheme" in lab.known_keys()
    lab.make(changing.destroy(["web"]))
    assert lab.known_keys() == []
    assert lab.work.swarm.services() == []
    assert lab.make(changing.destroy(["web"]))[0].said == ("there is no such scheduled service",)


def test_what_swarm_has_lost_is_revived(lab: ServiceLab) -> None:
    lab.submit(web=WEB)
    lab.work.swarm.remove_service(lab.running().service.id)
    until(lambda: lab.hosts() == set())
    lab.make(changing.revive(["web"]))
    assert len(lab.hosts()) == 2


FAILS_ONCE = (
    "mkdir -p /tmp/w; if [ $ARGOSY_SLOT = 2 ] && [ ! -e /state/well ]; then echo I am ill >&2; exit 3; fi; "
    "exec httpd -f -p 80 -h /tmp/w"
)


@pytest.mark.parametrize("window", [0.5, 0], ids=["whose window is over", "once and for all"])
def test_what_has_failed_is_revived(lab: ServiceLab, window: float) -> None:
    ill = {
        **WEB,
        "command": ["sh", "-c", FAILS_ONCE],
        "volumes": [{"source": "/tmp/state", "target": "/state"}],
        "restart": {"delay_seconds": 0.1, "attempts": 2, "window_seconds": window},
        "constraints": ["machine=air-01"],
        "update": {"deadline_seconds": 20},
    }
    lab.swarms.run("air-01", "mkdir", "-p", "/tmp/state")
    try:
        reason = r"web: .*air-web-1\.2 .*task: non-zero exit \(3\).*; the last lines .*: I am ill"
        with pytest.raises(Unhealthy, match=reason):
            lab.submit(web=ill)
        well = {instance.task.id for instance in lab.running().up if instance.task.slot == 1}
        lab.swarms.run("air-01", "touch", "/tmp/state/well")
        lab.make(changing.revive(["web"]))
        assert lab.up() == 2
        assert (well <= {instance.task.id for instance in lab.running().up}) is (window > 0)
    finally:
        lab.swarms.run("air-01", "rm", "-r", "/tmp/state")


def test_what_fails_again_and_again_is_not_waited_for(lab: ServiceLab) -> None:
    bad = {**WEB, "command": ["sh", "-c", "echo no config; exit 1"]}
    with pytest.raises(
        Unhealthy,
        match=r"web: air-web-1\.\d has failed 3 times: task: non-zero exit \(1\); the last lines of .*: no config",
    ):
        lab.submit(web=bad)
    assert lab.work.look().of("web").record is not None
    assert re.search(r'"outcome": "web: air-web-1\.\d has failed 3 times', lab.history()[0])


def test_an_image_that_is_not_there_is_told(lab: ServiceLab) -> None:
    with pytest.raises(Unhealthy, match=r"No such image: nowhere\.invalid/x:1"):
        lab.submit(web={**WEB, "image": "nowhere.invalid/x:1", "update": {"deadline_seconds": 20}})


def test_several_are_done_though_one_does_not_get_well(lab: ServiceLab) -> None:
    with pytest.raises(Unhealthy, match="1 of 2 services: bad: "):
        lab.submit(bad={**WEB, "command": ["false"]}, web=WEB)
    assert lab.up("web") == 2


def test_another_operator_is_not_disturbed(lab: ServiceLab) -> None:
    with held(lab.work.store, "cluster.rolling-upgrade"), pytest.raises(LockHeld):
        lab.submit(web=WEB)
    assert lab.known_keys() == []


def test_what_instances_write_is_shown_after_their_names(lab: ServiceLab) -> None:
    said = {**WEB, "command": ["sh", "-c", f"echo hello $ARGOSY_SLOT; echo oops >&2; {SERVE}"]}
    lab.submit(web=said)
    shown: list[tuple[str, str]] = []
    reaching.journal(lab.work, "web", lambda name, line: shown.append((name, line)), lines=20, follow=False)
    where = {instance.task.slot: instance.machine for instance in lab.running().up}
    assert {(name, line.split(" ", 1)[1]) for name, line in shown} == {
        (f"1/{slot}@{machine}", text) for slot, machine in where.items() for text in (f"hello {slot}", "oops")
    }


class Enough(Exception):
    """All that was waited for has been seen."""


def test_what_instances_write_is_followed(lab: ServiceLab) -> None:
    lab.submit(web={**WEB, "command": ["sh", "-c", f"(while sleep 0.2; do echo tick; done) & {SERVE}"]})
    seen: set[str] = set()

    def show(name: str, line: str) -> None:
        assert line.endswith(" tick")
        seen.add(name)
        if len(seen) == 2:
            raise Enough

    with pytest.raises(Enough):
        reaching.journal(lab.work, "web", show, lines=0, follow=True)


def test_one_enters_an_instance_where_it_runs(lab: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.submit(web={**WEB, "shell": ["cat"], "console": ["cat", "/tmp/w/index.html"]})
    settings = lab.swarms.settings()
    lab.swarms.lead(monkeypatch)
    with Hosts(settings, lab.swarms.machines()) as hosts:
        work = copy(lab.work)
        work.hosts = hosts
        entered: list[list[str]] = []

        def interactive(host: Host, command: list[str], *, sudo: bool) -> int:
            entered.append([host.name, *command])
            return 0 if host.run(command, sudo=sudo).stdout.split()[1] == "lab" else 1

        monkeypatch.setattr(Host, "interactive", interactive)
        instance = lab.running().up[1]
        reaching.enter(work, "console", "web", "2")
        assert entered == [[instance.machine, DOCKER, "exec", "--interactive", instance.task.container_id, *CONSOLE]]
        with pytest.raises(ConfigError, match="no such instance of web runs"):
            reaching.enter(work, "console", "web", "9")
        with pytest.raises(ConfigError, match="no scheduled service"):
            reaching.enter(work, "shell", "wbe")


CONSOLE = ["cat", "/tmp/w/index.html"]

CHANGES: dict[str, Callable[[], changing.Change]] = {
    "stop": lambda: changing.stop(["web"]),
    "start": lambda: changing.start(["web"]),
    "scale": lambda: changing.scale("web", 3),
    "destroy": lambda: changing.destroy(["web"]),
}


class Killed(BaseException):
    """As kill -9 would end it: nothing is cleared up, nothing noted."""


@pytest.mark.parametrize("name", ["submit", "scale", "destroy"])
def test_killed_between_any_two_steps_the_same_again_ends_in_the_same(
    lab: ServiceLab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> changing.Change:
        return lab.submission(web=WEB) if name == "submit" else CHANGES[name]()

    def prepare() -> None:
        lab.clear()
        if name != "submit":
            lab.submit(web=WEB)
        if name == "start":
            lab.make(changing.stop(["web"]))

    prepare()
    steps = len(actions(lab, change()))
    lab.make(change())
    wanted = state(lab)
    done = Executor.do
    for number in range(steps):
        prepare()
        left = [number]

        def killed(executor: Executor, action: Action, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            done(executor, action)

        monkeypatch.setattr(Executor, "do", killed)
        with pytest.raises(Killed):
            lab.make(change())
        monkeypatch.setattr(Executor, "do", done)
        lab.make(change())
        assert state(lab) == wanted, f"killed before step {number}"
        assert all(action.startswith("wait") for action in actions(lab, change()))


def state(lab: ServiceLab) -> dict[str, object]:
    seen = lab.work.look().of("web")
    return {
        "record": (seen.record.generation, seen.record.replicas, seen.record.stopped) if seen.record else None,
        "swarm": {number: len(generation.up) for number, generation in seen.generations.items()},
        "registered": len(lab.hosts()),
        "weights": dict(seen.weights),
        "keys": sorted(key.partition(":")[0] for key in lab.known_keys() if "/hosts/" not in key),
    }
