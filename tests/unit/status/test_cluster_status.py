"""A cluster's status, put together from what machines and etcd say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from argosy.discovery.report import DiscoveryReport, RouterState
from argosy.machine.report import MachineAnswer, MachineReport, ServiceStatus, parse_report
from argosy.model import Endpoint, Machine, MachineState, Member
from argosy.schema import Instance, MachineRecord, Problem, Service
from argosy.status.report import ClusterStatus, EtcdObserved, cluster_status

MACHINES = [Machine(f"air-0{number}", f"10.0.0.{number}") for number in (1, 2, 3)]
SERVICE = ServiceStatus(
    name="web", unit="active", check="passing", version="0.1.1", digest="sha256:" + "ab" * 32, since="now"
)
MEMBERS = [
    Member(f"a{number}", f"air-0{number}", (f"https://10.0.0.{number}:2380",), (), healthy=True, version="3.4.23")
    for number in (1, 2, 3)
]
RECORD = MachineRecord("air-01", role="member", release="0.1.3", state="active")
STORE = EtcdObserved([replace(MEMBERS[0], leader=True), *MEMBERS[1:]], {machine.name: RECORD for machine in MACHINES})


def report(state: str = "active", **changes: object) -> MachineAnswer:
    document = {"state": state, "release": "0.1.3", "services": [SERVICE.model_dump()], **changes}
    return MachineAnswer(MachineReport.model_validate(document), reached=True)


def status(store: EtcdObserved = STORE, **answers: MachineAnswer) -> ClusterStatus:
    """Return a healthy cluster but for what is given; `air_02=...` stands for air-02."""
    given = {name.replace("_", "-"): answer for name, answer in answers.items()}
    return cluster_status(
        "test", "air", MACHINES, {machine.name: given.get(machine.name, report()) for machine in MACHINES}, store
    )


def test_a_healthy_cluster_has_no_problems() -> None:
    shown = status()
    assert shown.problems() == []
    assert shown.healthy
    assert shown.releases == ["0.1.3"]


def test_the_json_is_the_documented_one() -> None:
    shown = status().to_json()
    assert json.loads(json.dumps(shown)) == shown
    keys = ["cluster", "system", "healthy", "releases", "problems", "etcd", "machines", "discovery", "swarm"]
    assert list(shown) == keys
    assert shown["discovery"] is None
    assert shown["machines"][0] == {
        "name": "air-01",
        "address": "10.0.0.1",
        "state": "active",
        "release": "0.1.3",
        "reason": "",
        "missing_secrets": [],
        "services": [
            {
                "name": "web",
                "unit": "active",
                "check": "passing",
                "reason": "",
                "version": "0.1.1",
                "digest": SERVICE.digest,
                "since": "now",
            }
        ],
        "member": {
            "id": "a1",
            "name": "air-01",
            "leader": True,
            "learner": False,
            "healthy": True,
            "version": "3.4.23",
        },
    }


def test_the_tables_show_every_machine_and_service() -> None:
    (columns, machines), (_, services) = status().tables()
    assert len(columns) == len(machines[0])
    assert machines[0] == ["air-01", "10.0.0.1", "active", "0.1.3", "a1", "leader", "yes", ""]
    assert services[2] == ["air-03", "web", "active", "passing", "0.1.1", "abababababab", "now"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (MachineAnswer(reason="air-02: no route"), "air-02: unreachable: air-02: no route"),
        (MachineAnswer(reason="no such program", reached=True), "air-02: failed: no such program"),
        (
            report("waiting", missing_secrets=["token", "ca.crt"], services=[]),
            "air-02: waiting: lacks the secrets token, ca.crt; run inv cluster.upload-secrets",
        ),
        (report("waiting"), "air-02: waiting: its secrets are not complete; run inv cluster.upload-secrets"),
        (report("installing", services=[{"name": "web", "unit": "inactive"}]), "air-02: installing"),
        (report("failed", services=[]), "air-02: failed: its install failed; see inv cluster.follow-install"),
        (
            report(services=[{"name": "web", "unit": "active", "check": "failing", "reason": "answers 500"}]),
            "air-02: web: its check fails: answers 500",
        ),
        (report(services=[{"name": "web", "unit": "failed"}]), "air-02: web: its unit is failed"),
        (
            report(services=[{"name": "web", "unit": "active", "check": "passing", "reason": "runs 1, wants 2"}]),
            "air-02: web: runs 1, wants 2",
        ),
    ],
)
def test_each_trouble_of_a_machine_is_one_line(answer: MachineAnswer, problem: str) -> None:
    shown = status(air_02=answer)
    assert shown.problems() == [problem]
    assert not shown.healthy


def test_an_unreachable_machines_release_is_what_etcd_recorded() -> None:
    assert status(air_02=MachineAnswer(reason="gone")).machines[1].release == "0.1.3"


def test_a_draining_machine_is_not_all_well() -> None:
    draining = EtcdObserved(STORE.members, {**STORE.records, "air-02": MachineRecord("air-02", state="draining")})
    assert status(draining).machines[1].state is MachineState.DRAINING
    assert status(draining).problems() == ["air-02: draining: so recorded in etcd"]


def test_a_machine_recorded_as_down_is_not_called_unreachable() -> None:
    down = EtcdObserved(STORE.members, {**STORE.records, "air-02": MachineRecord("air-02", state="down")})
    assert status(down, air_02=MachineAnswer(reason="gone")).problems() == ["air-02: down: gone"]


def test_different_releases_are_a_problem_and_sorted_by_number() -> None:
    shown = status(air_01=report(release="0.1.10"), air_02=report(release="0.1.9"))
    assert shown.releases == ["0.1.3", "0.1.9", "0.1.10"]
    assert shown.problems() == ["the machines are on different releases: 0.1.3, 0.1.9, 0.1.10"]


class TestMembers:
    def test_an_unhealthy_one_says_why(self) -> None:
        members = [*MEMBERS[:2], replace(MEMBERS[2], healthy=False)]
        store = replace(STORE, members=members, member_reasons={"air-03": "Connection refused"})
        assert status(store).problems() == ["air-03: its etcd member: Connection refused"]

    def test_a_learner_that_has_not_started_is_found_by_its_address(self) -> None:
        unstarted = Member("ff", "", ("https://10.0.0.3:2380",), (), learner=True)
        shown = status(replace(STORE, members=[*MEMBERS[:2], unstarted]), air_03=report("waiting"))
        assert shown.machines[2].member is unstarted
        assert shown.tables()[0][1][2][5] == "learner"

    def test_one_without_a_machine_is_a_stray(self) -> None:
        stray = Member("ff", "air-09", ("https://10.0.0.9:2380",), ())
        shown = status(replace(STORE, members=[*MEMBERS, stray]))
        assert shown.problems() == ["etcd member air-09 belongs to no known machine"]
        assert shown.to_json()["etcd"]["strays"][0]["id"] == "ff"

    def test_a_client_needs_none_and_another_machine_does(self) -> None:
        without = replace(STORE, members=MEMBERS[:2])
        assert status(without).problems() == ["air-03: its etcd member: there is none"]
        client = replace(
            without, records={**STORE.records, "air-03": MachineRecord("air-03", role="client", state="active")}
        )
        assert status(client).problems() == []

    def test_with_etcd_down_the_machines_are_still_told(self) -> None:
        shown = status(EtcdObserved(reason="etcd does not answer on any machine (air-01: refused)"))
        assert shown.problems() == ["etcd does not answer on any machine (air-01: refused)"]
        assert shown.to_json()["etcd"] == {"healthy": False, "reason": shown.etcd_reason, "strays": []}
        assert [machine.state for machine in shown.machines] == [MachineState.ACTIVE] * 3


def test_what_a_machine_adds_later_is_passed_over() -> None:
    assert (
        parse_report('{"state": "active", "new": 1, "services": [{"name": "web", "other": 2}]}').services[0].name
        == "web"
    )


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"state": "odd"}', '{"state": "active", "services": [{}]}'])
def test_a_report_that_makes_no_sense_is_an_error_of_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_report(text)


# Discovery

AGENT = ServiceStatus(name="agent", unit="active", check="passing")
DISCOVERY = DiscoveryReport(
    revision=812,
    services=(Service("web", None, (Instance("a", Endpoint("10.0.0.1", 80)),)),),
    problems=(Problem("web", "/services/web/scheme", "not set"),),
    routers={"air-01": RouterState(812), "air-02": RouterState(900), "balancer": RouterState(3)},
)


def with_agents(discovery: DiscoveryReport | None, **answers: MachineAnswer) -> ClusterStatus:
    agents = {machine.name.replace("-", "_"): report(services=[AGENT.model_dump()]) for machine in MACHINES}
    return status(replace(STORE, discovery=discovery), **(agents | answers))


def routers(**changes: RouterState | None) -> DiscoveryReport:
    """Return DISCOVERY with a router on every machine but for what is given."""
    known: dict[str, RouterState | None] = {machine.name: RouterState(812) for machine in MACHINES}
    known |= {name.replace("_", "-"): change for name, change in changes.items()}
    return replace(DISCOVERY, routers={name: router for name, router in known.items() if router})


def test_the_section_of_discovery_says_what_is_there_and_what_is_wrong_with_it() -> None:
    shown = with_agents(DISCOVERY)
    assert shown.to_json()["discovery"] == {
        "services": 1,
        "instances": 1,
        "problems": ["/services/web/scheme: not set"],
        "routers": {"air-01": 812, "air-02": 900, "balancer": 3},
    }
    columns, rows = shown.tables()[-1]
    assert columns[0] == "discovery"
    assert ["services", 1] in rows
    assert ["router of balancer", "behind: 812 is wanted"] in rows
    assert ["problem", "/services/web/scheme: not set"] in rows


def test_bad_data_of_a_service_leaves_a_cluster_healthy() -> None:
    assert with_agents(routers()).problems() == []


@pytest.mark.parametrize(
    ("router", "problem"),
    [
        (None, "air-02: its router reports nothing: is its agent running?"),
        (RouterState(), "air-02: its router reports nothing: is its agent running?"),
        (RouterState(811), "air-02: its router is behind: it has applied 811, 812 is wanted"),
    ],
)
def test_a_router_that_is_missing_or_behind_makes_it_unhealthy(router: RouterState | None, problem: str) -> None:
    assert with_agents(routers(air_02=router)).problems() == [problem]


def test_a_router_is_wanted_only_of_machines_that_are_up_and_whose_release_has_one() -> None:
    without = report(services=[SERVICE.model_dump()])
    assert with_agents(routers(air_02=None), air_02=without).problems() == []
    waiting = report("waiting", missing_secrets=["token"], services=[AGENT.model_dump()])
    assert len(with_agents(routers(air_02=None), air_02=waiting).problems()) == 1
    assert with_agents(None).problems() == []
