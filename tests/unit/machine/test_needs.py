"""What a server lacks to become a machine, decided from what LOOK printed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from argosy.config.loading import Settings, load
from argosy.machine.needs import Listener, Needs, Server, needs_of, parse_server
from argosy.model import Machine

MACHINE = Machine("air-01", "10.0.0.1")
NOW = datetime(2026, 5, 1, 12, 0, 0, 500_000, UTC)
READY = Server(
    os=frozenset({"debian"}),
    called="Debian GNU/Linux 12 (bookworm)",
    has=frozenset({"docker", "curl", "flock", "tar", "apt-get", "systemd", "docker.service", "ca-certificates"}),
    engine="28.0.1",
    free_megabytes=20_000,
    addresses=frozenset({"10.0.0.1", "127.0.0.1"}),
)
LOOKED = """\
os ubuntu debian
called Ubuntu 24.04 LTS
has curl
has flock
has tar
has apt-get
has apparmor
has systemd
engine
runs air-secrets.path
free 5120
address 10.0.0.1
address 127.0.0.1
listens tcp 00000000:0016
listens tcp 0100007F:0CEA
listens tcp6 00000000000000000000000000000000:0016
listens tcp6 0000000000000000FFFF00000100007F:0050
listens tcp6 00000000000000000000000001000000:0277
listens udp 3500007F:0035
now 1777636800
"""


def settings(**sections: object) -> Settings:
    return load({"clusters": {"test": sections}}, root=Path("/nowhere"))


def without(*names: str, **changes: object) -> Server:
    return replace(READY, has=READY.has - set(names), **changes)  # type: ignore[arg-type]


def test_what_was_printed_is_read() -> None:
    server = parse_server(LOOKED, NOW, NOW + timedelta(seconds=1))
    assert server.os == {"ubuntu", "debian"}
    assert server.has == {"curl", "flock", "tar", "apt-get", "apparmor", "systemd"}
    assert (server.engine, server.running, server.free_megabytes) == ("", ("air-secrets.path",), 5120)
    assert server.addresses == {"10.0.0.1", "127.0.0.1"}
    assert server.listeners == (
        Listener("tcp", "", 22),
        Listener("tcp", "127.0.0.1", 3306),
        Listener("tcp", "127.0.0.1", 80),
        Listener("udp", "127.0.0.53", 53),
    ), "what listens at an address of IPv6 alone is in nobody's way"
    assert server.skew_seconds == 0
    assert parse_server(LOOKED, NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)).skew_seconds == -60


def test_half_of_it_is_not_taken_for_all() -> None:
    with pytest.raises(ValueError, match="did not tell all"):
        parse_server(LOOKED.partition("listens")[0], NOW, NOW)


def test_a_server_that_has_all_needs_nothing() -> None:
    assert needs_of(settings(), MACHINE, READY) == Needs()


def test_a_bare_server_of_debian_gets_what_it_lacks() -> None:
    bare = without("docker", "docker.service", "curl", engine="")
    assert needs_of(settings(), MACHINE, bare) == Needs(("docker.io", "curl"))
    apparmor = replace(bare, has=bare.has - {"ca-certificates"} | {"apparmor"})
    needs = needs_of(settings(), MACHINE, apparmor)
    assert needs.packages == ("docker.io", "curl", "ca-certificates", "apparmor")
    assert str(needs) == "install docker.io, curl, ca-certificates, apparmor (apt-get)"
    assert needs_of(settings(), MACHINE, replace(apparmor, has=apparmor.has | {"apparmor_parser"})).packages == (
        "docker.io",
        "curl",
        "ca-certificates",
    )


def test_an_engine_that_does_not_run_is_started() -> None:
    needs = needs_of(settings(), MACHINE, replace(READY, engine=""))
    assert needs == Needs((), start_docker=True)
    assert (str(needs), needs.to_install) == ("start Docker", True)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (
            without("docker", "curl", "apt-get", os=frozenset({"fedora"}), called="Fedora Linux 42", engine=""),
            "it lacks docker, curl, and Fedora Linux 42 has no apt-get: install that",
        ),
        (without("systemd"), "it lacks a running systemd"),
        (
            without("apt-get", os=frozenset({"fedora"}), engine=""),
            "its Docker does not run: systemctl enable --now docker.service",
        ),
        (
            without("docker.service", engine=""),
            "its Docker is no unit docker.service: take it away, or start it as that",
        ),
        (
            without("docker.service"),
            "its Docker is no unit docker.service: take it away, or start it as that",
        ),
        (
            replace(READY, free_megabytes=999),
            "999 MB are free where Docker keeps images, 1000 are needed",
        ),
        (replace(READY, skew_seconds=-61.4), "its clock is 61 s behind this host's: set it"),
        (
            replace(READY, addresses=frozenset({"192.168.1.4", "127.0.0.1"})),
            "10.0.0.1 is no address of its own (192.168.1.4): give the one by which the other machines reach it",
        ),
        (
            replace(READY, listeners=(Listener("tcp", "", 80),)),
            "its port 80/tcp is taken, which is that of the router (discovery.ports.http)",
        ),
        (
            replace(READY, listeners=(Listener("udp", "", 53),)),
            "its port 53/udp is taken, which is that of the machine's DNS (discovery)",
        ),
    ],
)
def test_what_only_its_owner_can_put_right_is_told(server: Server, problem: str) -> None:
    needs = needs_of(settings(), MACHINE, server)
    assert needs.problems == (problem,)
    assert not needs.to_install


def test_who_listens_elsewhere_is_in_nobody_s_way() -> None:
    listeners = (Listener("udp", "127.0.0.53", 53), Listener("tcp", "", 22), Listener("udp", "", 80))
    assert needs_of(settings(), MACHINE, replace(READY, listeners=listeners)).problems == ()


def test_what_a_machine_uses_is_its_own() -> None:
    used = replace(READY, listeners=(Listener("tcp", "", 2379),), running=("air-etcd.service",))
    assert needs_of(settings(), MACHINE, used).problems == (), "half installed"
    full = replace(used, free_megabytes=1, running=(), skew_seconds=99)
    assert len(needs_of(settings(), MACHINE, full).problems) == 3
    assert needs_of(settings(), MACHINE, full, installed=True) == Needs()
