"""The tasks of scheduled services as they are typed, on real engines; only the way to them is the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from invoke.config import Config
from invoke.context import Context
from service_lab import WEB, ServiceLab, service_lab
from swarm_lab import requires_swarm_lab

from argosy import etcd
from argosy.config.loading import ScheduledSettings, Settings
from argosy.errors import ConfigError, Refused
from argosy.report import Report
from argosy.services import changing
from argosy.services import work as working
from argosy.services.work import ServicesCluster
from argosy.tasks import service

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow, requires_swarm_lab]


@pytest.fixture(scope="module")
def shared(cluster: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceLab]:
    with (
        etcd.connect(cluster.settings(), cluster.machines) as store,
        service_lab(tmp_path_factory.mktemp("tasks"), cluster, store, size=2) as made,
    ):
        yield made


@pytest.fixture
def lab(shared: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceLab]:
    @contextmanager
    def opened(settings: Settings, report: Report) -> Iterator[ServicesCluster]:
        changed = copy(shared.work)
        changed.settings, changed.report = settings, report
        yield changed

    monkeypatch.setattr(working, "opened", opened)
    monkeypatch.setattr(changing, "opened", opened)
    yield shared
    shared.clear()


Say = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a task and return what it prints on stdout."""

    def run(task: Callable[..., None], *words: Any, **flags: Any) -> str:
        scheduled = {"web": WEB, "idle": {**WEB, "replicas": 1}}
        own = {"discovery": {"ttl_seconds": 2}, "scheduled": scheduled, "clusters": {"test": {}}}
        capsys.readouterr()
        task(Context(Config(overrides=own)), *words, **flags)
        return capsys.readouterr().out

    return run


def test_a_service_lives_by_its_tasks(lab: ServiceLab, say: Say, tmp_path: Path) -> None:
    planned = say(service.submit, ["web"], replicas=3, dry_run=True)
    assert planned.splitlines()[0] == "web: generation 1, version lab: 3 instances"
    assert lab.known_keys() == []
    assert say(service.submit, ["web"], replicas=3) == "web: done\n"
    assert say(service.submit, ["web"]) == "web: nothing changed\n"
    (listed,) = json.loads(say(service.list_, ["web"], json=True))
    assert (listed["state"], listed["running"], listed["registered"]) == ("running", 3, 3)
    table = say(service.list_, [])
    assert "web      3       3        3           lab      1           air-01, air-02  running" in table
    assert "idle" in table
    assert "not submitted" in table
    shown = say(service.show, "web")
    assert all(title in shown for title in ("instance", "endpoint", "defined as", "discovery"))
    assert json.loads(say(service.show, "web", json=True))["definition"]["replicas"] == 2
    (scaled,) = json.loads(say(service.scale, "web", "1", json=True))
    assert (scaled["running"], scaled["changed"]) == (1, True)
    assert say(service.stop, ["web"], dry_run=True).splitlines()[1] == (
        "web: no more requests to generation 1, on any router"
    )
    assert say(service.stop, ["web"]) == "web: done\n"
    assert say(service.revive, [], all=True) == "web: nothing changed\n"
    assert say(service.start, ["web"]) == "web: done\n"
    assert say(service.journal, "web") == ""
    assert say(service.destroy, ["web"], yes=True) == "web: done\n"
    assert say(service.destroy, ["web"], yes=True) == "web: nothing changed\n"
    assert lab.known_keys() == []
    path = tmp_path / "more.yaml"
    path.write_text(json.dumps({"scheduled": {"more": WEB}}))
    assert say(service.submit, [], file=str(path), dry_run=True).startswith("more: generation 1")


def test_what_is_wrong_is_refused_before_anything(lab: ServiceLab, say: Say) -> None:
    for task, words, reason in (
        (service.submit, (["wbe"],), r"wbe: no scheduled service \(did you mean 'web'\?\)"),
        (service.submit, ([],), "names: which one"),
        (service.start, (["web"],), "web: no scheduled service; known: none"),
        (service.scale, ("web", "many"), "count: 'many' is no whole number"),
        (service.destroy, ([],), "names: which one"),
        (service.show, ("wbe",), "wbe: no scheduled service"),
        (service.list_, (["wbe"],), "wbe: no scheduled service"),
    ):
        with pytest.raises(ConfigError, match=reason):
            say(task, *words)
    with pytest.raises(Refused, match="there is no scheduled service web"):
        say(service.scale, "web", "3")
    with pytest.raises(Refused, match="Destroy web, with all instances and routes"):
        say(service.destroy, ["web"])
    assert lab.known_keys() == []


def test_all_are_submitted_and_what_runs_otherwise_is_told(lab: ServiceLab) -> None:
    settings = lab.work.settings.model_copy(update={"scheduled": definitions(web=WEB)})
    told: list[str] = []

    def report(subject: str, message: str) -> None:
        told.append(f"{subject}: {message}")

    assert changing.submit_all(lab.work.settings, report) is False
    assert changing.submit_all(settings, report) is True
    assert changing.submit_all(settings, report) is False
    changed = definitions(web={**WEB, "env": {"A": "b"}}, other={**WEB, "replicas": 1})
    assert changing.submit_all(settings.model_copy(update={"scheduled": changed}), report) is True
    assert [line for line in told if "another env" in line] == [
        "web: it was submitted with another env: inv service.update web brings this definition"
    ]
    assert len(lab.hosts("other")) == 1


def definitions(**given: Any) -> dict[str, Any]:
    return {name: ScheduledSettings.model_validate(definition) for name, definition in given.items()}
