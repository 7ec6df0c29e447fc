"""Who is asked before instances of a service start, and what of the answers stands against it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_host import FakeHost, FakeHosts
from service_examples import IMAGE, Cluster, definition, node, record

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.model import Machine
from argosy.services.preflight import refuse_unready
from argosy.services.record import Generation
from argosy.services.work import ServicesCluster

pytestmark = pytest.mark.integration

LOOK = f"look whether {IMAGE.reference} can run"


class Place:
    """Machines, what each answers, and what is told of them."""

    def __init__(self, settings: Settings, seen: Cluster, *names: str) -> None:
        self.hosts = FakeHosts(FakeHost(Machine(name, "10.0.0.1"), {LOOK: lambda _: ""}) for name in names)
        self.told: list[str] = []
        self.work: Any = SimpleNamespace(
            settings=settings,
            hosts=self.hosts,
            look=lambda: seen.state(),
            report=lambda subject, text: self.told.append(f"{subject}: {text}"),
        )

    def answers(self, name: str, text: str) -> None:
        self.hosts[name].answers[LOOK] = lambda _: text

    def check(self, replicas: int | None = 2, **keys: Any) -> list[str]:
        """Return who was asked."""
        refuse_unready(self.work, "web", Generation(2, definition(**keys), IMAGE), replicas)
        return [host.name for host in self.hosts if host.asked]


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return load({"system": "air", "clusters": {"test": {}}}, root=tmp_path)


def test_machines_that_may_run_it_are_asked(settings: Settings) -> None:
    nodes = [node(name, labels={"tier": "green"} if name < "air-04" else {}) for name in ("air-01", "air-02", "air-04")]
    nodes.append(node("air-03", labels={"tier": "green"}, availability="drain"))
    place = Place(settings, Cluster(nodes=nodes), "air-01", "air-02", "air-03", "air-04")
    assert place.check(constraints=["tier=green"]) == ["air-01", "air-02"]


def test_what_one_lacks_refuses_it_with_all_that_was_found(settings: Settings) -> None:
    place = Place(settings, Cluster(), "air-01", "air-02", "air-03")
    place.answers("air-01", "image manifest unknown\nport 8080/tcp stray \n")
    place.answers("air-03", "file /srv/data\n")
    with pytest.raises(Refused) as caught:
        place.check()
    assert str(caught.value) == (
        f"web: nothing was changed: air-01: {IMAGE.reference} can't be pulled: manifest unknown; "
        "air-01: port 8080/tcp is held by stray; air-03: /srv/data is not there"
    )


def test_the_service_s_own_ports_are_no_hindrance(settings: Settings) -> None:
    place = Place(settings, Cluster().knows(record()).runs(), "air-01")
    place.answers("air-01", "port 8080/tcp web.1.abc air-web-1\n")
    assert place.check() == ["air-01"]


def test_who_can_t_be_asked_is_told_of_and_no_hindrance(settings: Settings) -> None:
    place = Place(settings, Cluster(), "air-01", "air-02")
    place.hosts["air-01"].up = False
    assert place.check() == ["air-02"]
    assert place.told == ["air-01: web: whether it can run there is not known: air-01: no ssh connection"]


def test_one_with_volumes_is_asked_of_where_they_are(settings: Settings) -> None:
    volumes = [{"source": "data", "target": "/data"}]
    seen = Cluster().knows(record(volumes=volumes)).at_home("web", "air-02")
    assert Place(settings, seen, "air-01", "air-02").check(1, volumes=volumes) == ["air-02"]


def test_none_at_all_and_none_that_is_known_ask_nobody(settings: Settings) -> None:
    place = Place(settings, Cluster(), "air-01")
    assert place.check(0) == []
    assert Place(settings, Cluster()).check() == []


def test_where_no_machine_is_known_nobody_is_asked(settings: Settings) -> None:
    work = ServicesCluster(settings)
    with pytest.raises(ConfigError):
        _ = work.hosts
    work.look = lambda _="": Cluster().state()  # type: ignore[method-assign, assignment]
    refuse_unready(work, "web", Generation(1, definition(), IMAGE), 2)


def test_no_machine_that_fits_is_refused_before_anybody_is_asked(settings: Settings) -> None:
    place = Place(settings, Cluster(), "air-01")
    with pytest.raises(Refused, match="no machine fits tier=blue"):
        place.check(constraints=["tier=blue"])
    assert place.hosts["air-01"].asked == []
