"""What `discovery.list` shows, made of keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from argosy.discovery.report import applied_revisions, discovery_report, instance_health, newest_revision, registered_by
from argosy.etcd.values import Entry
from argosy.model import Endpoint
from argosy.routing.changes import ActualServer
from argosy.routing.haproxy import server_name
from argosy.schema import Problem

KEYS = {
    "/config/services/ssl_support": "true",
    "/machines/air-01": json.dumps({"address": "10.0.0.1", "state": "active"}),
    "/machines/air-02": json.dumps({"address": "10.0.0.2", "state": "draining"}),
    "/machines/air-03": json.dumps({"address": "10.0.0.3", "state": "down"}),
    "/routers/air-01": "99",
    "/routers/balancer": "3",
    "/services/db/host_port": "5432",
    "/services/db/hosts/10.0.0.9:5432": "10.0.0.9:5432",
    "/services/db/scheme": "tcp",
    "/services/web/check": "http /health 200,204",
    "/services/web/drain/air-02:air-web": "",
    "/services/web/hosts/air-01:air-web": "10.0.0.1:8080",
    "/services/web/hosts/air-02:air-web": "10.0.0.2:8080",
    "/services/web/scheme": "http",
    "/services/web/weight/air-01:air-web": "50",
}
LEASED = ("/services/web/hosts/",)


def entries(keys: Mapping[str, str] = KEYS) -> list[Entry]:
    """Return an entry of each key; revisions count from 1 in the order of the keys."""
    return [
        Entry(key, value, number, number, lease=7 if key.startswith(LEASED) else 0)
        for number, (key, value) in enumerate(keys.items(), start=1)
    ]


def test_the_json_is_the_documented_one() -> None:
    shown = discovery_report(entries()).to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert list(shown) == ["revision", "services", "problems", "routers"]
    assert shown["revision"] == len(KEYS)
    assert shown["problems"] == []
    assert shown["services"][0] == {
        "name": "db",
        "scheme": "tcp",
        "host_port": 5432,
        "private": False,
        "sni": [],
        "check": "tcp",
        "instances": [
            {
                "id": "10.0.0.9:5432",
                "endpoint": "10.0.0.9:5432",
                "weight": 100,
                "draining": False,
                "registered_by": "by hand",
                "leased": False,
                "health": {},
            }
        ],
    }
    web = shown["services"][1]
    assert (web["check"], web["scheme"]) == ("http /health 200,204", "http")
    assert [
        (instance["registered_by"], instance["weight"], instance["draining"], instance["leased"])
        for instance in web["instances"]
    ] == [
        ("air-01", 50, False, True),
        ("air-02", 100, True, True),
    ]


def test_every_live_machine_has_a_line_for_its_router_and_so_has_who_else_tells_of_one() -> None:
    routers = discovery_report(entries()).to_json()["routers"]
    assert {name: (router["revision"], router["behind"]) for name, router in routers.items()} == {
        "air-01": (99, False),
        "air-02": (None, True),
        "balancer": (3, True),
    }


def test_the_tables_say_the_same() -> None:
    (_, services), (_, routers) = discovery_report(entries()).tables()
    assert services == [
        ["db", "tcp", "port 5432", "tcp", "10.0.0.9:5432", "10.0.0.9:5432", 100, "by hand", ""],
        ["web", "http", "name", "http /health 200,204", "air-01:air-web", "10.0.0.1:8080", 50, "air-01, leased", ""],
        ["", "", "", "", "air-02:air-web", "10.0.0.2:8080", 100, "air-02, leased", "draining"],
    ]
    assert routers == [
        ["air-01", 99, "up to date"],
        ["air-02", None, "reports nothing: its agent is not there"],
        ["balancer", 3, "behind: 15 is wanted"],
    ]


def test_what_routers_say_of_instances_stands_beside_them() -> None:
    report = discovery_report(entries())
    there = Endpoint("10.0.0.1", 8080)
    name = server_name("air-01:air-web", there)
    servers = {
        "air-01": {"service-web": {name: ActualServer(name, there, 50)}},
        "air-02": {"service-web": {name: ActualServer(name, there, 50, up=False)}},
        "air-03": {"service-web": {name: ActualServer(name, there, 50, maintenance=True)}},
    }
    shown = replace(report, health=instance_health(report.services, servers))
    first, second = shown.to_json()["services"][1]["instances"]
    assert first["health"] == {"air-01": "up", "air-02": "down", "air-03": "down"}
    assert set(second["health"].values()) == {"absent"}
    (_, rows), *_ = shown.tables()
    assert rows[1][-1] == "down on air-02, down on air-03, up on 1 of 3"
    assert rows[2][-1] == "draining, absent on air-01, absent on air-02, absent on air-03, up on 0 of 3"


@pytest.mark.parametrize(
    ("keys", "reached"),
    [
        ({"scheme": "https", "host_port": "9000"}, "name, port 9000"),
        ({"scheme": "http", "host_port": "9000", "private": ""}, "port 9000"),
        ({"scheme": "http", "private": ""}, "nothing"),
        ({"scheme": "tcp", "sni": "a.example, b.example"}, "TLS name a.example, TLS name b.example"),
        ({"scheme": "tcp"}, "nothing"),
        ({}, "nothing"),
    ],
)
def test_what_leads_to_a_service(keys: dict[str, str], reached: str) -> None:
    given = {f"/services/x/{name}": value for name, value in keys.items()}
    (_, services), *_ = discovery_report(entries({"/services/x/hosts/a": "10.0.0.1:1", **given})).tables()
    assert services[0][2] == reached


def test_only_the_chosen_services_and_their_problems_are_shown() -> None:
    found = [Problem("db", "/services/db/host_port", "taken"), Problem("web", "/services/web/sni", "taken")]
    report = discovery_report(entries(KEYS | {"/services/db/weight/x": "heavy"}), ["db"], found)
    assert [service.name for service in report.services] == ["db"]
    assert {problem.service for problem in report.problems} == {"db"}
    assert "/services/db/host_port: taken" in map(str, report.problems)


def test_a_service_without_instances_has_a_line() -> None:
    (_, services), *_ = discovery_report(entries({"/services/x/scheme": "http"})).tables()
    assert services == [["x", "http", "name", "tcp", "(none)", "", "", "", ""]]


def test_problems_of_the_data_and_of_routers_are_listed_whatever_they_hold() -> None:
    more = {
        "/services/bad \udc80/scheme": "http",
        "/services/x/scheme": "ftp",
        "/routers/air-01/problems": json.dumps([{"service": "x", "key": "certs/a.pem", "reason": "no key"}]),
        "/routers/balancer/problems": "?",
        "/routers/odd": "soon",
    }
    report = discovery_report(entries(KEYS | more))
    *_, (columns, problems) = report.tables()
    assert columns == ["on", "problem"]
    words = [f"{on} {problem}" for on, problem in problems]
    assert "air-01 certs/a.pem: no key" in words
    assert "balancer /routers/balancer/problems: not a JSON list of problems" in words
    assert "odd /routers/odd: not a revision" in words
    assert any("/services/x/scheme: 'ftp' is none of" in line for line in words)
    assert any("bad \\udc80" in line for line in words)
    "\n".join(words).encode()
    json.dumps(report.to_json())


@pytest.mark.parametrize("value", ["null", "7", '["x"]', '[{"service": "x"}]', "{"])
def test_no_value_of_a_router_breaks_the_report(value: str) -> None:
    report = discovery_report(entries(KEYS | {"/routers/air-01/problems": value}))
    assert report.to_json()["routers"]["air-01"]["problems"][-1]["reason"] == "not a JSON list of problems"


@pytest.mark.parametrize(
    ("instance", "machine"),
    [
        ("air-01:air-web", "air-01"),
        ("10.0.0.1:8080", ""),
        ("[::1]:80", ""),
        ("air-01", ""),
        ("air-01:", ""),
        (":web", ""),
        ("by hand: x", ""),
    ],
)
def test_who_registers_an_instance_is_told_by_its_id(instance: str, machine: str) -> None:
    assert registered_by(instance) == machine


def test_the_revision_that_routers_should_have_is_the_newest_they_follow() -> None:
    listed = [Entry("/machines/a", "{}", 1, 4), Entry("/services/x/scheme", "", 2, 6), Entry("/routers/a", "6", 1, 9)]
    assert newest_revision(listed) == 6
    assert newest_revision([]) == 0
    assert applied_revisions([*listed, Entry("/routers/b", "x", 1, 1), Entry("/routers/b/problems", "[]", 1, 1)]) == {
        "a": 6,
        "b": -1,
    }
