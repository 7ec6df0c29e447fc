"""Roots of other suites (tests/support/roots.py): what they are is what other tests rely on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from roots import CACHE, CGROUPS, Root, cgroup_tree, root
from waiting import until

SUPPORT = Path(__file__).parents[1] / "support"
HOLDER = """
import sys
from roots import root
with root("trixie") as host:
    with host.engine():
        print(host.pid, host.name, flush=True)
        sys.stdin.read()
"""
V1 = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
V2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"

pytestmark = [pytest.mark.integration, pytest.mark.slow(3), pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("mounts", "asked", "given"),
    [
        (V1, "", "/sys/fs/cgroup"),
        (V1, "v1", "/sys/fs/cgroup"),
        (V1, "v2", None),
        (V1 + V2, "v2", "/sys/fs/cgroup/unified"),
        (V2.replace("/unified", ""), "", "/sys/fs/cgroup"),
        (V2.replace("/unified", ""), "v2", "/sys/fs/cgroup"),
        (V2.replace("/unified", ""), "v1", None),
    ],
)
def test_a_root_gets_the_groups_that_it_asks_for_or_none(mounts: str, asked: str, given: str | None) -> None:
    assert cgroup_tree(mounts, asked) == (Path(given) if given else None)


def networks_here() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def test_a_root_is_a_host_of_its_own_with_an_engine_that_this_one_reaches() -> None:
    before = networks_here()
    with root("trixie", binds=[f"{SUPPORT}:/support"]) as host:
        assert "VERSION_CODENAME=trixie" in host.run(["cat", "/etc/os-release"]).stdout
        assert host.run(["ls", "/support/roots.py"], folder="/").returncode == 0
        assert host.run(["getent", "hosts", host.name]).stdout.split()[0] == "127.0.1.1"
        with host.engine(minimum_api="1.44") as socket:
            client = docker.DockerClient(f"unix://{socket}", version="1.44")
            assert client.version()["MinAPIVersion"] == "1.44"
            assert networks_here() == before
            assert "docker0" in host.run(["ls", "/sys/class/net"]).stdout.split()
            client.close()
        assert not socket.exists()


def test_a_root_s_processes_and_files_go_with_a_test_run_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=SUPPORT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        pid, name = holder.stdout.readline().split()
        left = Root(name, int(pid))
        assert (CACHE / "live" / name).exists()
        assert left.path("/run/docker.sock").exists()
        holder.send_signal(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), 30)
    with root("trixie"):
        assert not (CACHE / "live" / name).exists()
        assert not [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")]
