"""A machine that is no container: its own kernel, cgroup v2 with controllers, AppArmor, systemd-resolved, netplan."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from found import MACHINE_TOLD, TOLD, facts
from lab import Lab
from vm_project import ADDRESS, MACHINE, MEMORY_MEGABYTES, SECONDS, SYSTEM
from waiting import until

pytest_plugins = ["vm_fixtures"]
pytestmark = [pytest.mark.vm, pytest.mark.timeout(2 * SECONDS)]

ETCDCTL = f"/opt/{SYSTEM}/bin/etcdctl"
SWAP = "grep -c ^/var/lib/reef/swapfile /proc/swaps"
WEB = f"docker inspect {SYSTEM}-web --format"
WEB_GROUP = f"/sys/fs/cgroup/system.slice/docker-$({WEB} '{{{{.Id}}}}').scope"
HOG = f"docker exec {SYSTEM}-web python3 -c 'len(b\"x\" * ({4 * MEMORY_MEGABYTES} << 20))'"
"""Wants more than the service may have, swap included."""
PROVEN = Path(__file__).with_name("proven.json")
OWN_TOLD = """
echo "kernel $(uname -r)"
echo "systemd $(systemctl --version | head -n 1)"
echo "cloud-init $(cloud-init --version)"
"""


def told(lab: Lab, commands: dict[str, str]) -> dict[str, str]:
    """Return what each command prints on the machine, its lines as one. One login for all: it takes seconds."""
    script = "; ".join(f"echo {name}=$({command})" for name, command in commands.items())
    return dict(line.split("=", 1) for line in lab.run(MACHINE, script).splitlines())


def who_answers() -> str:
    """Ask the machine's router for the service."""
    request = urllib.request.Request(f"http://{ADDRESS}/", headers={"Host": "web.any.reef.example"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["machine"])


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
    installed.run(MACHINE, f"{ETCDCTL} put /kept yes && systemctl reboot --no-block")
    until(lambda: boot_id(installed) not in ("", before), SECONDS, 5)
    return installed


def test_cloud_init_takes_our_file_without_a_warning(booted: Lab) -> None:
    assert "status: done" in booted.run(MACHINE, "cloud-init status --wait --long")
    said = {
        "warnings": "grep -E '\\b(WARNING|ERROR)\\b' /var/log/cloud-init.log",
        "failed": "systemctl --failed --quiet",
        "name": "hostname",
        "waits": f"systemctl show --value --property SubState {SYSTEM}-secrets.path",
    }
    assert told(booted, said) == {"warnings": "", "failed": "", "name": MACHINE, "waits": "waiting"}


def test_it_is_no_container(booted: Lab) -> None:
    asked = {
        "container": "systemd-detect-virt --container",
        "controllers": "cat /sys/fs/cgroup/cgroup.controllers",
        "apparmor": "cat /sys/module/apparmor/parameters/enabled",
        "resolver": "readlink -f /etc/resolv.conf",
    }
    found = told(booted, asked)
    assert {"cpu", "memory", "pids"} <= set(found.pop("controllers").split())
    assert found == {"container": "none", "apparmor": "Y", "resolver": "/run/systemd/resolve/stub-resolv.conf"}


def test_it_installs_itself_and_serves(installed: Lab) -> None:
    wait_until_healthy(installed)
    installed.inv("cluster.verify", timeout=SECONDS)
    assert who_answers() == MACHINE


def test_what_a_container_has_no_say_in_holds(installed: Lab) -> None:
    """Docker's AppArmor profile confines a service, swap is used, and resolved asks us for our names alone."""
    asked = {
        "engine": "docker info --format '{{.CgroupVersion}} {{.CgroupDriver}}'",
        "profile": f"cat /proc/$({WEB} '{{{{.State.Pid}}}}')/attr/current",
        "swap": SWAP,
        "domains": "resolvectl domain | sed -n 's/^Global: //p'",
        "name": "getent ahostsv4 web.local | cut -d ' ' -f 1 | sort -u",
    }
    expected = {"engine": "2 systemd", "profile": "docker-default (enforce)", "swap": "1", "domains": "~local"}
    assert told(installed, asked) == expected | {"name": "172.17.42.1"}


def test_a_memory_limit_holds(installed: Lab) -> None:
    begun = {"begun": f"{WEB} '{{{{.State.StartedAt}}}}'"}
    before = told(installed, begun)
    broken = {
        "limit": f"cat {WEB_GROUP}/memory.max",
        "hog": f"{HOG} >/dev/null 2>&1; echo $?",
        "killed": f"sed -n 's/^oom_kill //p' {WEB_GROUP}/memory.events",
    }
    assert told(installed, broken) == {"limit": str(MEMORY_MEGABYTES << 20), "hog": "137", "killed": "1"}
    wait_until_healthy(installed)
    assert told(installed, begun) == before
    assert who_answers() == MACHINE


def test_after_a_reboot_it_is_healthy_again(rebooted: Lab) -> None:
    wait_until_healthy(rebooted)
    rebooted.inv("cluster.verify", timeout=SECONDS)
    assert who_answers() == MACHINE
    asked = {
        "kept": f"{ETCDCTL} get --print-value-only /kept",
        "failed": "systemctl --failed --quiet",
        "swap": SWAP,
    }
    assert told(rebooted, asked) == {"kept": "yes", "failed": "", "swap": "1"}


def test_what_was_proven_is_written_down(rebooted: Lab) -> None:
    """The versions of the last run stand in the repository, for docs/support.md."""
    found = facts(rebooted.run(MACHINE, TOLD + MACHINE_TOLD.replace("SYSTEM", SYSTEM) + OWN_TOLD))
    assert all(found.values())
    PROVEN.write_text(json.dumps(found | {"day": f"{datetime.now(UTC):%Y-%m-%d}"}, indent=2) + "\n")
