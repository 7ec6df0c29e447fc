from __future__ import annotations

from typing import Any

import pytest

from argosy.config.loading import ScheduledSettings, Settings, load
from argosy.errors import ConfigError

IMAGES = {"web": {"context": "web"}, "base": {"context": "base", "push": False}}
FOUND = {"port": 80, "scheme": "http"}


def settings(scheduled: dict[str, Any], **more: Any) -> Settings:
    return load({"images": IMAGES, "scheduled": scheduled, "clusters": {"here": {}}, **more})


def defined(**keys: Any) -> ScheduledSettings:
    return settings({"web": {"image": "web", **keys}}).scheduled["web"]


def refused(scheduled: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(scheduled, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_service_has_one_instance_unless_more_or_one_everywhere_are_wanted() -> None:
    assert defined().count == 1
    assert defined(replicas=0).count == 0
    assert defined(replicas=4).count == 4
    assert defined(**{"global": True}).count is None


@pytest.mark.parametrize(
    ("reference", "own"),
    [
        ("web", True),
        ("nginx:1.27", False),
        ("library/nginx", False),
        ("registry.example:5000/team/web:1", False),
        ("nginx@sha256:" + "a" * 64, False),
        ("localhost:5000/web:1@sha256:" + "a" * 64, False),
    ],
)
def test_an_image_is_one_of_ours_or_a_full_reference(reference: str, own: bool) -> None:
    assert defined(image=reference).own_image is own


@pytest.mark.parametrize("reference", ["", "-x", "http://x/y", "a b", "nginx:", "/web", "web/", "$(id)", "a@b@", "a\n"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    assert refused({"web": {"image": reference}}).startswith("scheduled.web.image: ")


def test_fixed_ports_are_read_as_the_machine_s_and_the_container_s() -> None:
    found = defined(ports=["8081:81", "5353:53/udp"], update={"order": "stop-first"})
    assert found.fixed_ports == [(8081, 81, "tcp"), (5353, 53, "udp")]


def test_constraints_are_read() -> None:
    found = defined(constraints=["tier=green", "rack!=r2", "machine=air-01"]).placed_by
    assert [(constraint.key, constraint.equal, constraint.value) for constraint in found] == [
        ("tier", True, "green"),
        ("rack", False, "r2"),
        ("machine", True, "air-01"),
    ]


FIXED = {"ports": ["8081:81"], "update": {"order": "stop-first"}}


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"global": True, "replicas": 2}, "replicas"),
        ({"global": True, "max_per_machine": 2}, "max_per_machine"),
        ({"global": True, "spread": ["rack"]}, "spread"),
        ({"spread": ["rack", "rack"]}, "spread"),
        ({"constraints": ["tier=green", "tier=blue"]}, "constraints"),
        ({"constraints": ["tier!=green", "tier=green"]}, "constraints"),
        ({"constraints": ["tier==green"]}, "constraints.0"),
        ({"constraints": ["tier>1"]}, "constraints.0"),
        ({"ports": ["8081:81"]}, "update.order"),
        ({**FIXED, "max_per_machine": 2}, "max_per_machine"),
        ({**FIXED, "ports": ["8081:81", "8081:82"]}, "ports"),
        ({**FIXED, "ports": ["0:81"]}, "ports"),
        ({**FIXED, "ports": ["80:65536"]}, "ports"),
        ({"update": {"order": "stop-first", "canary": "10%"}, "discovery": FOUND}, "update.canary"),
        ({"update": {"canary": "10%"}}, "update.canary"),
        ({"update": {"canary": "100%"}}, "update.canary"),
        ({"update": {"soak_seconds": 5}, "discovery": FOUND}, "update.soak_seconds"),
        ({"check": {"http": {"port": 80}}}, "check.http"),
        ({"check": {"tcp": {"port": 81}}, "discovery": FOUND}, "check.tcp.port"),
        ({"cpus": 1, "reserve": {"cpus": 2}}, "reserve.cpus"),
        ({"memory_megabytes": 64, "reserve": {"memory_megabytes": 65}}, "reserve.memory_megabytes"),
        ({"conflicts": ["web"]}, "conflicts"),
        ({"conflicts": ["other"]}, "conflicts"),
        ({"secrets": ["a", "a"]}, "secrets"),
        ({"secrets": ["a"], "volumes": [{"source": "v", "target": "/run/secrets/a"}]}, "volumes"),
        ({"replica": 1}, "replica"),
        ({"image": "wbe"}, "image"),
        ({"image": "base"}, "image"),
    ],
)
def test_each_contradiction_is_refused_with_its_path(keys: dict[str, Any], path: str) -> None:
    assert refused({"web": {"image": "web", **keys}}).startswith(f"scheduled.web.{path}: ")


def test_the_path_names_the_cluster_whose_section_it_stands_in() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"clusters": {"here": {"images": IMAGES, "scheduled": {"web": {"image": "web", "ports": ["1:1"]}}}}})
    assert str(caught.value).startswith("clusters.here.scheduled.web.update.order: ")


def test_the_nearest_key_is_hinted_at_by_the_name_that_one_writes() -> None:
    assert "did you mean 'global'?" in refused({"web": {"image": "web", "gobal": True}})


def test_a_conflict_keeps_to_one_instance_on_each_machine() -> None:
    found = {"web": {"image": "web", "conflicts": ["db"], "max_per_machine": 2}, "db": {"image": "web"}}
    assert refused(found).startswith("scheduled.web.max_per_machine: ")


def test_a_name_is_no_system_service_s() -> None:
    assert refused({"web": {"image": "web"}}, services={"web": {"image": "web"}}).startswith("scheduled.web: ")
    assert refused({"agent": {"image": "web"}}).startswith("scheduled.agent: ")


def test_a_name_that_is_too_long_for_swarm_is_refused() -> None:
    assert "at most" in refused({"w" * 53: {"image": "web"}})
    assert settings({"w" * 52: {"image": "web"}}).scheduled


def test_without_discovery_or_swarm_a_service_that_needs_them_is_refused() -> None:
    off = {"enabled": False}
    assert refused({"web": {"image": "web", "discovery": FOUND}}, discovery=off).startswith("scheduled.web.discovery: ")
    assert refused({"web": {"image": "web"}}, swarm=off).startswith("scheduled: ")


def test_a_conflict_that_the_other_says_keeps_to_one_instance_on_each_machine_too() -> None:
    found = {"web": {"image": "web", "max_per_machine": 2}, "db": {"image": "web", "conflicts": ["web"]}}
    assert refused(found).startswith("scheduled.web.max_per_machine: a conflict (with db)")
