"""A cluster grows, is upgraded, shrinks, and goes to the next Debian, at 120 requests a second through the balancer, of
which not one fails.

Most of them are for the frontend, which every machine runs, and for `web`, which the Swarm places; the others for what
a backend reads in the database, whose one instance and data are on the first machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from found import check_machines
from lab import Lab, docker, ensure_base, eventually
from lanes import suite_of
from steady import Outcome, Steady
from swarm_checks import is_settled

ASKED = {"": ("/", 50), "web.any.example": ("/", 50), "backend.any.example": ("/visits", 20)}
"""Host -> path, and how often in a second."""
SEEN = 60
CHANGE_SECONDS = 600
FIRST = ["lake-01", "lake-02", "lake-03"]
NEWCOMER = "lake-04"
NEXT = "trixie"
"""The Debian of machines that come late, where the first ones' is the one before."""
CROSSES = suite_of("test_local_growth.py", os.environ) == "bookworm"
FRONTEND = "example/frontend/frontend/__main__.py"

pytestmark = [pytest.mark.e2e, pytest.mark.slow(18), pytest.mark.timeout(1200)]


@contextmanager
def requests(lab: Lab) -> Iterator[Outcome]:
    """Ask for all services as long as the block lasts, and for a while after it; give what the frontend's become.

    Of the others not one fails, and the database is the same process all the time.
    """
    database = running_database(lab)
    with ExitStack() as stack:
        outcomes = {
            host: stack.enter_context(Steady("127.0.0.1", lab.balancer_port, path, host, rate).running())
            for host, (path, rate) in ASKED.items()
        }
        frontend = outcomes.pop("")
        _flow([frontend, *outcomes.values()])
        yield frontend
        _flow([frontend, *outcomes.values()])
    assert {host: outcome.not_ok() for host, outcome in outcomes.items()} == {host: [] for host in outcomes}
    assert running_database(lab) == database


def running_database(lab: Lab) -> str:
    """Return what tells whether the database is the same process."""
    return lab.run(FIRST[0], f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' {lab.system}-db")


def _flow(outcomes: Sequence[Outcome]) -> None:
    seen = [outcome.total for outcome in outcomes]
    eventually(
        "requests flow",
        lambda: all(outcome.total > total + SEEN for outcome, total in zip(outcomes, seen, strict=True)),
    )


def names(lab: Lab) -> list[str]:
    return [machine["name"] for machine in lab.json("cluster.status")["machines"]]


def members(lab: Lab) -> list[str]:
    """Return the machines whose etcd member has its vote and is healthy."""
    machines = lab.json("cluster.status")["machines"]
    return [
        machine["name"] for machine in machines if machine["member"]["healthy"] and not machine["member"]["learner"]
    ]


def releases(lab: Lab) -> dict[str, str]:
    return {machine["name"]: machine["release"] for machine in lab.json("cluster.status", check=False)["machines"]}


def identity(name: str) -> str:
    """Return what tells whether a container is the same one and was never restarted."""
    return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name)


def change_frontend(lab: Lab, text: str) -> None:
    """Let the frontend's image have another content, and so another version."""
    path = lab.root / FRONTEND
    path.write_text(f"{path.read_text()}# {text}\n")


def record(lab: Lab) -> dict[str, Any]:
    path: Path = lab.root / ".argosy" / lab.cluster / "local.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.journey
def test_its_machines_are_what_the_page_of_what_is_supported_says(growing: Lab) -> None:
    check_machines(growing, FIRST[0], "test_local_growth.py")


def test_the_plan_says_who_comes_and_changes_nothing(growing: Lab) -> None:
    plan = growing.inv("local.add-machine", "--dry-run").stdout
    assert f"{NEWCOMER}: make it at 192.168.58.104 through the Docker engine" in plan
    assert f"{NEWCOMER}: add it to etcd as a learner" in plan
    assert names(growing) == FIRST
    assert record(growing)["joining"] == ""


@pytest.mark.journey("growth")
def test_a_machine_comes_and_no_request_fails(growing: Lab) -> None:
    haproxy = identity(growing.container("balancer"))
    with requests(growing) as outcome:
        done = growing.inv("local.add-machine", timeout=CHANGE_SECONDS)
        eventually("the newcomer answers", lambda: outcome.answers[(200, NEWCOMER)] > 0)
    assert outcome.not_ok() == []
    assert f"{NEWCOMER} is added: 4 healthy machines" in done.stdout
    assert members(growing) == [*FIRST, NEWCOMER]
    is_settled(growing, [*FIRST, NEWCOMER])
    assert identity(growing.container("balancer")) == haproxy
    assert record(growing)["joining"] == ""
    assert "nothing changed" in growing.inv("local.start", "4").stdout


@pytest.mark.journey("rolling upgrade")
def test_a_new_version_comes_to_all_machines_and_no_request_fails(growing: Lab) -> None:
    before = releases(growing)
    change_frontend(growing, "a new version")
    with requests(growing) as outcome:
        done = growing.inv("local.rolling-upgrade", timeout=CHANGE_SECONDS)
        ended = max(outcome.seen_last.values())
    assert outcome.not_ok() == []
    old, new = sorted(outcome.versions, key=lambda version: outcome.seen_last[version])
    assert outcome.seen_last[old] <= ended < outcome.seen_last[new]
    after = releases(growing)
    assert len(set(after.values())) == 1
    assert set(after.values()) != set(before.values())
    assert record(growing)["release"]["version"] == after[NEWCOMER]
    assert "of web elsewhere" in done.stderr
    is_settled(growing, [*FIRST, NEWCOMER])
    assert "nothing changed" in growing.inv("local.start", "4").stdout


def test_a_release_that_is_everywhere_is_nothing_to_do(growing: Lab) -> None:
    before = releases(growing)
    growing.inv("local.rolling-upgrade", timeout=CHANGE_SECONDS)
    assert releases(growing) == before


def test_the_machine_of_the_database_s_volume_stays_unless_it_may_be_lost(growing: Lab) -> None:
    refused = growing.refused(11, "local.remove-machine", FIRST[0])
    assert "postgres of db" in refused
    assert "--lose-volumes" in refused
    assert names(growing) == [*FIRST, NEWCOMER]


def never_healthy(document: dict[str, Any]) -> None:
    document["services"]["frontend"]["check"]["http"]["path"] = "/no-such-page"
    document["services"]["frontend"]["check"]["deadline_seconds"] = 5


def healthy(document: dict[str, Any]) -> None:
    document["services"]["frontend"]["check"]["http"]["path"] = "/health"
    document["services"]["frontend"]["check"]["deadline_seconds"] = 60


def test_a_release_that_never_gets_healthy_stops_at_the_canary_and_is_taken_back(growing: Lab) -> None:
    before = releases(growing)
    growing.configure(never_healthy)
    try:
        with requests(growing) as outcome:
            stopped = growing.inv("local.rolling-upgrade", "--canary", check=False, timeout=CHANGE_SECONDS)
            assert stopped.returncode == 32, stopped.stderr
            changed = {name for name, release in releases(growing).items() if release != before[name]}
            assert len(changed) <= 1
            growing.inv("local.rolling-upgrade", "--rollback", timeout=CHANGE_SECONDS)
        assert outcome.not_ok() == []
        assert len(outcome.versions) == 1
    finally:
        growing.configure(healthy)
    assert releases(growing) == before
    growing.inv("cluster.status")
    is_settled(growing, [*FIRST, NEWCOMER])


@pytest.mark.journey("removal")
def test_a_machine_goes_and_no_request_fails(growing: Lab) -> None:
    haproxy = identity(growing.container("balancer"))
    with requests(growing) as outcome:
        growing.inv("local.remove-machine", timeout=CHANGE_SECONDS)
    assert outcome.not_ok() == []
    assert names(growing) == members(growing) == FIRST
    assert identity(growing.container("balancer")) == haproxy
    left = docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"label=argosy.cluster={growing.cluster}")
    assert growing.container(NEWCOMER) not in left.split()
    assert growing.container(NEWCOMER) not in docker("volume", "ls", "--format", "{{.Name}}").split()
    growing.inv("local.start", "3")
    is_settled(growing, FIRST)


@pytest.fixture(scope="module")
def next_debian(growing: Lab) -> str:
    """Return the Debian of machines that come from now on; the registry has its etcd. Nothing that runs changes."""
    if not CROSSES:
        return growing.suite
    ensure_base(NEXT)
    before = etcd_versions(growing)
    growing.configure(lambda document: document.update(build={**document.get("build", {}), "suite": NEXT}))
    words = ("build.images", "--only", "etcd,machine", "registry.push", "--only", "etcd")
    growing.inv(*words, timeout=CHANGE_SECONDS)
    assert etcd_versions(growing) == before == dict.fromkeys(FIRST, "3.4")
    return NEXT


def etcd_versions(lab: Lab) -> dict[str, str]:
    """Return the minor version of each machine's etcd."""
    machines = lab.json("cluster.status")["machines"]
    return {machine["name"]: machine["member"]["version"].rpartition(".")[0] for machine in machines}


def debian(lab: Lab, machine: str) -> str:
    return lab.run(machine, "sed -n s/^VERSION_CODENAME=//p /etc/os-release").strip()


def etcdctl(lab: Lab, *words: str) -> str:
    return lab.run(FIRST[0], f"{lab.system} etcdctl {' '.join(words)}").strip()


def test_a_killed_newcomer_is_completed_first_and_a_lost_machine_is_replaced(growing: Lab, next_debian: str) -> None:
    docker("rm", "--force", "--volumes", growing.container("lake-02"))
    assert "local.remove-machine lake-02" in growing.refused(11, "local.start", "3")
    growing.inv("local.remove-machine", "lake-02", timeout=CHANGE_SECONDS)
    assert names(growing) == ["lake-01", "lake-03"]
    killed = growing.begin("local.add-machine")
    eventually(
        "it is being made", lambda: bool(docker("ps", "--quiet", "--filter", f"name={growing.container('lake-02')}"))
    )
    killed.kill()
    killed.wait()
    assert "local.add-machine" in growing.refused(11, "local.start", "2")
    growing.inv("local.add-machine", timeout=CHANGE_SECONDS)
    assert names(growing) == members(growing) == FIRST
    assert debian(growing, "lake-02") == next_debian
    is_settled(growing, FIRST)


def test_a_half_made_newcomer_is_taken_back(growing: Lab) -> None:
    killed = growing.begin("local.add-machine")
    file = growing.root / ".argosy" / growing.cluster / "cloud-config" / f"{NEWCOMER}.yaml"
    # By then it has its place in etcd, and perhaps no place in the inventory yet.
    eventually("its cloud-config is written", file.exists)
    killed.kill()
    killed.wait()
    assert record(growing)["joining"] == NEWCOMER
    growing.inv("local.remove-machine", timeout=CHANGE_SECONDS)
    assert names(growing) == members(growing) == FIRST
    assert record(growing)["joining"] == record(growing)["leaving"] == ""


@pytest.mark.skipif(not CROSSES, reason="all machines are of one Debian in this lane")
def test_the_old_debian_s_machines_go_and_the_one_that_stays_gets_the_new_etcd_and_no_request_fails(
    growing: Lab,
) -> None:
    assert etcd_versions(growing) == {"lake-01": "3.4", "lake-02": "3.5", "lake-03": "3.4"}
    digest = growing.run("lake-01", f"sed -n s/^IMAGE=.*@//p /etc/{growing.system}/etcd.env").strip()
    (old,) = [row["version"] for row in growing.json("registry.list") if row["digest"] == digest]
    with requests(growing) as outcome:
        growing.inv("local.add-machine", timeout=CHANGE_SECONDS)
        growing.inv("local.remove-machine", "lake-03", timeout=CHANGE_SECONDS)
        assert etcd_versions(growing) == {"lake-01": "3.4", "lake-02": "3.5", NEWCOMER: "3.5"}
        done = growing.inv("cluster.upgrade-etcd", timeout=CHANGE_SECONDS)
        eventually("the newcomer answers", lambda: outcome.answers[(200, NEWCOMER)] > 0)
    assert outcome.not_ok() == []
    restarted = [line.split()[0] for line in done.stderr.splitlines() if "restart etcd with it" in line]
    assert restarted == ["lake-01"]
    assert etcd_versions(growing) == dict.fromkeys(["lake-01", "lake-02", NEWCOMER], "3.5")
    assert (debian(growing, "lake-01"), debian(growing, NEWCOMER)) == ("bookworm", NEXT)
    assert "has no way back" in growing.refused(11, "cluster.upgrade-etcd", "--image", old)
    assert "nothing to do" in growing.inv("cluster.upgrade-etcd").stdout
    is_settled(growing, ["lake-01", "lake-02", NEWCOMER])


@pytest.mark.journey("backup")
def test_a_backup_comes_back_while_all_serve(growing: Lab) -> None:
    path = growing.root / "backup.db"
    etcdctl(growing, "put /settings/test kept")
    growing.inv("cluster.backup", str(path))
    etcdctl(growing, "put /settings/test lost")
    with requests(growing) as outcome:
        growing.inv("cluster.restore", str(path), *names(growing), "--force", "--yes", timeout=CHANGE_SECONDS)
    assert outcome.not_ok() == []
    assert etcdctl(growing, "get --print-value-only /settings/test") == "kept"
    if etcd_versions(growing)[FIRST[0]] == "3.5":
        assert "3.5" in growing.run(FIRST[0], f"docker exec {growing.system}-etcd etcdutl version")
    is_settled(growing, names(growing))


def test_the_last_machine_is_the_end_of_the_cluster(growing: Lab) -> None:
    # Three survive the loss of one, and two do not.
    assert "3 of 3 members are healthy" in growing.refused(12, "local.remove-machine")
    growing.inv("local.remove-machine", "--force", timeout=CHANGE_SECONDS)
    growing.inv("local.remove-machine", timeout=CHANGE_SECONDS)
    assert names(growing) == ["lake-01"]
    assert "--yes" in growing.refused(11, "local.remove-machine")
    assert "has ended" in growing.inv("local.remove-machine", "--yes").stdout
    assert "nothing to stop" in growing.inv("local.stop").stdout
