"""A machine that is no container: its own kernel, cgroup v2 with controllers, AppArmor, systemd-resolved, netplan."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest
from lab import Lab
from vm_project import MACHINE, MEMORY_MEGABYTES, SECONDS, SYSTEM
from waiting import until

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2 * SECONDS)]

LONG_AGO = "/kept"
ETCDCTL = f"/opt/{SYSTEM}/bin/etcdctl"
HOG = f"docker exec {SYSTEM}-web python3 -c 'len(b\"x\" * ({4 * MEMORY_MEGABYTES} << 20))'; echo $?"
"""Wants more than the service may have, swap included; prints how that ended."""
WEB_GROUP = f"/sys/fs/cgroup/system.slice/docker-$(docker inspect --format '{{{{.Id}}}}' {SYSTEM}-web).scope"

PROVEN = Path(__file__).with_name("proven.json")
FACTS = {
    "os": ". /etc/os-release; echo $PRETTY_NAME",
    "kernel": "uname -r",
    "systemd": "systemctl --version | head -n 1",
    "cloud_init": "cloud-init --version",
    "docker": "docker version --format '{{.Server.Version}}'",
    "cgroup": "docker info --format 'v{{.CgroupVersion}}, {{.CgroupDriver}}'",
    "haproxy": f"docker exec {SYSTEM}-router haproxy -v | head -n 1",
    "etcd": f"docker exec {SYSTEM}-etcd etcd --version | head -n 1",
    "python": f"docker exec {SYSTEM}-web python3 --version",
}
"""What of the machine was proven by these tests -> what prints it there."""


def answer(lab: Lab) -> dict[str, str]:
    """Ask the machine's router for the service, and return who answered."""
    request = urllib.request.Request(f"http://192.168.{lab.third}.11/", headers={"Host": "web.any.reef.example"})
    with urllib.request.urlopen(request, timeout=60) as answered:
        return dict(json.load(answered))


def wait_until_healthy(lab: Lab) -> None:
    until(lambda: lab.inv("cluster.status", check=False).returncode == 0, SECONDS, 5)


def boot_id(lab: Lab) -> str:
    """Return what names the boot that the machine is in; nothing while it can't be asked."""
    done = lab.inv("cluster.run", "cat /proc/sys/kernel/random/boot_id", "--json", check=False)
    return str(json.loads(done.stdout)[MACHINE]["stdout"]) if done.returncode == 0 else ""


@pytest.fixture(scope="module")
def installed(booted: Lab) -> Lab:
    """The machine has got its secrets, and has installed itself."""
    booted.inv("cluster.upload-secrets", "--yes", timeout=SECONDS)
    booted.inv("cluster.follow-install", timeout=SECONDS)
    return booted


@pytest.fixture(scope="module")
def rebooted(installed: Lab) -> Lab:
    """It has been told to boot again, and has."""
    before = boot_id(installed)
    installed.run(MACHINE, f"{ETCDCTL} put {LONG_AGO} yes && systemctl reboot --no-block")
    until(lambda: boot_id(installed) not in ("", before), SECONDS, 5)
    return installed


def test_cloud_init_takes_our_file_without_a_warning(booted: Lab) -> None:
    assert "status: done" in booted.run(MACHINE, "cloud-init status --wait --long")
    assert re.findall(r".*\b(?:WARNING|ERROR)\b.*", booted.run(MACHINE, "cat /var/log/cloud-init.log")) == []
    assert booted.run(MACHINE, "systemctl --failed --quiet") == ""


def test_it_is_no_container(booted: Lab) -> None:
    assert booted.run(MACHINE, "systemd-detect-virt --container", check=False) == "none\n"
    assert {"cpu", "memory", "pids"} <= set(booted.run(MACHINE, "cat /sys/fs/cgroup/cgroup.controllers").split())
    assert booted.run(MACHINE, "cat /sys/module/apparmor/parameters/enabled") == "Y\n"
    assert booted.run(MACHINE, "readlink -f /etc/resolv.conf") == "/run/systemd/resolve/stub-resolv.conf\n"
    assert booted.run(MACHINE, "hostname") == f"{MACHINE}\n"


def test_it_installs_itself_and_serves(installed: Lab) -> None:
    wait_until_healthy(installed)
    installed.inv("cluster.verify", timeout=SECONDS)
    assert answer(installed)["machine"] == MACHINE
    assert installed.run(MACHINE, "docker info --format '{{.CgroupVersion}} {{.CgroupDriver}}'") == "2 systemd\n"
    assert f"/var/lib/{SYSTEM}/swapfile " in installed.run(MACHINE, "cat /proc/swaps")


def test_its_containers_are_confined(installed: Lab) -> None:
    """Where the kernel has AppArmor, Docker's profile holds for all that does not ask for another."""
    shown = installed.run(MACHINE, "docker inspect --format '{{.Name}} {{.AppArmorProfile}}' $(docker ps --quiet)")
    assert dict(line.split(maxsplit=1) for line in shown.splitlines())[f"/{SYSTEM}-web"] == "docker-default"
    confined = f"cat /proc/$(docker inspect --format '{{{{.State.Pid}}}}' {SYSTEM}-web)/attr/current"
    assert installed.run(MACHINE, confined) == "docker-default (enforce)\n"


def test_systemd_resolved_asks_us_for_our_names_alone(installed: Lab) -> None:
    assert "web.local" in installed.run(MACHINE, "getent ahostsv4 web.local")
    (ours,) = re.findall(r"^Global: (.*)", installed.run(MACHINE, "resolvectl domain"), re.MULTILINE)
    assert ours == "~local"


def test_a_memory_limit_holds(installed: Lab) -> None:
    before = installed.run(MACHINE, f"docker inspect --format '{{{{.State.StartedAt}}}}' {SYSTEM}-web")
    assert installed.run(MACHINE, f"cat {WEB_GROUP}/memory.max") == f"{MEMORY_MEGABYTES << 20}\n"
    assert installed.run(MACHINE, HOG) == "137\n"
    events = dict(line.split() for line in installed.run(MACHINE, f"cat {WEB_GROUP}/memory.events").splitlines())
    assert int(events["oom_kill"]) == 1
    wait_until_healthy(installed)
    assert installed.run(MACHINE, f"docker inspect --format '{{{{.State.StartedAt}}}}' {SYSTEM}-web") == before
    assert answer(installed)["machine"] == MACHINE


def test_after_a_reboot_it_is_healthy_again(rebooted: Lab) -> None:
    wait_until_healthy(rebooted)
    rebooted.inv("cluster.verify", timeout=SECONDS)
    assert rebooted.run(MACHINE, f"{ETCDCTL} get --print-value-only {LONG_AGO}") == "yes\n"
    assert answer(rebooted)["machine"] == MACHINE
    assert rebooted.run(MACHINE, "systemctl --failed --quiet") == ""
    assert f"/var/lib/{SYSTEM}/swapfile " in rebooted.run(MACHINE, "cat /proc/swaps")


def test_what_was_proven_is_written_down(rebooted: Lab) -> None:
    """The last run's versions stand in the repository, for docs/support.md."""
    script = "; ".join(f"echo {name}=$({command})" for name, command in FACTS.items())
    found = dict(line.split("=", 1) for line in rebooted.run(MACHINE, script).splitlines())
    assert [name for name in FACTS if not found[name]] == []
    PROVEN.write_text(json.dumps(found, indent=2) + "\n")
