"""Which containers may serve, by events, inspections and checks that come in any order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from container_examples import STARTED, inspected

from argosy.agent.registrar.messages import Happened, Inspected, Listed
from argosy.agent.registrar.roster import Roster
from argosy.agent.registrar.verdicts import LASTING_FAILURES, Kind, Probe, Verdict
from argosy.model import Endpoint
from argosy.schema.inspection import Event, parse_container

ID = "id-of-web-1"
LATER = "2026-11-25T15:00:00Z"
PASSES = Verdict(passing=True, sure=True)


class Machine:
    """A roster that hears things one after the other."""

    def __init__(self, left: dict[str, str] | None = None) -> None:
        self.roster = Roster("10.0.0.5", 2.0, left or {})
        self.numbers = itertools.count(1)

    def inspect(self, number: int = 0, started: str = STARTED, health: str = "", **options: Any) -> None:
        options["state"] = (
            {"StartedAt": started} | ({"Health": {"Status": health}} if health else {}) | options.pop("state", {})
        )
        container = parse_container(inspected(**options))
        self.roster.inspected(Inspected(number or next(self.numbers), container.id, container))

    def happen(self, action: str, signal: int = 0) -> None:
        self.roster.happened(Happened(next(self.numbers), Event(action, ID, signal)))

    def relist(self, *ids: str) -> None:
        self.roster.listed(Listed(next(self.numbers), frozenset(ids)))

    def judge(self, verdict: Verdict, started: str = STARTED) -> None:
        self.roster.judged(f"{ID}/{started}", verdict)

    @property
    def serving(self) -> list[str]:
        members = self.roster.members.values()
        up = [member for member in members if self.roster.is_up(member) and self.roster.passes(member)]
        return [member.container.name for member in up]

    @property
    def probe(self) -> Probe | None:
        return self.roster.probe(self.roster.members[ID])


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def serving(machine: Machine) -> Machine:
    machine.inspect()
    machine.judge(PASSES)
    assert machine.serving == ["web-1"]
    return machine


class TestChecks:
    def test_one_serves_when_its_check_passes(self, machine: Machine) -> None:
        machine.inspect()
        assert machine.serving == []
        machine.judge(PASSES)
        assert machine.serving == ["web-1"]

    def test_a_verdict_on_an_earlier_run_does_not_count(self, machine: Machine) -> None:
        machine.inspect(started=LATER)
        machine.judge(PASSES)
        assert machine.serving == []

    def test_an_inspection_of_the_same_run_changes_no_verdict(self, serving: Machine) -> None:
        serving.inspect()
        assert serving.serving == ["web-1"]

    def test_another_run_begins_anew(self, serving: Machine) -> None:
        serving.inspect(started=LATER)
        assert serving.serving == []

    @pytest.mark.parametrize(("health", "serves"), [("starting", []), ("healthy", ["web-1"]), ("unhealthy", [])])
    def test_docker_s_own_check_decides_where_there_is_one(
        self, machine: Machine, health: str, serves: list[str]
    ) -> None:
        machine.inspect(health=health, labels={"argosy.check": "none"})
        assert machine.serving == serves
        assert machine.probe is None

    def test_without_a_check_one_serves_as_soon_as_it_runs(self, machine: Machine) -> None:
        machine.inspect(labels={"argosy.check": "none"})
        assert machine.serving == ["web-1"]
        assert machine.probe is None

    @pytest.mark.parametrize(
        ("labels", "probe"),
        [
            ({}, Probe(Kind.TCP, Endpoint("172.17.0.2", 80), 2.0)),
            (
                {"argosy.check": "http /up 204", "argosy.check.seconds": "5"},
                Probe(Kind.HTTP, Endpoint("172.17.0.2", 80), 5.0, "/up", "web", (204,)),
            ),
            (
                {"argosy.check": "none", "argosy.check.command": '["true"]'},
                Probe(Kind.COMMAND, Endpoint("172.17.0.2", 80), 2.0, container=ID, command=("true",)),
            ),
        ],
    )
    def test_how_it_is_checked(self, machine: Machine, labels: dict[str, str], probe: Probe) -> None:
        machine.inspect(labels=labels)
        assert machine.probe == probe


class TestItsEnd:
    @pytest.mark.parametrize(
        ("action", "signal"), [("kill", 15), ("kill", 9), ("die", 0), ("stop", 0), ("pause", 0), ("destroy", 0)]
    )
    def test_counts_at_once(self, serving: Machine, action: str, signal: int) -> None:
        serving.happen(action, signal)
        assert serving.serving == []

    def test_is_not_meant_by_a_signal_to_reload(self, serving: Machine) -> None:
        serving.happen("kill", 1)
        assert serving.serving == ["web-1"]

    def test_its_own_stop_signal_means_it(self, machine: Machine) -> None:
        machine.inspect(config={"StopSignal": "SIGQUIT"}, labels={"argosy.check": "none"})
        machine.happen("kill", 3)
        assert machine.serving == []

    def test_an_inspection_from_before_it_does_not_bring_it_back(self, machine: Machine) -> None:
        asked = next(machine.numbers)
        machine.happen("die")
        machine.inspect(asked, labels={"argosy.check": "none"})
        assert machine.serving == []

    def test_told_to_end_it_stays_out_though_it_runs_and_passes(self, serving: Machine) -> None:
        serving.happen("kill", 15)
        serving.inspect()
        serving.judge(PASSES)
        assert serving.serving == []

    def test_told_to_end_before_we_knew_it_stays_out_too(self, machine: Machine) -> None:
        machine.happen("kill", 15)
        machine.inspect(labels={"argosy.check": "none"})
        assert machine.serving == []

    def test_started_anew_it_serves_again(self, serving: Machine) -> None:
        serving.happen("kill", 15)
        serving.happen("die")
        serving.happen("start")
        serving.inspect(started=LATER)
        serving.judge(PASSES, LATER)
        assert serving.serving == ["web-1"]

    def test_started_anew_without_a_word_it_serves_again(self, serving: Machine) -> None:
        serving.happen("kill", 15)
        serving.inspect(started=LATER, labels={"argosy.check": "none"})
        assert serving.serving == ["web-1"]

    def test_after_a_pause_it_goes_on(self, serving: Machine) -> None:
        serving.happen("pause")
        serving.inspect(state={"Paused": True})
        assert serving.serving == []
        serving.happen("unpause")
        serving.inspect()
        assert serving.serving == ["web-1"]

    def test_a_listing_without_it_forgets_it(self, serving: Machine) -> None:
        serving.relist()
        assert serving.roster.members == {}

    def test_a_listing_from_before_its_start_does_not(self, machine: Machine) -> None:
        asked = next(machine.numbers)
        machine.inspect()
        machine.roster.listed(Listed(asked, frozenset()))
        assert machine.roster.members.keys() == {ID}

    def test_one_that_docker_does_not_know_is_gone(self, serving: Machine) -> None:
        serving.roster.inspected(Inspected(next(serving.numbers), ID, None))
        assert serving.roster.members == {}

    def test_what_is_known_of_the_dead_does_not_pile_up(self, serving: Machine) -> None:
        for action in ("kill", "die", "stop"):
            serving.happen(action, 15)
        serving.relist()
        serving.relist()
        assert (serving.roster.left, serving.roster._not_before) == ({}, {})


class TestLeaving:
    def test_keeps_this_run_out(self, serving: Machine) -> None:
        member = serving.roster.find("web-1")
        assert member is not None
        serving.roster.leave(member)
        serving.inspect()
        assert serving.serving == []
        serving.inspect(started=LATER, labels={"argosy.check": "none"})
        assert serving.serving == ["web-1"]

    def test_is_remembered(self) -> None:
        machine = Machine({ID: STARTED})
        machine.inspect(labels={"argosy.check": "none"})
        assert machine.serving == []

    def test_by_name_or_by_id(self, serving: Machine) -> None:
        assert serving.roster.find("web-1") is serving.roster.find(ID) is not None
        assert serving.roster.find("web") is None


class TestWithoutDocker:
    def test_one_that_docker_found_healthy_serves_on_while_it_takes_connections(self, machine: Machine) -> None:
        machine.inspect(health="healthy")
        machine.roster.lost()
        assert machine.serving == ["web-1"]
        assert machine.probe == Probe(Kind.TCP, Endpoint("172.17.0.2", 80), 2.0)
        machine.judge(Verdict(failures=3))
        assert machine.serving == []
        machine.roster.lost()
        assert machine.serving == []
        machine.relist(ID)
        assert machine.serving == ["web-1"]

    def test_one_that_it_found_unhealthy_does_not_begin_to(self, machine: Machine) -> None:
        machine.inspect(health="unhealthy")
        machine.roster.lost()
        assert machine.serving == []


class TestProblems:
    def told(self, machine: Machine) -> list[str]:
        return [str(problem) for problem in machine.roster.problems()]

    def test_of_labels(self, machine: Machine) -> None:
        machine.inspect(labels={"argosy.scheme": "gopher"})
        assert self.told(machine) == [
            "container web-1 argosy.scheme: 'gopher' is none of http, https, http-and-https, tcp"
        ]
        assert machine.serving == []

    def test_of_ports(self, machine: Machine) -> None:
        machine.inspect(config={"ExposedPorts": {}})
        assert self.told(machine) == ["container web-1: it exposes no TCP port: say it by argosy.port"]

    def test_end_with_the_container(self, machine: Machine) -> None:
        machine.inspect(config={"ExposedPorts": {}})
        machine.happen("die")
        assert self.told(machine) == []

    def test_of_what_docker_says_itself(self, machine: Machine) -> None:
        machine.roster.inspected(Inspected(next(machine.numbers), ID, None, "in a strange way"))
        assert self.told(machine) == [f"container {ID[:12]}: in a strange way"]
        machine.inspect()
        assert self.told(machine) == []

    def test_of_a_check_that_fails_for_long(self, machine: Machine) -> None:
        machine.inspect()
        machine.judge(Verdict(failures=1, reason="refused"))
        assert self.told(machine) == []
        machine.judge(Verdict(failures=LASTING_FAILURES, reason="refused"))
        assert self.told(machine) == ["container web-1: not registered: its check fails: refused"]

    def test_of_docker_s_check(self, machine: Machine) -> None:
        machine.inspect(health="starting")
        assert self.told(machine) == []
        machine.inspect(health="unhealthy")
        assert self.told(machine) == ["container web-1: not registered: Docker's check says unhealthy"]

    def test_a_bad_container_is_no_problem_for_others(self, serving: Machine) -> None:
        serving.inspect(name="web-2", labels={"argosy.port": "x"})
        assert serving.serving == ["web-1"]
