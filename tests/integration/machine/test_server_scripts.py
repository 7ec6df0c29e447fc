"""What is run on a server that is to become a machine: under a real shell, with stand-ins for its programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_host import FakeMachine

from argosy.machine.needs import INSTALL, LOOK, Listener, Server, parse_server
from argosy.ssh.shell import Script

pytestmark = pytest.mark.integration

PLACES = ("/etc/", "/run/", "/proc/", "/sys/", "/var/")
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
        |-- 10.0.0.1
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
        |-- 127.0.0.1
           /32 host LOCAL
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100000A:0050 0200000A:C001 01 00000000:00000000 00:00000000 00000000     0        0 2
"""
APT = """\
echo "$*" >>"$calls"
case $* in
    *update*) [ ! -e {root}/locked ] || {{ rm {root}/locked; echo "E: Sperre nicht zu haben" >&2; exit 100; }} ;;
    *docker-cli*) printf '#!/bin/sh\\necho 26.1.5\\n' >{root}/bin/docker; chmod 755 {root}/bin/docker ;;
    *missing*) echo "E: Unable to locate package missing" >&2; exit 100 ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(tmp_path)
    made.path("/var/lib").mkdir(parents=True)
    made.write("/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n')
    made.write("/proc/net/fib_trie", FIB_TRIE)
    made.write("/proc/net/tcp", TCP)
    made.write("/proc/net/udp", TCP)
    made.program("systemctl", 'case $* in list-units*) echo "air-web.service loaded active running web" ;; esac')
    made.program("dpkg", 'echo "dpkg $*" >>"$calls"')
    made.program("apt-get", APT.format(root=tmp_path))
    made.program("sleep", ":")
    return made


def look(machine: FakeMachine) -> Server:
    before = datetime.now(UTC)
    done = machine.run(["sh", "-c", machine.moved(LOOK, PLACES), "argosy", "air", machine.path("/var/lib/docker")])
    assert (done.returncode, done.stderr) == (0, "")
    return parse_server(done.stdout, before, datetime.now(UTC))


def test_a_bare_server_tells_what_it_has(machine: FakeMachine) -> None:
    machine.path("/undeclared/docker").unlink()
    machine.path("/undeclared/curl").unlink()
    server = look(machine)
    assert server.os == {"debian"}
    assert server.called == "Debian GNU/Linux 13 (trixie)"
    assert server.has == {"flock", "tar", "apt-get", "docker.service"}
    assert (server.engine, server.running, server.skew_seconds) == ("", ("air-web.service",), 0)
    assert server.addresses == {"10.0.0.1", "127.0.0.1"}
    assert server.listeners == (Listener("tcp", "", 22),)
    assert (server.free_megabytes or 0) > 0


def test_a_server_with_docker_tells_its_version(machine: FakeMachine) -> None:
    machine.program("docker", "echo 28.0.1")
    machine.program("curl", ":")
    machine.path("/run/systemd/system").mkdir(parents=True)
    machine.write("/sys/module/apparmor/parameters/enabled", "Y\n")
    machine.write("/etc/ssl/certs/ca-certificates.crt", "one\n")
    server = look(machine)
    assert server.engine == "28.0.1"
    assert server.has >= {"docker", "curl", "systemd", "apparmor", "ca-certificates"}


def test_what_lacks_is_installed_after_a_run_that_was_killed_and_while_the_lists_are_held(machine: FakeMachine) -> None:
    machine.path("/undeclared/docker").unlink()
    machine.write("/locked", "")
    done = machine.run_script(Script("install", INSTALL, "docker.io", "curl"))
    assert (done.returncode, done.stdout) == (0, "26.1.5\n"), done.stderr
    options = "-qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install --"
    assert machine.calls == [
        "dpkg --configure -a",
        "-qq update",
        "-qq update",
        f"{options} docker.io curl",
        f"{options} docker-cli",
    ]
    before = machine.calls
    assert machine.run_script(Script("install", INSTALL, "curl")).returncode == 0
    assert machine.calls[len(before) :] == ["dpkg --configure -a", "-qq update", f"{options} curl"]
    before = machine.calls
    assert machine.run_script(Script("start Docker", INSTALL)).returncode == 0
    assert machine.calls == before, "nothing is asked of apt to start what is there"


def test_what_apt_says_last_is_the_reason(machine: FakeMachine) -> None:
    done = machine.run_script(Script("install", INSTALL, "missing"))
    assert done.returncode == 100
    assert done.stderr.splitlines()[-1] == "E: Unable to locate package missing"
