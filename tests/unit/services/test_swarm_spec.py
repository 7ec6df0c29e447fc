"""What Swarm is told of a generation: golden files, and what has to hold for any definition.

Write the golden files anew by: ARGOSY_UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/services/test_swarm_spec.py
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.config.loading import ScheduledSettings, Settings, load
from argosy.config.scheduled_rules import kept_apart, reserved_ports
from argosy.engine.swarm_model import NANOSECONDS
from argosy.schema.declared import parse_labels
from argosy.services.record import Generation, ServiceImage
from argosy.services.spec import (
    HELD,
    Routing,
    held_spec,
    instance_labels,
    render_spec,
    routing_of,
    service_labels,
    with_replicas,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "swarm"
IMAGE = ServiceImage("10.0.0.5:5000/air/web@sha256:" + "1" * 64, "0.1.3")
DEFINITIONS: dict[str, dict[str, Any]] = {
    "least": {"image": "web"},
    "web": {
        "image": "web",
        "replicas": 2,
        "constraints": ["tier=green", "rack!=r2", "machine=air-01"],
        "max_per_machine": 1,
        "spread": ["rack", "machine"],
        "memory_megabytes": 64,
        "cpus": 0.5,
        "reserve": {"memory_megabytes": 32, "cpus": 0.1},
        "env": {"GREETING": "hello {{ world }}", "EMPTY": ""},
        "secrets": ["database-password"],
        "volumes": [
            {"source": "data", "target": "/data"},
            {"source": "/var/lib/air/files/web", "target": "/run/files", "read_only": True},
        ],
        "entrypoint": ["/bin/web"],
        "command": ["--port", "8080"],
        "discovery": {"port": 8080, "scheme": "http", "host_port": 9000, "weight": 50},
        "check": {"http": {"port": 8080, "path": "/health", "status": [200, 204]}},
        "stop": {"signal": "INT", "grace_seconds": 30},
        "restart": {"condition": "on-failure", "delay_seconds": 0.5, "attempts": 3, "window_seconds": 60},
    },
    "everywhere": {
        "image": "web",
        "global": True,
        "ports": ["8081:81", "53:53/udp"],
        "discovery": {"port": 81, "scheme": "tcp", "sni": ["web.example", "w.example"]},
        "check": {"command": ["/bin/check", "--fast"], "timeout_seconds": 2},
        "update": {"order": "stop-first"},
    },
    "apart": {"image": "web", "conflicts": ["db"], "discovery": {"port": 80, "private": True}},
}


def settings() -> Settings:
    return load({"clusters": {"test": {}}}, root=Path("/nowhere"))


def generation(number: int = 7, **keys: Any) -> Generation:
    return Generation(number, ScheduledSettings.model_validate({"image": "web", **keys}), IMAGE)


def spec(number: int = 7, **keys: Any) -> dict[str, Any]:
    made = generation(number, **keys)
    return render_spec(settings(), "web", made, made.definition.count)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_generation_is_told_to_swarm_as_the_golden_file_says(name: str) -> None:
    path = GOLDEN / f"{name}.json"
    text = json.dumps(spec(**DEFINITIONS[name]), indent=2) + "\n"
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_scaling_changes_the_number_alone() -> None:
    scaled = with_replicas(spec(**DEFINITIONS["web"]), 8)
    assert scaled == {**spec(**DEFINITIONS["web"]), "Mode": {"Replicated": {"Replicas": 8}}}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_held_nothing_of_it_runs_and_nothing_else_differs(name: str) -> None:
    whole = spec(**DEFINITIONS[name])
    held = held_spec(whole)
    assert held["Labels"] == {**whole["Labels"], HELD: "true"}
    if "Global" in whole["Mode"]:
        constraints = held["TaskTemplate"]["Placement"].pop("Constraints")
        assert constraints == [*whole["TaskTemplate"]["Placement"]["Constraints"], "node.id == nowhere"]
        whole["TaskTemplate"]["Placement"].pop("Constraints")
    else:
        assert held["Mode"] == {"Replicated": {"Replicas": 0}}
        held["Mode"] = whole["Mode"]
    assert {**held, "Labels": whole["Labels"]} == whole


def test_a_generation_is_routed_to_as_its_labels_say() -> None:
    assert routing_of(settings(), "web", generation(**DEFINITIONS["web"])) == Routing(
        50, {"scheme": "http", "host_port": "9000", "check": "http /health 200,204"}
    )
    assert routing_of(settings(), "web", generation(**DEFINITIONS["least"])) == Routing()


def test_the_labels_that_find_a_service_are_on_it() -> None:
    labels = spec()["Labels"]
    for wanted in (service_labels("air"), service_labels("air", "web"), service_labels("air", "web", 7)):
        assert wanted.items() <= labels.items()
    assert not service_labels("air", "web", 8).items() <= labels.items()


def published(name: str, other: str, number: int) -> set[int]:
    return set(reserved_ports(name, other, number))


@given(st.lists(st.from_regex(r"\A[a-z][a-z0-9-]{0,8}[a-z]\Z"), min_size=2, max_size=2, unique=True), st.data())
def test_two_services_that_conflict_share_a_port_and_two_generations_of_one_do_not(
    names: list[str], data: st.DataObject
) -> None:
    one, other = names
    number, its = (data.draw(st.integers(min_value=1, max_value=1000)) for _ in range(2))
    assert published(one, other, number) & published(other, one, its)
    assert not published(one, other, number) & published(one, other, number + 1)
    assert published(one, other, number) == published(one, other, number + 2)
    assert all(21000 <= port < 25000 for port in published(one, other, number))


def test_a_conflict_is_said_by_both() -> None:
    found = {name: ScheduledSettings.model_validate({"image": "web", **keys}) for name, keys in KEYS.items()}
    assert {name: settings.conflicts for name, settings in kept_apart(found).items()} == {
        "a": ["b", "c"],
        "b": ["a"],
        "c": ["a"],
        "d": [],
    }


KEYS: dict[str, dict[str, Any]] = {"a": {"conflicts": ["b"]}, "b": {}, "c": {"conflicts": ["a"]}, "d": {}}

# Any definition

LINE = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
SMALL = st.integers(min_value=0, max_value=500)
DISCOVERY = st.fixed_dictionaries(
    {"port": st.integers(1, 65535)},
    optional={"scheme": st.sampled_from(["", "http", "https", "tcp"]), "weight": st.integers(0, 256)},
)
ANY = st.fixed_dictionaries(
    {"image": st.sampled_from(["web", "nginx:1.27", "a.example:5000/b/c@sha256:" + "2" * 64])},
    optional={
        "replicas": SMALL,
        "constraints": st.lists(st.sampled_from(["tier=green", "rack!=r1", "machine!=air-02"]), unique=True),
        "max_per_machine": st.integers(0, 9),
        "spread": st.lists(st.sampled_from(["rack", "zone"]), unique=True),
        "memory_megabytes": st.integers(600, 10000),
        "reserve": st.fixed_dictionaries({}, optional={"memory_megabytes": SMALL, "cpus": st.floats(0.001, 8)}),
        "env": st.dictionaries(st.from_regex(r"\A[A-Z_]{1,8}\Z"), LINE, max_size=4),
        "secrets": st.lists(st.from_regex(r"\A[a-z][a-z.-]{0,8}\Z"), unique=True, max_size=3),
        "command": st.lists(LINE, max_size=3),
        "discovery": DISCOVERY,
        "stop": st.fixed_dictionaries({"signal": st.sampled_from(["TERM", "RTMIN+3"]), "grace_seconds": SMALL}),
    },
)


@given(ANY, st.integers(1, 10**6))
def test_what_matters_of_any_definition_can_be_read_back(keys: dict[str, Any], number: int) -> None:
    entry = ScheduledSettings.model_validate(keys)
    made = Generation(number, entry, IMAGE)
    found = json.loads(json.dumps(render_spec(settings(), "web", made, entry.count)))
    task, container = found["TaskTemplate"], found["TaskTemplate"]["ContainerSpec"]
    assert found["Mode"] == {"Replicated": {"Replicas": keys.get("replicas", 1)}}
    assert re.fullmatch(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*", found["Name"])
    assert len(found["Name"]) <= 63
    environment = dict(line.split("=", 1) for line in container["Env"])
    for name, value in entry.env.items():
        assert rendered(environment[name]) == value
    assert container.get("Args", []) == entry.command
    assert container["StopGracePeriod"] == entry.stop.grace_seconds * NANOSECONDS
    assert [mount["Source"].rpartition("/")[2] for mount in container["Mounts"]] == entry.secrets
    assert len(task["Placement"]["Constraints"]) == len(entry.constraints)
    assert task["Resources"]["Limits"].get("MemoryBytes", 0) == entry.memory_megabytes << 20
    assert all(port["PublishMode"] == "host" for port in found["EndpointSpec"]["Ports"])
    if entry.discovery:
        assert [port["TargetPort"] for port in found["EndpointSpec"]["Ports"]] == [entry.discovery.port]


def rendered(text: str) -> str:
    """Do what a template engine does with the one construct that we write."""
    assert "{{" not in text.replace('{{"{{"}}', "")
    return text.replace('{{"{{"}}', "{{")


@given(ANY)
def test_the_agent_understands_the_labels_of_any_definition(keys: dict[str, Any]) -> None:
    entry = ScheduledSettings.model_validate(keys)
    declared, problems = parse_labels("web", instance_labels(settings(), "web", Generation(7, entry, IMAGE)))
    if entry.discovery is None:
        return
    assert problems == ()
    assert declared
    assert (declared.service, declared.port) == ("web", entry.discovery.port)
    assert (declared.attributes or {}).get("scheme", "") == entry.discovery.scheme
