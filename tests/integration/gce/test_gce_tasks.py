"""The tasks around gce.create and gce.destroy, and all of them from the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gce_runs import Place, place, quiet, settings_in

from argosy.errors import CloudError, ConfigError, DeadlineExceeded, Refused
from argosy.gce import balancing, checking, creating, destroying, entry, listing, planning, reaching
from argosy.gce.record import entered
from argosy.ssh import known_hosts

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
CORE = ["core1", "core2", "core3"]
GCLOUD = shutil.which("gcloud")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found
        found.fake.faults.release()


def test_the_balancer_follows_the_machines_and_waits_for_one_that_drains(project: Place) -> None:
    creating.create(project.settings, "core", CORE, quiet)
    made = balancing.ensure(project.settings, quiet)
    assert made.health == dict.fromkeys(CORE, "healthy")
    assert made.address.startswith("203.0.113.")
    with pytest.raises(DeadlineExceeded, match="still finds it healthy"):
        balancing.wait_until_out(project.settings, "core2", 0.1)
    threading.Timer(0.3, project.fake.state.unhealthy.add, ["core2"]).start()
    assert balancing.wait_until_out(project.settings, "core2", 20)
    project.fake.forget()
    balancing.ensure(project.settings, quiet)
    assert project.fake.changes() == []
    assert balancing.remove(project.settings, quiet)
    assert not balancing.remove(project.settings, quiet)
    assert len(project.fake.state.all("instances")) == 3


def test_the_entry_node_is_kept_and_replaced_when_it_is_gone(project: Place) -> None:
    settings = project.settings
    creating.create(settings, "core", CORE, quiet)
    assert entry.entry_node(settings, quiet).name == "core1"
    assert entry.entry_node(settings, quiet, "core2").name == "core2"
    assert entry.entry_node(settings, quiet).name == "core2"
    assert entered(settings).ssh.entry_node == f"core@{entry.entry_node(settings, quiet).external}"
    destroying.destroy(settings, ["core2"], quiet)
    assert entry.entry_node(settings, quiet).name == "core1"
    with pytest.raises(ConfigError, match="core3"):
        entry.entry_node(settings, quiet, "core9")


def test_the_plan_tells_what_the_configuration_wants(project: Place) -> None:
    creating.create(project.settings, "core", ["core1"], quiet)
    wanted = settings_in(project.root, servers={"core1": "core", "users": "db"})
    verbs = {(str(action.verb), action.name) for action in planning.plan(wanted)}
    assert verbs == {
        ("keep", "core1"),
        ("create", "users"),
        ("create", "users-data"),
        ("create", "users-address"),
    }


def test_access_is_checked_step_by_step(project: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(check.ok for check in checking.check(project.settings))
    project.fake.state.granted = {"compute.instances.list"}
    failing = checking.check(project.settings)[-1]
    assert not failing.ok
    assert "compute.instances.create" in failing.said
    with pytest.raises(CloudError, match="rights"):
        checking.refuse_failing([failing])
    unset = settings_in(project.root)
    unset = unset.model_copy(update={"gce": unset.gce.model_copy(update={"zone": ""})})
    assert checking.check(unset)[-1].name == "gce.zone"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(project.root / "no-such-file"))
    real = unset.model_copy(update={"gce": unset.gce.model_copy(update={"emulator": ""})})
    assert "gcloud auth application-default login" in checking.check(real)[-1].said
    assert checking.newest_image(project.settings, "core") == "flatcar-stable-4230-2-3"


def test_only_servers_that_run_are_reached_with_their_keys_pinned(project: Place) -> None:
    creating.create(project.settings, "db", ["users"], quiet)
    (project.settings.state_path / "known_hosts").unlink()
    (found,) = reaching.find(project.settings, [], quiet)
    assert found.external in known_hosts.read(project.settings.state_path / "known_hosts")
    project.fake.state.all("instances")["users"]["status"] = "TERMINATED"
    with pytest.raises(Refused, match=r"inv gce\.create db users starts it"):
        reaching.find(project.settings, ["users"], quiet)
    with pytest.raises(ConfigError, match="did you mean 'users'"):
        reaching.find(project.settings, ["usres"], quiet)


def inv(project: Place, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT / 'installer'}"}
    program = [sys.executable, "-m", "invoke", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(program, cwd=project.root, env=environment, stdout=pipe, stderr=pipe, text=True)


def test_ctrl_c_in_the_middle_is_one_line_and_the_same_again_completes(project: Place) -> None:
    held = threading.Event()

    def at(_number: int, when: str) -> bool:
        if when == "before" and project.fake.changes().count("instances.insert") == 1:
            held.set()
            project.fake.faults.released.wait(30)
        return False

    project.fake.faults.at = at
    process = inv(project, "gce.create", "core", *CORE)
    assert held.wait(60)
    process.send_signal(signal.SIGINT)
    project.fake.faults.release()
    _out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith("run the same command to resume")
    assert "Traceback" not in errors
    project.fake.faults.clear()
    again = inv(project, "gce.create", "core", *CORE, "--json")
    out, _errors = again.communicate(timeout=60)
    assert [server["name"] for server in json.loads(out)] == CORE
    assert project.fake.changes().count("addresses.insert") == 3


if GCLOUD:  # where it is not installed there is nobody to be asked

    def gcloud(project: Place, *words: str) -> Any:
        """Return what gcloud, asked the same of the same API, answers."""
        environment = {
            **os.environ,
            "CLOUDSDK_CONFIG": str(project.root / "gcloud"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN": "pretended",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{project.fake.url}/compute/v1/",
            "CLOUDSDK_CORE_PROJECT": project.fake.state.project,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        }
        program = [str(GCLOUD), "compute", *words, "--format=json"]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return json.loads(done.stdout)

    def test_gcloud_sees_the_same_servers(project: Place) -> None:
        project.do("create core", "create db", "balancer")
        ours = {
            (server.name, server.state.upper(), server.address) for server in listing.list_servers(project.settings)
        }
        seen = gcloud(project, "instances", "list", "--zones=europe-west1-b")
        assert {
            (server["name"], server["status"], server["networkInterfaces"][0]["networkIP"]) for server in seen
        } == ours
        (health,) = gcloud(project, "backend-services", "get-health", "air-cloud-http", "--global")
        states = {it["instance"].rpartition("/")[2]: it["healthState"] for it in health["status"]["healthStatus"]}
        assert {name: state.lower() for name, state in states.items()} == balancing.look(project.settings).health
