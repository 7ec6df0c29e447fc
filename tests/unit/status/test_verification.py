"""`cluster.verify`: each hop that may differ, and that it is the first one that is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from argosy.etcd.alarms import NOSPACE, Alarm
from argosy.etcd.values import Entry
from argosy.machine.facts import Labelled, MachineFacts, ServiceFacts, parse_facts
from argosy.model import Endpoint, Machine
from argosy.routing.changes import ActualServer
from argosy.routing.haproxy import server_name
from argosy.routing.plan import plan_routing
from argosy.routing.values import RouterOptions
from argosy.schema import parse_directory
from argosy.status.verification import HOPS, Verification, alarm_chains, verify, wanted_release

BRIDGE = "172.17.42.1"
NAMES = ("air-01", "air-02")
DIGESTS = {name: f"sha256:{name}" for name in ("agent", "dns", "router", "web")}
IMAGE = "registry/air/installer@sha256:4"
OLD = "10.0.0.9:5432"
KEYS = {
    "/services/web/scheme": "http",
    "/services/web/hosts/air-01:air-web": "10.0.0.1:8080",
    "/services/web/hosts/air-02:air-web": "10.0.0.2:8080",
    "/services/db/scheme": "tcp",
    "/services/db/host_port": "5432",
    f"/services/db/hosts/{OLD}": OLD,
    **{f"/machines/{name}": json.dumps({"address": f"10.0.0.{name[-1]}", "release": "0.1.4"}) for name in NAMES},
}
SERVERS = {
    f"service-{service}": {
        server_name(instance, Endpoint(address, port)): ActualServer(
            server_name(instance, Endpoint(address, port)), Endpoint(address, port), 100
        )
        for instance, address, port in instances
    }
    for service, instances in {
        "web": [("air-01:air-web", "10.0.0.1", 8080), ("air-02:air-web", "10.0.0.2", 8080)],
        "db": [(OLD, "10.0.0.9", 5432)],
    }.items()
}


def service(name: str, **changes: Any) -> ServiceFacts:
    known = {"name": name, "unit": "active", "check": "passing", "version": "0.1.1", "digest": DIGESTS.get(name, "")}
    return ServiceFacts.model_validate({**known, "release_digest": DIGESTS.get(name, ""), **changes})


def facts(name: str) -> MachineFacts:
    """Return what a machine tells when all is well."""
    address = f"10.0.0.{name[-1]}"
    return MachineFacts(
        name,
        address,
        release="0.1.4",
        image=IMAGE,
        services={digest: service(digest) for digest in DIGESTS},
        labelled=(Labelled("air-web", "web", f"{name}:air-web", Endpoint(address, 8080)),),
        bridge=BRIDGE,
        servers=SERVERS,
        names=dict.fromkeys(("router.local", "web.local", "db.local"), (BRIDGE,)),
    )


def look(keys: Mapping[str, str | None] | None = None, **second: Any) -> Verification:
    """Compare a cluster in which all is well but for these keys, and for what the second machine tells."""
    machines = [facts("air-01"), replace(facts("air-02"), **second)]
    return looked(machines, keys or {})


def looked(machines: list[MachineFacts], keys: Mapping[str, str | None]) -> Verification:
    known = {key: value for key, value in {**KEYS, **keys}.items() if value is not None}
    directory = parse_directory([Entry(key, value, 1, 1) for key, value in known.items()])
    return verify(("air", "test"), "local", 812, machines, directory, plan_routing(directory, RouterOptions()))


def test_a_release_of_another_cluster_differs_though_all_machines_have_it() -> None:
    staging = [replace(facts(name), cluster="staging") for name in ("air-01", "air-02")]
    found = [chain for chain in looked(staging, {}).differing if chain.differs == "release"]
    assert {chain.machine for chain in found} == {"air-01", "air-02"}
    assert found[0].reason == "its release 0.1.4 is of the cluster staging, not of test"


@pytest.mark.parametrize("cluster", ["test", ""])
def test_its_own_release_agrees_and_one_that_names_no_cluster(cluster: str) -> None:
    assert not look(cluster=cluster).differing


def test_a_service_of_other_machines_has_no_chain_on_this_one() -> None:
    own = {name: told for name, told in facts("air-02").services.items() if name != "web"}
    without = {"/services/web/hosts/air-02:air-web": None}
    machines = [facts("air-01"), replace(facts("air-02"), services=own, labelled=())]
    lacking, elsewhere = (
        looked([replace(found, servers={}, router_reason="") for found in told], without)
        for told in (machines, [machines[0], replace(machines[1], elsewhere=frozenset({"web"}))])
    )
    assert "web on air-02: image: its release has no such service, the others' sha256:web" in differing(lacking)
    assert not [chain for chain in elsewhere.chains if (chain.service, chain.machine) == ("web", "air-02")]


def test_a_service_that_no_machine_runs_differs_once_all_have_told() -> None:
    away = frozenset({"backup"})
    machines = [replace(facts("air-01"), elsewhere=away), replace(facts("air-02"), elsewhere=away | {"other"})]
    reason = "its release runs it on none of the cluster's machines: see services.backup.machines"
    assert differing(looked(machines, {})) == [f"backup on (nowhere): release: {reason}"]
    silent = [machines[0], replace(machines[1], reason="no ssh connection")]
    unknown = {"/machines/air-03": json.dumps({"address": "10.0.0.3"})}
    for told, keys in ((silent, {}), (machines, unknown)):
        assert not [line for line in differing(looked(told, keys)) if "backup" in line]


def differing(found: Verification) -> list[str]:
    return [str(chain) for chain in found.differing]


def test_where_all_agrees_every_chain_has_all_its_hops() -> None:
    found = look()
    assert differing(found) == []
    assert [(chain.service, chain.machine, chain.hops) for chain in found.chains] == [
        ("agent", "air-01", HOPS[:3]),
        ("agent", "air-02", HOPS[:3]),
        ("db", "", HOPS[3:]),
        ("dns", "air-01", (*HOPS[:3], "dns")),
        ("dns", "air-02", (*HOPS[:3], "dns")),
        ("router", "air-01", HOPS[:3]),
        ("router", "air-02", HOPS[:3]),
        ("web", "air-01", HOPS),
        ("web", "air-02", HOPS),
    ]


def test_the_json_is_the_documented_one() -> None:
    shown = look(services={**facts("air-02").services, "web": service("web", digest="sha256:x")}).to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert {name: shown[name] for name in ("verified", "release", "image", "revision")} == {
        "verified": False,
        "release": "0.1.4",
        "image": IMAGE,
        "revision": 812,
    }
    assert shown["chains"][-1] == {
        "service": "web",
        "machine": "air-02",
        "instance": "air-02:air-web",
        "differs": "container",
        "reason": "it runs sha256:x, the release has sha256:web",
        "hops": {
            "release": "same",
            "image": "same",
            "container": "differs",
            "etcd": "not asked",
            "router": "not asked",
            "dns": "not asked",
        },
    }


def test_the_table_has_a_column_for_each_hop() -> None:
    columns, rows = look().table()
    assert all(len(row) == len(columns) for row in rows)
    assert rows[2] == ["db", "(by hand)", OLD, "", "", "", "same", "same", "same"]


WEB_2 = "web on air-02"


class TestRelease:
    def test_a_machine_that_tells_nothing(self) -> None:
        found = looked([facts("air-01"), MachineFacts("air-02", "10.0.0.2", reason="no ssh connection")], {})
        lines = differing(found)
        assert f"{WEB_2}: release: no ssh connection" in lines
        assert f"{WEB_2}: container: no ssh connection" in lines
        assert all(line.endswith("on air-02: release: no ssh connection") or "container" in line for line in lines)

    def test_another_version(self) -> None:
        lines = differing(look(release="0.1.3", image="registry/air/installer@sha256:3"))
        assert lines[-1] == f"{WEB_2}: release: it has 0.1.3, the cluster's is 0.1.4"
        assert len(lines) == len(DIGESTS)

    def test_the_same_version_with_other_bytes(self) -> None:
        (line, *_) = differing(look(image="registry/air/installer@sha256:5"))
        assert "its release 0.1.4 is registry/air/installer@sha256:" in line

    def test_another_one_recorded_in_etcd(self) -> None:
        record = json.dumps({"address": "10.0.0.2", "release": "0.1.3"})
        assert differing(look({"/machines/air-02": record}))[-1] == (
            f"{WEB_2}: release: etcd records 0.1.3 for it, it has 0.1.4"
        )
        assert differing(look({"/machines/air-02": None}))[-1].endswith("etcd records no release for it, it has 0.1.4")

    def test_what_most_machines_have_is_wanted_and_of_two_the_newer(self) -> None:
        old = replace(facts("air-02"), release="0.1.9", image="x")
        new = replace(facts("air-03"), release="0.1.10", image="y")
        assert wanted_release([old, new]) == ("0.1.10", "y")
        assert wanted_release([old, old, new]) == ("0.1.9", "x")
        assert wanted_release([]) == ("", "")

    def test_no_machine_tells_anything(self) -> None:
        nothing = [MachineFacts(name, "10.0.0.1", reason="asleep") for name in NAMES]
        assert differing(looked(nothing, {}))[0] == "(release) on air-01: release: asleep"


class TestImage:
    def test_a_release_that_pins_another_digest(self) -> None:
        other = service("web", release_digest="sha256:x")
        line = differing(look(services={**facts("air-02").services, "web": other}))[0]
        assert "image: its release has sha256:" in line

    def test_a_release_without_the_service(self) -> None:
        services = {name: service for name, service in facts("air-02").services.items() if name != "agent"}
        assert differing(look(services=services)) == [
            "agent on air-02: image: its release has no such service, the others' sha256:agent"
        ]


class TestContainer:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"digest": "sha256:x"}, "it runs sha256:x, the release has sha256:web"),
            ({"digest": ""}, "it runs nothing, the release has sha256:web"),
            ({"unit": "failed"}, "its unit is failed"),
            ({"check": "failing", "reason": "answers 500"}, "its check fails: answers 500"),
        ],
    )
    def test_a_service_that_is_not_as_it_should_be(self, changes: dict[str, Any], reason: str) -> None:
        found = look(services={**facts("air-02").services, "web": service("web", **changes)})
        assert differing(found) == [f"{WEB_2}: container: {reason}"]

    def test_a_container_that_is_not_well(self) -> None:
        (labelled,) = facts("air-02").labelled
        found = look(labelled=(replace(labelled, unwell="its health check says unhealthy"),))
        assert differing(found) == [f"{WEB_2}: container: its health check says unhealthy"]

    def test_a_key_whose_container_is_gone(self) -> None:
        assert differing(look({"/services/web/hosts/air-02:extra": "10.0.0.2:9"}))[:1] == [
            f"{WEB_2}: container: etcd has it, and air-02 runs no container extra that declares it"
        ]

    def test_a_key_whose_machine_is_gone(self) -> None:
        lines = differing(look({"/services/web/hosts/air-09:web": "10.0.0.9:9"}))
        assert "web on air-09: container: etcd has it, and there is no machine air-09" in lines


class TestEtcd:
    KEY = "/services/web/hosts/air-02:air-web"

    def test_an_instance_that_is_not_registered(self) -> None:
        assert f"{WEB_2}: etcd: no {self.KEY}" in differing(look({self.KEY: None}))

    def test_one_that_is_registered_elsewhere(self) -> None:
        assert f"{WEB_2}: etcd: it is registered at 10.0.0.2:1, its container is at 10.0.0.2:8080" in differing(
            look({self.KEY: "10.0.0.2:1"})
        )

    def test_one_that_is_missing_from_a_draining_machine_is_as_it_should_be(self) -> None:
        record = json.dumps({"address": "10.0.0.2", "release": "0.1.4", "state": "draining"})
        servers = {**SERVERS, "service-web": dict(list(SERVERS["service-web"].items())[:1])}
        machines = [replace(facts(name), servers=servers) for name in NAMES]
        assert differing(looked(machines, {self.KEY: None, "/machines/air-02": record})) == []

    def test_one_behind_the_bridge_has_any_port_of_its_machine(self) -> None:
        (labelled,) = facts("air-02").labelled
        assert differing(look(labelled=(replace(labelled, endpoint=None),))) == []
        elsewhere = look({self.KEY: "10.0.0.7:8080"}, labelled=(replace(labelled, endpoint=None),))
        assert f"{WEB_2}: etcd: it is registered at 10.0.0.7:8080, which is not a port of 10.0.0.2" in differing(
            elsewhere
        )

    def test_a_container_that_can_t_be_registered(self) -> None:
        (labelled,) = facts("air-02").labelled
        assert differing(look(labelled=(replace(labelled, reason="it exposes no TCP port"),))) == [
            f"{WEB_2}: etcd: it exposes no TCP port"
        ]

    def test_a_container_beside_the_release_has_a_chain_of_its_own(self) -> None:
        mine = Labelled("mine", "web", "air-02:mine", Endpoint("10.0.0.2", 7))
        found = look(labelled=(*facts("air-02").labelled, mine))
        assert differing(found) == [f"{WEB_2}: etcd: no /services/web/hosts/air-02:mine"]
        assert found.differing[0].hops == HOPS[2:]


class TestRouter:
    NAME = server_name("air-01:air-web", Endpoint("10.0.0.1", 8080))

    def test_one_that_does_not_answer(self) -> None:
        lines = differing(look(servers={}, router_reason="HAProxy does not answer"))
        assert lines == [
            f"{chain}: router: air-02: HAProxy does not answer"
            for chain in (f"db/{OLD}", "web on air-01", "web on air-02")
        ]

    def changed(self, **changes: Any) -> list[str]:
        server = replace(SERVERS["service-web"][self.NAME], **changes)
        return differing(look(servers={**SERVERS, "service-web": {**SERVERS["service-web"], self.NAME: server}}))

    def test_one_without_the_server(self) -> None:
        assert differing(look(servers={**SERVERS, "service-db": {}}))[0] == (
            f"db/{OLD}: router: air-02 has no server {server_name(OLD, Endpoint('10.0.0.9', 5432))} in service-db"
        )

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"endpoint": Endpoint("10.0.0.1", 81)}, "air-02 has 10.0.0.1:81 for"),
            ({"weight": 7}, "the weight 7, not 100"),
            ({"up": False}, "air-02 sends nothing to 10.0.0.1:8080: it fails the router's check"),
            ({"maintenance": True}, "air-02 sends nothing to 10.0.0.1:8080"),
        ],
    )
    def test_one_that_has_it_otherwise(self, changes: dict[str, Any], reason: str) -> None:
        (line,) = self.changed(**changes)
        assert line.startswith("web on air-01: router: ")
        assert reason in line

    def test_one_that_has_what_etcd_does_not_know(self) -> None:
        stray = ActualServer("old", Endpoint("10.0.0.8", 80), 100)
        servers = {**SERVERS, "service-gone": {"old": stray}, "machines": {"x": stray}}
        assert differing(look(servers=servers)) == [
            "gone on air-02: router: air-02 sends requests to 10.0.0.8:80, which etcd does not know"
        ]
        leaving = {**SERVERS, "service-gone": {"old": replace(stray, maintenance=True)}}
        assert differing(look(servers=leaving)) == []

    def test_a_service_that_is_not_routed_has_no_such_hop_to_differ(self) -> None:
        machines = [replace(facts(name), servers={"service-web": SERVERS["service-web"]}) for name in NAMES]
        assert differing(looked(machines, {"/services/db/scheme": None})) == []


class TestDns:
    @pytest.mark.parametrize(
        ("answer", "told"),
        [((), "nothing"), (("10.9.9.9",), "10.9.9.9"), ((BRIDGE, "10.9.9.9"), f"{BRIDGE}, 10.9.9.9")],
    )
    def test_a_machine_that_resolves_a_name_otherwise(self, answer: tuple[str, ...], told: str) -> None:
        names = {**facts("air-02").names, "db.local": answer}
        assert f"db/{OLD}: dns: on air-02 db.local is {told}, not {BRIDGE}" in differing(look(names=names))

    def test_a_machine_whose_resolver_does_not_answer(self) -> None:
        lines = differing(look(names={"router.local": ()}))
        assert f"dns on air-02: dns: on air-02 router.local is nothing, not {BRIDGE}" in lines
        assert f"db/{OLD}: dns: air-02 has not answered for db.local" in lines

    def test_a_machine_without_a_bridge(self) -> None:
        assert any("not the bridge, which is not there" in line for line in differing(look(bridge="")))


class TestParsing:
    FACTS: Mapping[str, Any] = {
        "machine": "air-01",
        "release": "0.1.4",
        "release_image": IMAGE,
        "services": [{"name": "web", "unit": "active", "check": "passing", "release_digest": "sha256:web", "new": 1}],
        "containers": [{"Name": "/air-web"}],
        "bridge": BRIDGE,
        "router": {"servers": "1\n# be_id be_name srv_id srv_name\n"},
    }

    def parsed(self, facts: object, names: object) -> MachineFacts:
        text = f"{json.dumps(facts)}\n{json.dumps(names)}\n"
        return parse_facts(Machine("air-01", "10.0.0.1"), text, lambda entry: Labelled(entry["Name"], "web", "x"))

    def test_two_lines_make_the_facts(self) -> None:
        found = self.parsed(self.FACTS, {"names": {"web.local": [BRIDGE]}})
        assert (found.machine, found.address, found.release, found.image) == ("air-01", "10.0.0.1", "0.1.4", IMAGE)
        assert found.services["web"].release_digest == "sha256:web"
        assert found.labelled == (Labelled("/air-web", "web", "x"),)
        assert (found.router_reason, found.names) == ("", {"web.local": (BRIDGE,)})

    @pytest.mark.parametrize(
        ("router", "reason"),
        [
            ({}, "it reports nothing of its router"),
            ({"reason": "no socket"}, "no socket"),
            ({"servers": "?"}, "not HAProxy's servers state, version 1"),
        ],
    )
    def test_a_router_that_tells_nothing_is_a_reason(self, router: Any, reason: str) -> None:
        assert self.parsed({**self.FACTS, "router": router}, {"names": {}}).router_reason == reason

    @pytest.mark.parametrize(
        ("facts", "names"), [("no facts", {"names": {}}), ({}, {"names": {}}), ({"release": "1"}, {})]
    )
    def test_other_text_is_refused_in_one_line(self, facts: Any, names: Any) -> None:
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            self.parsed(facts, names)


def test_an_alarm_of_etcd_is_a_difference() -> None:
    chains = alarm_chains([Alarm("air-02", NOSPACE)])
    assert [(chain.machine, chain.differs, chain.words()["etcd"]) for chain in chains] == [
        ("air-02", "etcd", "differs")
    ]
    assert Verification("0.1.3", "", 7, tuple(chains)).to_json()["verified"] is False
    assert "NOSPACE" in str(chains[0])
