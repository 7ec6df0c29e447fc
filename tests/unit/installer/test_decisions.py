"""What the installer decides from what it sees."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from installer_examples import machine, write_json, write_release

from argosy_installer import record, release, settings, status, systemd, units
from argosy_installer.docker import credentials
from argosy_installer.errors import Failed
from argosy_installer.machine import read_json
from argosy_installer.observing import Observed
from argosy_installer.pulling import FREE_BYTES_NEEDED, LONGEST_DELAY_SECONDS, Layers, delay_seconds
from argosy_installer.release import Service, load, load_own
from argosy_installer.starting import is_current, must_restart, start_seconds
from argosy_installer.systemd import UnitState

RUNNING = UnitState("active", "running", enabled=True)


def service(tmp_path: Path) -> Service:
    return load(write_release(tmp_path / "release", {"web": {"image": "web"}}), "air-01").services[0]


def container(revision: str, running: bool = True) -> dict[str, Any]:
    labels = {"argosy.revision": revision, "argosy.version": "0.1.3"}
    return {
        "State": {"Running": running, "StartedAt": "2026-01-01T00:00:00Z"},
        "Config": {"Labels": labels, "Image": "host:5000/air/web@sha256:11"},
    }


# The release


def test_a_release_of_the_machine_s_own_cluster_is_taken(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write_release(here.release, {"web": {"image": "web"}})
    assert load_own(here).cluster == "test"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"cluster": "staging"}, "of the cluster staging of air, and this machine of the cluster test of air"),
        ({"system": "sea"}, "of the cluster test of sea, and this machine of the cluster test of air"),
        ({"cluster": ""}, "of the cluster nobody of air"),
    ],
)
def test_a_release_of_another_cluster_or_system_is_refused(tmp_path: Path, other: dict[str, str], said: str) -> None:
    here = machine(tmp_path)
    write_release(here.release, {"web": {"image": "web"}})
    document = read_json(here.release / "release.json")
    write_json(here.release / "release.json", {**document, **other})
    with pytest.raises(Failed, match=said):
        load_own(here)


def test_the_installer_reads_what_the_library_renders(tmp_path: Path) -> None:
    services: dict[str, dict[str, Any]] = {
        "web": {
            "image": "web",
            "requires": ["worker"],
            "ports": ["80:80"],
            "check": {"http": {"port": 80, "status": [200, 204]}, "deadline_seconds": 7},
            "console": ["python3", "-i"],
        },
        "worker": {"image": "worker", "check": {"command": ["test", "-e", "/ready"]}},
        "plain": {"image": "worker"},
    }
    release = load(write_release(tmp_path, services), "air-01")
    assert [each.name for each in release.services] == ["worker", "web", "plain"]
    web = release.services[1]
    assert (web.unit, web.requires, web.console) == ("air-web.service", ("worker",), ("python3", "-i"))
    assert (web.check.kind, web.check.status, web.check.deadline_seconds) == ("http", (200, 204), 7)
    assert release.services[0].check.command == ("test", "-e", "/ready")
    assert release.services[2].check.kind == "none"
    assert set(release.units) == {"air-web.service", "air-worker.service", "air-plain.service"}
    assert all(text.startswith(release.marker + "\n") for text in release.units.values())
    assert f"argosy.revision={web.revision}" in release.units["air-web.service"]


# Whether to restart


def test_what_runs_as_the_unit_says_is_left_alone(tmp_path: Path) -> None:
    web = service(tmp_path)
    seen = Observed(RUNNING, container(web.revision))
    assert is_current(web, seen)
    assert not must_restart(web, seen, changed=False)


@pytest.mark.parametrize("state", [RUNNING, UnitState("activating", "start-pre")])
def test_a_service_that_systemd_is_just_starting_is_left_to_it(tmp_path: Path, state: UnitState) -> None:
    assert not must_restart(service(tmp_path), Observed(state, None), changed=False)


@pytest.mark.parametrize(
    ("state", "revision", "changed"),
    [
        (UnitState("inactive", "dead"), "", False),
        (UnitState("failed", "failed"), "", False),
        (RUNNING, "of another release", False),
        (RUNNING, "", True),
    ],
)
def test_a_service_is_restarted_when_it_is_down_or_other(
    tmp_path: Path, state: UnitState, revision: str, changed: bool
) -> None:
    web = service(tmp_path)
    seen = Observed(state, container(revision) if revision else None)
    assert must_restart(web, seen, changed)
    assert not is_current(web, seen)


@pytest.mark.parametrize(("deadline", "seconds"), [(60, 120), (900.5, 901)])
def test_a_slow_machine_s_containers_have_as_long_to_start_as_to_pass(
    tmp_path: Path, deadline: float, seconds: int
) -> None:
    """For systemd, which starts them, and for the installer, which waits for it."""
    check = {"tcp": {"port": 80}, "deadline_seconds": deadline}
    release = load(write_release(tmp_path / "release", {"web": {"image": "web", "check": check}}), "air-01")
    assert f"TimeoutStartSec={seconds}\n" in release.units["air-web.service"]
    web = release.services[0]
    assert start_seconds(web, stops=False) == max(120, deadline)
    assert start_seconds(web, stops=True) == max(120, deadline) + web.grace_seconds


# systemd


def test_the_states_of_units_are_read_from_systemctl_show() -> None:
    output = (
        "Id=air-web.service\nActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled\n"
        "NeedDaemonReload=yes\nNRestarts=3\n\nId=air-gone.service\nActiveState=inactive\nSubState=dead\n"
        "UnitFileState=\nNeedDaemonReload=no\n"
    )
    found = systemd.parse_states(output)
    assert found["air-web.service"] == UnitState("activating", "auto-restart", True, True, 3)
    assert found["air-gone.service"] == UnitState("inactive", "dead")
    assert str(found["air-web.service"]) == "its unit is activating (auto-restart, restarted 3 times)"


# Docker


def test_the_password_is_found_and_never_shown() -> None:
    config = {"auths": {"host:5000": {"auth": "dXNlcjpwYXNzOndvcmQ="}}}
    found = credentials(config, "host:5000")
    assert found
    assert (found.user, found.password) == ("user", "pass:word")
    assert "pass:word" not in repr(found)


@pytest.mark.parametrize("config", [{}, {"auths": {}}, {"auths": {"host:5000": {"auth": "%"}}}, {"auths": None}])
def test_no_password_is_none(config: dict[str, Any]) -> None:
    assert credentials(config, "host:5000") is None


# Pulling


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1), (2, 2), (5, 16), (8, LONGEST_DELAY_SECONDS)])
def test_the_delay_doubles_up_to_a_limit_and_is_spread(attempt: int, longest: float) -> None:
    assert delay_seconds(attempt, jitter=0) == longest / 2
    assert delay_seconds(attempt, jitter=1) == longest


def test_what_a_pull_needs_is_known_from_its_progress() -> None:
    layers = Layers()
    assert layers.bytes_needed() == FREE_BYTES_NEEDED
    for current in (1, 500):
        layers.note({"status": "Downloading", "id": "a", "progressDetail": {"current": current, "total": 1000}})
    layers.note({"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 1000}})
    layers.note({"status": "Pull complete", "id": "a", "progressDetail": {}})
    assert layers.bytes_needed() == FREE_BYTES_NEEDED + 3000


# Settings


def test_secret_settings_lie_over_the_others(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write_json(here.config / "settings.json", {"a": "1", "b": "2"})
    write_json(here.secrets / "settings.json", {"b": "secret"})
    assert settings.wanted(here) == {"/settings/a": "1", "/settings/b": "secret"}


def test_a_setting_that_is_no_text_is_a_failure_without_its_value(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write_json(here.secrets / "settings.json", {"key": ["hunter2"]})
    with pytest.raises(Failed, match="the value of key is no text") as caught:
        settings.wanted(here)
    assert "hunter2" not in str(caught.value)


# The record in etcd


@pytest.mark.parametrize("present", ["", "no json", "[]"])
def test_a_machine_without_a_record_becomes_active(tmp_path: Path, present: str) -> None:
    assert record.merged(present, machine(tmp_path), {"tier": "green"}) == {
        "address": "192.168.55.101",
        "role": "member",
        "release": "0.1.3",
        "state": "active",
        "metadata": {"tier": "green"},
    }


def test_what_others_recorded_stays_and_draining_goes_on(tmp_path: Path) -> None:
    present = {"state": "draining", "release": "0.1.2", "since": "yesterday", "metadata": {"rack": "7", "tier": "blue"}}
    merged = record.merged(json.dumps(present), machine(tmp_path), {"tier": "green"})
    assert (merged["state"], merged["release"], merged["since"]) == ("draining", "0.1.3", "yesterday")
    assert merged["metadata"] == {"rack": "7", "tier": "green"}


def test_the_words_of_shells_and_consoles_are_those_of_the_release(tmp_path: Path) -> None:
    here = machine(tmp_path)
    services: dict[str, dict[str, Any]] = {
        "web": {"image": "web", "console": ["python3", "-c", "a b"]},
        "worker": {"image": "web"},
    }
    here.state.mkdir(parents=True)
    (here.state / "services").mkdir()
    (here.state / "services/gone.console").write_text("x\n")
    record.write_service_words(here, load(write_release(tmp_path / "release", services), "air-01"))
    found = {path.name: path.read_text() for path in (here.state / "services").iterdir()}
    assert found == {"web.shell": "/bin/sh\n", "web.console": "python3\n-c\na b\n", "worker.shell": "/bin/sh\n"}


# The status


def test_a_machine_waits_until_its_secrets_are_complete(tmp_path: Path) -> None:
    here = machine(tmp_path)
    here.secrets.mkdir(parents=True)
    (here.config / "required-secrets").write_text("ca.crt\nregistry/config.json\n")
    assert status.missing_secrets(here) == ["ca.crt", "registry/config.json"]
    assert status.state(here, ["ca.crt"]) == "waiting"
    (here.secrets / "ca.crt").touch()
    write_json(here.secrets / "registry/config.json", {})
    assert status.missing_secrets(here) == []
    assert status.state(here, []) == "waiting"
    (here.secrets / ".complete").touch()
    assert status.state(here, []) == "installing"


@pytest.mark.parametrize(
    ("version", "state", "said"),
    [("0.1.3", "active", "active"), ("0.1.3", "failed", "failed"), ("0.1.2", "active", "installing")],
)
def test_the_state_is_what_the_installer_of_this_release_recorded(
    tmp_path: Path, version: str, state: str, said: str
) -> None:
    here = machine(tmp_path)
    here.secrets.mkdir(parents=True)
    (here.secrets / ".complete").touch()
    write_json(here.install_record, {"state": state, "release": version})
    assert status.state(here, []) == said


def test_the_release_is_written_down_as_it_is_read(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write_release(here.release, {"web": {"image": "web", "check": {"http": {"port": 80}}}, "api": {"image": "web"}})
    here.state.mkdir(parents=True)
    found = release.load(here.release, "air-01")
    record.write_release(here, found)
    written = read_json(here.state / "release.json")
    assert written["version"] == here.version
    assert release.parse(written["release"], written["units"], {}, "air-01") == found


def test_units_that_are_not_as_the_release_has_them_are_told(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write_release(here.release, {"web": {"image": "web"}, "api": {"image": "web"}})
    found = release.load(here.release, "air-01")
    here.units.mkdir(parents=True)
    for name, text in found.units.items():
        (here.units / name).write_text(text)
    assert status.drifted(units.present_units(here.units, "air"), found) == []
    (here.units / "air-web.service").write_text(found.units["air-web.service"] + "# by hand\n")
    (here.units / "air-old.service").write_text(found.marker + "\n")
    (here.units / "air-api.service").unlink()
    present = units.present_units(here.units, "air")
    assert status.drifted(present, found) == ["air-api.service", "air-old.service", "air-web.service"]


def test_what_the_units_are_is_written_down_as_sha256sum_checks_it(tmp_path: Path) -> None:
    here = machine(tmp_path)
    write_release(here.release, {"web": {"image": "web"}, "api": {"image": "web"}})
    found = release.load(here.release, "air-01")
    for folder in (here.units, here.state):
        folder.mkdir(parents=True)
    for name, text in found.units.items():
        (here.units / name).write_text(text)
    record.write_unit_digests(here, found)
    checked = subprocess.run(
        ["sha256sum", "--check", here.state / "units.sha256"],
        cwd=here.units,
        capture_output=True,
        text=True,
        check=True,
    )
    assert checked.stdout == "air-api.service: OK\nair-web.service: OK\n"


def test_a_machine_has_only_its_own_services_and_requires_no_other(tmp_path: Path) -> None:
    services: dict[str, Any] = {
        "web": {"image": "web", "requires": ["db"]},
        "db": {"image": "web", "machines": ["air-01"]},
    }
    folder = write_release(tmp_path / "release", services)
    first, second = load(folder, "air-01"), load(folder, "air-02")
    assert [(service.name, service.requires) for service in first.services] == [("db", ()), ("web", ("db",))]
    assert [(service.name, service.requires) for service in second.services] == [("web", ())]
    assert set(first.units) == {"air-db.service", "air-web.service"}
    assert set(second.units) == {"air-web.service"}
    assert (first.elsewhere, second.elsewhere) == ((), ("db",))
