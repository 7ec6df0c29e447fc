"""The installer on a machine: killed at many moments, locked out of the registry, cut off its power."""

from __future__ import annotations

import json
import threading

import pytest
import yaml
from lab import Lab, docker, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow(8), pytest.mark.timeout(900)]

MACHINE = "bay-01"
KILL_AFTER_SECONDS = (0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 2.6, 3.3)


def on_machine(lab: Lab, *words: str, check: bool = True) -> str:
    return docker("exec", lab.container(MACHINE), *words, check=check)


def services(lab: Lab) -> dict[str, tuple[str, str, str]]:
    found = json.loads(on_machine(lab, "bay", "status", "--json"))["services"]
    return {each["name"]: (each["unit"], each["check"], each["digest"]) for each in found}


def container(lab: Lab, name: str) -> str:
    return on_machine(lab, "docker", "inspect", "--format", "{{.Id}}", f"bay-{name}")


def test_what_systemd_might_take_for_its_own_reaches_the_service_as_it_is(started: Lab) -> None:
    shown = on_machine(started, "docker", "inspect", "--format", "{{json .Config.Env}}", "bay-extra")
    text = yaml.safe_load((started.root / "invoke.yaml").read_text())["services"]["extra"]["env"]["TEXT"]
    assert f"TEXT={text}" in json.loads(shown)


def test_a_second_run_changes_nothing(started: Lab) -> None:
    before = {name: container(started, name) for name in services(started)}
    said = on_machine(started, "/opt/bay/bin/installer", "install")
    assert "units: all are as they should be" in said
    assert {name: container(started, name) for name in services(started)} == before


def test_killed_at_any_moment_and_run_again_it_ends_in_the_same_state(started: Lab) -> None:
    before = services(started)
    units = on_machine(started, "sh", "-c", "sha256sum /etc/systemd/system/bay-*")
    for seconds in KILL_AFTER_SECONDS:
        # So that there is something to do: an image, a unit and a container that lack.
        on_machine(
            started, "sh", "-c", "rm -f /etc/systemd/system/bay-extra.service; docker rm -f bay-extra bay-router"
        )
        on_machine(started, "systemctl", "restart", "--no-block", "bay-installer")
        threading.Event().wait(seconds)
        on_machine(started, "docker", "kill", "--signal", "KILL", "bay-installer", check=False)
    started.inv("cluster.follow-install", timeout=400)
    assert services(started) == before
    assert on_machine(started, "sh", "-c", "sha256sum /etc/systemd/system/bay-*") == units


def test_a_registry_that_refuses_the_password_fails_the_install_until_the_right_one_comes(started: Lab) -> None:
    login = "/etc/bay/secrets/registry/config.json"
    on_machine(started, "sed", "-i", """s/"auth": *"[^"]*"/"auth": "YmF5Ondyb25n"/""", login)
    on_machine(
        started, "sh", "-c", "systemctl stop bay-router; docker image rm -f $(docker image ls -q '*/bay/haproxy')"
    )
    on_machine(started, "systemctl", "restart", "--no-block", "bay-installer")
    last = started.refused(32, "cluster.follow-install")
    assert "does not let user bay in to pull haproxy" in last
    assert "wrong" not in last
    # Nobody knows where that one is from, so no upload replaces it.
    started.refused(11, "cluster.upload-secrets")
    on_machine(started, "rm", login)
    started.inv("cluster.upload-secrets", "cluster.follow-install", timeout=400)
    assert {check for _, check, _ in services(started).values()} == {"passing"}


def test_after_a_power_cut_the_machine_comes_back_by_itself(started: Lab) -> None:
    before = services(started)
    docker("kill", started.container(MACHINE))
    docker("start", started.container(MACHINE))
    started.inv("cluster.follow-install", timeout=400)
    eventually("the services run", lambda: services(started) == before)
