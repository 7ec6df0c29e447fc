"""The installer on a real machine: killed at many moments, locked out of the registry, cut off its power."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from lab import Lab, docker, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

MACHINE = "sea-01"
TEXT = """it's "5 %h" of $HOME, ${REGISTRY}; \\ #1"""
KILL_AFTER_SECONDS = (0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 2.6, 3.3)


def with_another_service(document: dict[str, Any]) -> None:
    document["services"]["extra"] = {
        "image": "frontend",
        "env": {"PORT": "9000", "TEXT": TEXT},
        "check": {"tcp": {"port": 9000}},
        "requires": ["frontend"],
    }


@pytest.fixture(scope="module")
def lab(solo: Lab) -> Lab:
    solo.configure(with_another_service)
    solo.inv("local.start", "1", timeout=600)
    return solo


def on_machine(lab: Lab, *words: str, check: bool = True) -> str:
    return docker("exec", lab.container(MACHINE), *words, check=check)


def services(lab: Lab) -> dict[str, tuple[str, str, str]]:
    found = json.loads(on_machine(lab, "sea", "status", "--json"))["services"]
    return {each["name"]: (each["unit"], each["check"], each["digest"]) for each in found}


def container(lab: Lab, name: str) -> str:
    return on_machine(lab, "docker", "inspect", "--format", "{{.Id}}", f"sea-{name}")


def test_what_systemd_might_take_for_its_own_reaches_the_service_as_it_is(lab: Lab) -> None:
    shown = on_machine(lab, "docker", "inspect", "--format", "{{json .Config.Env}}", "sea-extra")
    assert f"TEXT={TEXT}" in json.loads(shown)


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    before = {name: container(lab, name) for name in services(lab)}
    said = on_machine(lab, "/opt/sea/bin/installer", "install")
    assert "units: all are as they should be" in said
    assert {name: container(lab, name) for name in services(lab)} == before


def test_killed_at_any_moment_and_run_again_it_ends_in_the_same_state(lab: Lab) -> None:
    before = services(lab)
    units = on_machine(lab, "sh", "-c", "sha256sum /etc/systemd/system/sea-*")
    for seconds in KILL_AFTER_SECONDS:
        # So that there is something to do: an image, a unit and a container that lack.
        on_machine(lab, "sh", "-c", "rm -f /etc/systemd/system/sea-extra.service; docker rm -f sea-extra sea-router")
        on_machine(lab, "systemctl", "restart", "--no-block", "sea-installer")
        threading.Event().wait(seconds)
        on_machine(lab, "docker", "kill", "--signal", "KILL", "sea-installer", check=False)
    lab.inv("cluster.follow-install", timeout=400)
    assert services(lab) == before
    assert on_machine(lab, "sh", "-c", "sha256sum /etc/systemd/system/sea-*") == units


def test_a_registry_that_refuses_the_password_fails_the_install_until_the_right_one_comes(lab: Lab) -> None:
    login = "/etc/sea/secrets/registry/config.json"
    on_machine(lab, "sed", "-i", """s/"auth": *"[^"]*"/"auth": "c2VhOndyb25n"/""", login)
    on_machine(lab, "sh", "-c", "systemctl stop sea-router; docker image rm -f $(docker image ls -q '*/sea/haproxy')")
    on_machine(lab, "systemctl", "restart", "--no-block", "sea-installer")
    last = lab.refused(32, "cluster.follow-install")
    assert "does not let user sea in to pull haproxy" in last
    assert "wrong" not in last
    lab.inv("cluster.upload-secrets", "cluster.follow-install", timeout=400)
    assert {check for _, check, _ in services(lab).values()} == {"passing"}


def test_after_a_power_cut_the_machine_comes_back_by_itself(lab: Lab) -> None:
    before = services(lab)
    docker("kill", lab.container(MACHINE))
    docker("start", lab.container(MACHINE))
    lab.inv("cluster.follow-install", timeout=400)
    eventually("the services run", lambda: services(lab) == before)
