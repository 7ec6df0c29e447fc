"""A cluster of one machine, from a release that does not work to one that does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, docker, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow(8), pytest.mark.timeout(900)]

MACHINE = "bay-01"


def never_passing(document: dict[str, Any]) -> None:
    check = document["services"]["frontend"]["check"]
    check["http"]["path"] = "/no-such-page"
    check["deadline_seconds"] = 5


def passing(document: dict[str, Any]) -> None:
    check = document["services"]["frontend"]["check"]
    check["http"]["path"] = "/health"
    check["deadline_seconds"] = 60


def test_a_service_whose_check_never_passes_fails_the_install_with_its_last_lines(solo: Lab) -> None:
    solo.configure(never_passing)
    done = solo.inv("local.start", "1", check=False, timeout=600)
    assert done.returncode == 32, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert MACHINE in last
    assert "frontend" in last
    assert "404" in last
    assert "GET /no-such-page" in done.stderr or "/no-such-page" in done.stderr


def test_once_mended_the_same_command_goes_on(solo: Lab) -> None:
    solo.configure(passing)
    solo.inv("local.start", "1", timeout=600)
    observed = solo.json("cluster.status")
    (machine,) = observed["machines"]
    assert machine["state"] == "active"
    assert solo.ask("/")[0]["x-argosy-machine"] == MACHINE


def test_a_killed_installer_run_again_ends_in_the_same_state(solo: Lab) -> None:
    before = json.loads(solo.run(MACHINE, "bay status --json"))
    docker("exec", solo.container(MACHINE), "systemctl", "restart", "--no-block", "bay-installer")
    inside = ["exec", solo.container(MACHINE), "docker"]
    eventually("the installer runs", lambda: "bay-installer" in docker(*inside, "ps", "--format", "{{.Names}}"))
    docker(*inside, "kill", "--signal", "KILL", "bay-installer")
    eventually(
        "systemd has run it again",
        lambda: solo.inv("cluster.follow-install", check=False).returncode == 0,
    )
    after = json.loads(solo.run(MACHINE, "bay status --json"))
    assert after == before


def test_a_missing_secret_is_named_on_the_machine_and_here(solo: Lab) -> None:
    path = solo.root / "secrets" / solo.cluster / "database-password"
    kept = path.rename(path.with_suffix(".kept"))
    solo.configure(lambda document: document["secrets"]["database-password"].pop("generate_bytes"))
    assert str(path) in solo.refused(10, "cluster.upload-secrets")
    kept.rename(path)
    folder = Path("/etc/bay/secrets")
    docker("exec", solo.container(MACHINE), "sh", "-c", f"rm {folder}/database-password; touch {folder}/.complete")
    docker("exec", solo.container(MACHINE), "sh", "-c", "systemctl restart bay-secrets || true")
    done = solo.inv("cluster.status", check=False)
    assert done.returncode == 32
    assert "database-password" in done.stdout + done.stderr
    assert "database-password" in solo.run(MACHINE, "journalctl -u bay-secrets --no-pager -n 20")
    solo.inv("cluster.upload-secrets", "cluster.follow-install")
    eventually("all is well again", lambda: solo.inv("cluster.status", check=False).returncode == 0)


def test_a_full_disk_on_a_machine_is_said_in_one_line(solo: Lab) -> None:
    machine = solo.container(MACHINE)
    # Where the engine inside the machine puts what it downloads: as if its disk were full.
    full = "mount -t tmpfs -o size=4k tmpfs /var/lib/docker/tmp && head -c 4096 /dev/zero > /var/lib/docker/tmp/full"
    docker("exec", machine, "sh", "-c", full)
    docker("exec", machine, "systemctl", "stop", "bay-extra", "bay-frontend")
    docker("exec", machine, "sh", "-c", "docker image rm --force $(docker image ls --quiet '*/bay/frontend')")
    docker("exec", machine, "systemctl", "restart", "--no-block", "bay-installer")
    done = solo.inv("cluster.follow-install", "--deadline-seconds", "30", check=False)
    assert done.returncode in (32, 33), done.stderr
    assert "no space left on device" in done.stderr
    docker("exec", machine, "umount", "/var/lib/docker/tmp")
    eventually("it has installed itself", lambda: solo.inv("cluster.status", check=False).returncode == 0, 120)
