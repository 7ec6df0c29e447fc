"""What an operator may change in discovery: decided from keys, without an etcd."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from argosy.discovery.changes import (
    KeyChange,
    Registration,
    Target,
    parse_target,
    plan_deregister,
    plan_instance_drain,
    plan_machine_drain,
    plan_register,
)
from argosy.errors import ConfigError, Refused
from argosy.etcd.values import Entry
from argosy.routing.plan import plan_routing
from argosy.routing.values import RouterOptions
from argosy.schema import Problem, parse_directory

KEYS = {
    "/services/db/host_port": "5432",
    "/services/db/hosts/10.0.0.9:5432": "10.0.0.9:5432",
    "/services/db/scheme": "tcp",
    "/services/web/hosts/air-01:air-web": "10.0.0.1:8080",
    "/services/web/hosts/old": "10.0.0.7:80",
    "/services/web/scheme": "http",
    "/services/web/weight/old": "5",
}
MACHINES = {
    "/machines/air-01": json.dumps({"address": "10.0.0.1", "state": "active", "metadata": {"tier": "green"}}),
    "/machines/air-02": json.dumps({"address": "10.0.0.2", "state": "draining"}),
    "/machines/air-03": json.dumps({"address": "10.0.0.3", "state": "down"}),
    "/machines/air-04": "?",
}
DB = Registration("db2", "10.0.0.8:5432", scheme="tcp", host_port="5433")


def entries(keys: Mapping[str, str] = KEYS, lease: int = 0) -> list[Entry]:
    return [Entry(key, value, number, number, lease=lease) for number, (key, value) in enumerate(keys.items(), 1)]


def conflicts(listed: Sequence[Entry]) -> tuple[Problem, ...]:
    return plan_routing(parse_directory(listed), RouterOptions()).problems


def register(registration: Registration, keys: Mapping[str, str] = KEYS) -> KeyChange:
    return plan_register(registration, entries(keys), conflicts)


class TestRegister:
    def test_everything_that_is_said_is_put_plainly(self) -> None:
        said = Registration(
            "mail",
            " [2001:DB8::1]:25 ",
            id="old host",
            scheme="tcp",
            host_port="25 ",
            private=True,
            weight="7",
            check="http  /up  204,200",
        )
        assert register(said).put == {
            "/services/mail/scheme": "tcp",
            "/services/mail/hosts/old host": "[2001:db8::1]:25",
            "/services/mail/host_port": "25",
            "/services/mail/private": "true",
            "/services/mail/weight/old host": "7",
            "/services/mail/check": "http /up 200,204",
        }
        assert register(replace(DB, host_port="", sni="B.example,a.example")).put["/services/db2/sni"] == (
            "b.example a.example"
        )

    def test_what_is_not_said_is_left_alone_and_the_endpoint_is_the_id(self) -> None:
        change = register(Registration("web", "10.0.0.6:80"))
        assert change.put == {"/services/web/hosts/10.0.0.6:80": "10.0.0.6:80"}
        assert change.warnings == ()

    def test_a_second_time_there_is_nothing_to_do(self) -> None:
        change = register(DB, KEYS | dict(register(DB).put))
        assert change.nothing
        assert set(change.relied) == set(register(DB).put)

    def test_what_a_lease_would_take_away_is_put_for_good(self) -> None:
        key = "/services/web/hosts/10.0.0.6:80"
        change = plan_register(Registration("web", "10.0.0.6:80"), entries({key: "10.0.0.6:80"}, lease=9))
        assert dict(change.put) == {key: "10.0.0.6:80"}

    def test_a_service_that_will_not_be_routed_is_warned_of(self) -> None:
        change = register(Registration("new", "10.0.0.6:80"))
        assert change.warnings == ("/services/new/scheme: not set, so the service is not routed",)

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"service": "Web"}, "Web"),
            ({"service": ""}, "name"),
            ({"service": "a/b"}, "a/b"),
            ({"endpoint": "here:80"}, "endpoint"),
            ({"endpoint": "10.0.0.1"}, "endpoint"),
            ({"endpoint": "10.0.0.1:0"}, "endpoint"),
            ({"id": "a/b"}, "--id"),
            ({"id": "air-01:air-web"}, "--id"),
            ({"scheme": "ftp"}, "--scheme"),
            ({"host_port": "70000"}, "--host-port"),
            ({"sni": "*.example"}, "--sni"),
            ({"weight": "300"}, "--weight"),
            ({"check": "ping"}, "--check"),
        ],
    )
    def test_a_bad_word_is_one_line_that_names_it(self, change: dict[str, Any], path: str) -> None:
        with pytest.raises(ConfigError) as caught:
            register(replace(DB, **change))
        assert caught.value.path == path
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"host_port": "5432"}, "/services/db2/host_port: 5432 belongs to db, which claimed it first: nothing was"),
            ({"host_port": "80"}, "80 is the routers' own"),
            ({"scheme": "http", "sni": "a.example"}, "/services/db2/sni: not used: the scheme is http, not tcp"),
        ],
    )
    def test_what_no_router_would_use_is_refused(self, change: dict[str, Any], reason: str) -> None:
        with pytest.raises(Refused, match=reason):
            register(replace(DB, **change))

    def test_a_tls_name_that_another_service_has_is_refused(self) -> None:
        taken = {"/services/tls/scheme": "tcp", "/services/tls/sni": "a.example"}
        with pytest.raises(Refused, match=r"a\.example belongs to tls, which claimed it first"):
            register(replace(DB, host_port="", sni="b.example A.example"), KEYS | taken)

    def test_a_scheme_that_brings_an_old_claim_to_life_is_refused(self) -> None:
        sleeping = {"/services/db2/host_port": "5432"}
        with pytest.raises(Refused, match="5432 belongs to db"):
            register(replace(DB, host_port=""), KEYS | sleeping)

    def test_https_may_be_registered_before_tls_is_on(self) -> None:
        change = register(Registration("shop", "10.0.0.6:80", scheme="https"))
        assert change.put["/services/shop/scheme"] == "https"
        assert len(change.warnings) == 1
        assert "ssl_support is not true" in change.warnings[0]

    def test_conflicts_of_others_are_none_of_this_one(self) -> None:
        others = {f"/services/{name}/{key}": value for name in "xy" for key, value in TCP_7.items()}
        assert register(DB, KEYS | others).put


TCP_7 = {"scheme": "tcp", "host_port": "7", "hosts/a": "10.0.0.1:7"}


class TestDeregister:
    def test_an_instance_goes_with_its_weight_and_its_drain(self) -> None:
        keys = {**KEYS, "/services/web/drain/old": ""}
        change = plan_deregister("web", ["old"], entries(keys))
        assert change.delete == (
            "/services/web/hosts/old",
            "/services/web/weight/old",
            "/services/web/drain/old",
        )
        assert not change.prefix

    def test_a_whole_service_goes_with_all_its_keys(self) -> None:
        change = plan_deregister("db", [], entries())
        assert set(change.delete) == {key for key in KEYS if key.startswith("/services/db/")}
        assert change.prefix == "/services/db/"

    def test_a_service_whose_name_is_bad_can_be_deleted_too(self) -> None:
        assert plan_deregister("Bad Name", [], entries({"/services/Bad Name/scheme": "x"})).delete

    def test_what_is_gone_is_gone_and_a_nearer_name_is_offered(self) -> None:
        gone = plan_deregister("webb", [], entries())
        assert gone.nothing
        assert gone.warnings == ("there is no service webb (did you mean 'web'?)",)
        gone = plan_deregister("web", ["olt"], entries())
        assert gone.nothing
        assert gone.warnings == ("web has no instance olt (did you mean 'old'?)",)

    @pytest.mark.parametrize("ids", [["air-01:air-web"], ["old", "air-01:air-web"], []])
    def test_what_an_agent_registers_is_refused_unless_forced(self, ids: list[str]) -> None:
        with pytest.raises(Refused, match=r"agent of air-01 registers it.*inv discovery\.drain web/air-01:air-web"):
            plan_deregister("web", ids, entries())
        assert "/services/web/hosts/air-01:air-web" in plan_deregister("web", ids, entries(), force=True).delete

    @pytest.mark.parametrize(("service", "ids"), [("", []), ("a/b", []), ("web", [""]), ("web", ["a/b"])])
    def test_a_word_that_can_be_no_name_is_refused(self, service: str, ids: list[str]) -> None:
        with pytest.raises(ConfigError):
            plan_deregister(service, ids, entries())


class TestDrain:
    @pytest.mark.parametrize(
        ("word", "target"),
        [
            ("air-01", Target("air-01")),
            ("web/old", Target("web", "old")),
            ("web/air-01:air-web", Target("web", "air-01:air-web")),
        ],
    )
    def test_a_target_is_a_machine_or_an_instance(self, word: str, target: Target) -> None:
        assert parse_target(word) == target
        assert str(target) == word

    @pytest.mark.parametrize("word", ["", "/", "web/", "/old", "web/old/er"])
    def test_other_words_are_refused(self, word: str) -> None:
        with pytest.raises(ConfigError, match="neither a machine's name nor SERVICE/ID"):
            parse_target(word)

    def test_an_instance_is_drained_by_a_key_as_long_as_it_is_there(self) -> None:
        change = plan_instance_drain(Target("web", "old"), entries(), drain=True)
        assert dict(change.put) == {"/services/web/drain/old": "true"}
        assert change.relied == ("/services/web/hosts/old",)

    def test_a_drained_instance_stays_so(self) -> None:
        listed = entries(KEYS | {"/services/web/drain/old": ""})
        assert plan_instance_drain(Target("web", "old"), listed, drain=True).nothing
        assert plan_instance_drain(Target("web", "old"), listed, drain=False).delete == ("/services/web/drain/old",)
        assert plan_instance_drain(Target("web", "old"), entries(), drain=False).nothing

    def test_an_instance_that_is_gone_can_be_undrained_only(self) -> None:
        listed = entries({"/services/web/drain/gone": ""})
        assert plan_instance_drain(Target("web", "gone"), listed, drain=False).delete == ("/services/web/drain/gone",)
        with pytest.raises(Refused, match=r"there is no instance web/olt \(did you mean 'web/old'\?\)"):
            plan_instance_drain(Target("web", "olt"), entries(), drain=True)

    def test_a_machine_s_record_keeps_what_else_it_says(self) -> None:
        change = plan_machine_drain(Target("air-01"), "/machines/air-01", entries(MACHINES), drain=True)
        ((key, value),) = change.put.items()
        assert key == "/machines/air-01"
        assert json.loads(value) == {"address": "10.0.0.1", "state": "draining", "metadata": {"tier": "green"}}
        change = plan_machine_drain(Target("air-02"), "/machines/air-02", entries(MACHINES), drain=False)
        assert json.loads(change.put["/machines/air-02"])["state"] == "active"

    @pytest.mark.parametrize(("name", "drain"), [("air-01", False), ("air-02", True)])
    def test_a_machine_that_is_so_already_is_left_alone(self, name: str, drain: bool) -> None:
        assert plan_machine_drain(Target(name), f"/machines/{name}", entries(MACHINES), drain=drain).nothing

    @pytest.mark.parametrize("drain", [True, False])
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("air-0", r"no machine air-0 \(did you mean 'air-0\d'\?\); known: air-01, air-02, air-03, air-04"),
            ("air-03", "air-03 is down"),
            ("air-04", "/machines/air-04 is no JSON object: repair it first"),
        ],
    )
    def test_other_machines_are_refused(self, name: str, reason: str, drain: bool) -> None:
        with pytest.raises(Refused, match=reason):
            plan_machine_drain(Target(name), f"/machines/{name}", entries(MACHINES), drain=drain)


def test_a_change_prints_itself() -> None:
    change = KeyChange({"/services/w\udc80/scheme": "http"}, ("/services/x/sni",))
    assert [str(step) for step in change.steps()] == [
        "/services/w\\udc80/scheme: set to http",
        "/services/x/sni: delete",
    ]
