"""The scripts that look who uses which secrets and restart it: real files and mounts; docker and systemctl stand in."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from fake_host import FakeMachine
from secret_machines import MARKS

from argosy.secrets import uses
from argosy.secrets.uses import Used, parse_used
from argosy.ssh.shell import Script

pytestmark = MARKS

PLACE = 'mount -t tmpfs none /run; cp -a /etc "$0/etc"; mount --bind "$0/etc" /etc; eval "$1"'
"""A machine's /run and /etc for what is run in it."""


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """One with two services: air-web's container runs, air-down's does not. `calls`: what systemctl was asked."""
    made = FakeMachine(tmp_path)
    made.allow("unshare", "mount")
    made.program("systemctl", '[ "$1" = cat ] && [ "$2" = air-gone.service ] && exit 1\necho "$@" >>"$calls"')
    made.program("docker", "case $4 in air-web) cat /run/pid ;; air-down) echo 0 ;; *) exit 1 ;; esac")
    return made


def run(machine: FakeMachine, lines: str) -> str:
    """Run `lines` where /run and /etc are the test's own."""
    return machine.run(["unshare", "-m", "sh", "-euc", PLACE, machine.root, lines], check=True).stdout


def quoted(script: Script) -> str:
    return " ".join(f"'{word.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'" for word in script)


SECRETS = "mkdir -p /etc/air/secrets; echo old >/etc/air/secrets/token; echo ca >/etc/air/secrets/ca.crt\n"
CONTAINER = """
mkdir -p /tmp/root /run/secrets; : >/run/secrets/token; mount --bind /etc/air/secrets/token /run/secrets/token
tail -f /dev/null & echo $! >/run/pid; trap 'kill $(cat /run/pid)' EXIT
"""
"""Like a container's: its own root is this one, where /run/secrets/token is a mount of the file as it is now."""
LOOK = uses.look("air", ["10.0.0.5:5000"], {"web": ["token"], "down": ["token"], "nowhere": ["token"]})


def test_a_service_with_the_present_file_is_not_stale(machine: FakeMachine) -> None:
    assert parse_used(run(machine, SECRETS + CONTAINER + quoted(LOOK))) == Used()


def test_a_service_is_stale_from_when_another_file_took_the_place(machine: FakeMachine) -> None:
    change = "echo new >/etc/air/secrets/.new; mv -fT /etc/air/secrets/.new /etc/air/secrets/token\n"
    found = parse_used(run(machine, SECRETS + CONTAINER + change + quoted(LOOK)))
    assert found.stale == {"web": ("token",)}


def test_etcd_tells_what_it_was_restarted_for(machine: FakeMachine) -> None:
    restart = quoted(uses.restart_etcd("air"))
    found = parse_used(run(machine, f"{SECRETS}{restart}\necho other >/etc/air/secrets/ca.crt\n{quoted(LOOK)}"))
    assert found.trusts == sha256(b"ca\n").hexdigest()
    assert machine.calls == ["restart air-etcd.service"]


def test_a_restart_that_fails_is_not_told_as_done(machine: FakeMachine) -> None:
    restart = quoted(uses.restart_etcd("air"))
    fail = "printf '#!/bin/sh\\nexit 1\\n' >\"$0/bin/systemctl\"\n"
    assert parse_used(run(machine, f"{SECRETS}{fail}{restart} || true\n{quoted(LOOK)}")).trusts == ""


def test_docker_gets_the_ca_where_it_had_one(machine: FakeMachine) -> None:
    folder = "/etc/docker/certs.d/10.0.0.5:5000"
    trust = quoted(uses.trust_registry("air", ["10.0.0.5:5000", "registry.local:8443"]))
    before = f"{SECRETS}mkdir -p {folder}; echo old >{folder}/ca.crt\n"
    assert parse_used(run(machine, before + quoted(LOOK))).registry == (sha256(b"old\n").hexdigest(),)
    after = f"rm -rf $0/etc/docker; {before}{trust}\nls /etc/docker/certs.d {folder}\n{quoted(LOOK)}"
    shown = run(machine, after)
    assert f"registry {sha256(b'ca' + bytes([10])).hexdigest()}" in shown
    assert "registry.local" not in shown
    assert ".new" not in shown


def test_a_unit_is_restarted_where_there_is_one(machine: FakeMachine) -> None:
    run(machine, "\n".join(quoted(uses.restart(f"air-{name}.service")) for name in ("web", "gone")))
    assert machine.calls == ["cat air-web.service", "restart air-web.service"]
