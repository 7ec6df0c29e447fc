"""Journeys through one local cluster, in this order: it comes to be, is used, is hurt, heals."""

from __future__ import annotations

import http.client
from contextlib import suppress
from shutil import which

import pytest
from found import check_machines
from lab import Lab, docker, eventually

MACHINES = ["sea-01", "sea-02", "sea-03"]

pytestmark = [pytest.mark.e2e, pytest.mark.slow(12), pytest.mark.timeout(900)]


def answering(lab: Lab, path: str = "/") -> set[str]:
    """Return the machines that answer twelve requests through the balancer; some may fail while a machine dies."""
    found = set()
    for _ in range(12):
        with suppress(OSError, http.client.HTTPException):
            found.add(lab.ask(path)[0]["x-argosy-machine"])
    return found


def assert_healthy(lab: Lab) -> None:
    observed = lab.json("cluster.status")
    assert [machine["name"] for machine in observed["machines"]] == MACHINES
    assert {machine["state"] for machine in observed["machines"]} == {"active"}
    assert len(observed["releases"]) == 1
    members = [machine["member"] for machine in observed["machines"]]
    assert all(member["healthy"] and not member["learner"] for member in members)
    assert sum(member["leader"] for member in members) == 1
    eventually("every machine answers through the balancer", lambda: answering(lab) == set(MACHINES))


def test_a_dry_run_changes_nothing(project: Lab) -> None:
    plan = project.inv("local.start", "3", "--dry-run").stdout
    maker = "Vagrant" if which("vagrant") else "the Docker engine"
    assert f"sea-03: make it at 192.168.56.103 through {maker}" in plan
    assert project.inv("local.stop").stdout.strip() == "cluster e2e: nothing to stop"


def test_six_machines_are_refused_before_anything_is_changed(project: Lab) -> None:
    line = project.refused(11, "local.start", "6")
    assert "1 to 5" in line
    assert not (project.root / ".argosy" / "e2e" / "machines.json").exists()


def test_a_killed_start_is_completed_by_the_next(project: Lab) -> None:
    killed = project.begin("local.start", "3")
    eventually(
        "a machine is there",
        lambda: bool(docker("ps", "--quiet", "--filter", f"name={project.container('sea-')}")),
        900,
    )
    # Only the task itself: its `vagrant` goes on by itself for a while, as after any `kill -9`.
    killed.kill()
    killed.wait()
    project.inv("local.start", "3", timeout=600)
    assert_healthy(project)


def test_a_second_start_changes_nothing(cluster: Lab) -> None:
    before = docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", "label=argosy.cluster=e2e")
    done = cluster.inv("local.start", "3")
    assert "nothing changed" in done.stdout
    after = docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", "label=argosy.cluster=e2e")
    assert after == before


def test_every_machine_serves_the_database_and_knows_its_clients(cluster: Lab) -> None:
    assert_healthy(cluster)
    eventually("every machine's backend answers", lambda: answering(cluster, "/backend/") == set(MACHINES))
    headers, _ = cluster.ask("/", address=cluster.host)
    assert headers["x-argosy-machine"] in MACHINES


@pytest.mark.journey
def test_its_machines_are_what_the_page_of_what_is_supported_says(cluster: Lab) -> None:
    check_machines(cluster, MACHINES[0], "three_machines")


def test_another_count_is_refused(cluster: Lab) -> None:
    assert "local.start 3" in cluster.refused(11, "local.start", "2")


def test_local_status_shows_machines_and_host(cluster: Lab) -> None:
    observed = cluster.json("local.status")
    states = {part["name"]: part["state"] for part in observed["host"]}
    assert set(states) == {*MACHINES, "balancer", "balancer-agent", "registry", "postgres"}
    assert set(states.values()) == {"running"}


def test_plain_ssh_works_with_the_written_config(cluster: Lab) -> None:
    import subprocess

    path = cluster.root / "ssh-config"
    assert cluster.inv("local.ssh-config", "--write", str(path)).stdout == f"Include {path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["ssh", "-F", str(path), "-o", "BatchMode=yes", "sea-02", "hostname"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "sea-02\n", done.stderr


def test_a_power_cut_heals_by_the_same_command(cluster: Lab) -> None:
    docker("kill", cluster.container("sea-02"))
    eventually("the balancer has taken it out", lambda: "sea-02" not in answering(cluster))
    cluster.inv("local.start", "3")
    assert_healthy(cluster)


def test_a_changed_host_key_is_refused(cluster: Lab) -> None:
    key = "/etc/ssh/ssh_host_ed25519_key"
    docker("exec", cluster.container("sea-03"), "sh", "-c", f"mkdir /root/kept && cp -p {key} {key}.pub /root/kept/")
    docker(
        "exec", cluster.container("sea-03"), "sh", "-c", f"rm {key} {key}.pub && ssh-keygen -qt ed25519 -N '' -f {key}"
    )
    docker("exec", cluster.container("sea-03"), "systemctl", "restart", "ssh")
    try:
        assert "sea-03" in cluster.refused(21, "local.start", "3")
        assert "sea-03" in cluster.refused(31, "cluster.run", "true")
    finally:
        docker("exec", cluster.container("sea-03"), "sh", "-c", "cp -p /root/kept/* /etc/ssh/ && rm -r /root/kept")
        docker("exec", cluster.container("sea-03"), "systemctl", "restart", "ssh")
    eventually("it lets us in again", lambda: cluster.inv("cluster.run", "true", check=False).returncode == 0)


def test_an_unreachable_machine_is_named_and_the_others_are_shown(cluster: Lab) -> None:
    docker("pause", cluster.container("sea-01"))
    try:
        done = cluster.inv("cluster.status", check=False)
        assert done.returncode == 32
        assert "sea-01" in done.stderr.strip().splitlines()[-1]
        assert "sea-03" in done.stdout
    finally:
        docker("unpause", cluster.container("sea-01"))
    eventually("all is well again", lambda: cluster.inv("cluster.status", check=False).returncode == 0)


def test_a_taken_port_is_refused_before_anything_is_changed(cluster: Lab) -> None:
    import socket

    docker("stop", cluster.container("balancer"))
    with socket.create_server(("127.0.0.1", cluster.balancer_port)):
        assert f"port {cluster.balancer_port}" in cluster.refused(11, "local.start", "3")
    cluster.inv("local.start", "3")
    assert_healthy(cluster)
