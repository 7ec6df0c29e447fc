"""A real dnsmasq with our options, glibc as the machine's programs use it, and use-dns between them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns_place import (
    AAAA,
    ANY,
    BRIDGE,
    DNSMASQ,
    HTTPS,
    MX,
    NOERROR,
    NS,
    OUTSIDE,
    REFUSED,
    SOA,
    SRV,
    TXT,
    UPSTREAM,
    A,
    DnsPlace,
    dns_place,
    eventually,
)

from argosy.cloudconfig.files import programs
from argosy.config import dns
from argosy.config.loading import load
from argosy.config.suites import base_image, host_suite
from argosy.paths import Names

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces"),
    pytest.mark.skipif(not Path(DNSMASQ).exists(), reason="Debian's package dnsmasq-base is not installed"),
]

ROOT = Path(__file__).resolve().parents[3]
OURS = "machine"
IMAGE = "argosy-test/dnsmasq"
BASE = base_image(host_suite())
RESOLVER_TIMEOUT_SECONDS = 1
"""As resolv.conf says it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own, which only its owner may enter."""
    made = Path(tempfile.mkdtemp(prefix="argosy-dns-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def bare(folder: Path) -> Iterator[DnsPlace]:
    """Two upstream servers, and neither a bridge nor our dnsmasq."""
    with dns_place(folder) as place:
        place.start_upstream()
        yield place


@pytest.fixture
def place(bare: DnsPlace) -> DnsPlace:
    """The same with both."""
    bare.add_bridge()
    start_ours(bare)
    eventually(lambda: bare.addresses("ready.local"))
    return bare


def start_ours(place: DnsPlace) -> int:
    upstream = place.folder / dns.UPSTREAM_NAME
    if not upstream.exists():
        tell_upstream(place, UPSTREAM)
    return place.start(
        OURS, dns.container_arguments(domain="local", bridge_address=BRIDGE, upstream_file=str(upstream))
    )


def tell_upstream(place: DnsPlace, *servers: str) -> None:
    """Replace the file as use-dns does."""
    new = place.folder / "new"
    new.write_text("".join(f"nameserver {server}\n" for server in servers))
    new.rename(place.folder / dns.UPSTREAM_NAME)


# Answers


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_every_name_under_the_domain_is_the_bridge(place: DnsPlace, tcp: bool) -> None:
    names = ["service1.local", "a.b.local", "SERVICE1.Local", "a-b_c.local", "local"]
    for server in (BRIDGE, dns.LOOPBACK_ADDRESS):
        answers = place.ask(*((server, name, A) for name in names), tcp=tcp)
        assert [answer.addresses for answer in answers] == [[BRIDGE]] * len(names)
    assert place.asked() == []


def test_other_types_have_no_data_at_once_and_are_asked_of_nobody(place: DnsPlace) -> None:
    kinds = [AAAA, MX, TXT, SRV, SOA, NS, HTTPS]
    answers = place.ask(*((BRIDGE, "service1.local", kind) for kind in kinds))
    assert [(answer.status, answer.addresses) for answer in answers] == [(NOERROR, [])] * len(kinds)
    assert place.ask((BRIDGE, "service1.local", ANY))[0].addresses == [BRIDGE]
    assert place.asked() == []


def test_other_names_are_asked_upstream_even_short_ones(place: DnsPlace) -> None:
    names = ["www.example.org", "notlocal", "local.example.org", "xlocal"]
    assert [place.addresses(name) for name in names] == [["127.0.9.9"]] * len(names)
    assert place.asked() == names


def test_the_bridge_s_address_has_a_name(place: DnsPlace) -> None:
    (place.folder / "resolv.conf").write_text(f"nameserver {BRIDGE}\n")
    assert place.run("getent", "hosts", BRIDGE).split() == [BRIDGE, "router.local"]
    assert place.asked() == []


# Where it listens, and as whom


def test_it_listens_on_the_bridge_and_the_loopback_address_alone(place: DnsPlace) -> None:
    lines = [line.split() for line in place.run("ss", "-H", "-l", "-n", "-t", "-u").splitlines()]
    listening = {(line[0], line[4]) for line in lines} - {("udp", f"{UPSTREAM}:53"), ("tcp", f"{UPSTREAM}:53")}
    assert listening == {
        (kind, f"{address}:53") for kind in ("udp", "tcp") for address in (BRIDGE, dns.LOOPBACK_ADDRESS)
    }
    assert OUTSIDE not in str(listening)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_it_answers_again_when_the_bridge_comes_back(place: DnsPlace, tcp: bool) -> None:
    for name in ("first.example.org", "second.example.org"):
        place.remove_bridge()
        assert place.addresses("service1.local", dns.LOOPBACK_ADDRESS) == [BRIDGE]
        place.add_bridge()
        answers = place.ask((BRIDGE, "service1.local", A), (BRIDGE, name, A), tcp=tcp)
        assert [answer.addresses for answer in answers] == [[BRIDGE], ["127.0.9.9"]]


def test_without_a_bridge_it_ends_so_that_its_unit_tries_again(bare: DnsPlace) -> None:
    start_ours(bare)
    assert bare.running.pop(OURS).wait(timeout=10) != 0
    bare.add_bridge()
    start_ours(bare)
    assert eventually(lambda: bare.addresses("service1.local")) == [BRIDGE]


def test_it_keeps_no_capability_and_is_nobody_special(place: DnsPlace) -> None:
    status = Path(f"/proc/{place.running[OURS].pid}/status").read_text()
    fields = {line.partition(":")[0]: line.partition(":")[2].split() for line in status.splitlines()}
    assert "0" not in fields["Uid"]
    assert [int(fields[name][0], 16) for name in ("CapEff", "CapPrm", "CapAmb")] == [0, 0, 0]


# Whom it asks


def test_it_notices_other_upstream_servers(place: DnsPlace) -> None:
    place.start_upstream("other", "127.0.0.78", "127.0.9.10")
    tell_upstream(place, "127.0.0.78")
    eventually(lambda: place.addresses("www.example.org") == ["127.0.9.10"])


@pytest.mark.parametrize("itself", [dns.LOOPBACK_ADDRESS, BRIDGE])
def test_it_asks_itself_not_even_when_told_to(place: DnsPlace, itself: str) -> None:
    tell_upstream(place, itself)
    eventually(lambda: place.ask((BRIDGE, "www.example.org", A))[0].status == REFUSED)
    assert place.ask((BRIDGE, "www.example.net", A))[0].status == REFUSED
    assert place.addresses("service1.local") == [BRIDGE]


# The machine


class Machine:
    """The program use-dns, with the machine's /run/air in the place's folder."""

    def __init__(self, place: DnsPlace) -> None:
        self.place = place
        self.resolv_conf = place.folder / "resolv.conf"
        settings = load({"docker": {"bip": f"{BRIDGE}/16"}, "clusters": {"test": {}}})
        files = {Path(program.path).name: program.content for program in programs(settings, Names("air"))}
        program = files["use-dns"].replace("/run/air/dns", str(place.folder)).replace("systemctl ", "true ")
        (place.folder / "use-dns").write_text(program)
        (place.folder / "use-dns").chmod(0o755)

    def use_dns(self, *words: str) -> str:
        return self.place.run(self.place.folder / "use-dns", *words)


@pytest.fixture
def machine(place: DnsPlace) -> Machine:
    return Machine(place)


def test_the_machine_resolves_the_domain_and_dnsmasq_asks_whom_the_machine_asked(machine: Machine) -> None:
    tell_upstream(machine.place)
    assert machine.place.resolve("service1.local") != BRIDGE
    inode = machine.resolv_conf.stat().st_ino
    machine.use_dns()
    assert machine.resolv_conf.stat().st_ino == inode, "a mounted file is written in place"
    assert machine.place.resolve("service1.local") == BRIDGE
    assert eventually(lambda: machine.place.addresses("www.example.org")) == ["127.0.9.9"]
    assert machine.use_dns() == ""


def test_without_dnsmasq_other_names_resolve_at_once(machine: Machine) -> None:
    machine.use_dns()
    machine.place.stop(OURS)

    def is_at_once() -> bool:
        began = time.monotonic()
        assert machine.place.resolve("www.example.org") == "127.0.9.9"
        return time.monotonic() - began < RESOLVER_TIMEOUT_SECONDS

    eventually(is_at_once)


def test_beside_a_dnsmasq_that_hangs_other_names_resolve_in_seconds(machine: Machine) -> None:
    machine.use_dns()
    process = machine.place.running[OURS]
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert machine.place.resolve("www.example.org") == "127.0.9.9"
    finally:
        process.send_signal(signal.SIGCONT)
    assert time.monotonic() - began > 0.9 * RESOLVER_TIMEOUT_SECONDS


def test_undone_the_machine_is_as_it_was(machine: Machine) -> None:
    before = machine.resolv_conf.read_bytes()
    machine.use_dns()
    assert machine.resolv_conf.read_bytes() != before
    machine.use_dns("--undo")
    assert machine.resolv_conf.read_bytes() == before


# The image


def docker(*words: str | Path, check: bool = True) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    if not shutil.which("docker") or not docker("images", "--quiet", BASE, check=False):
        pytest.skip(f"no engine with the image {BASE}: `scripts/bootstrap base`")
    tag = f"{IMAGE}:{os.getpid()}"
    build = ["docker", "build", "--quiet", "--label=argosy.test=1", f"--build-arg=SUITE={host_suite()}", f"--tag={tag}"]
    subprocess.run([*build, str(ROOT / "images/dnsmasq")], check=True, capture_output=True)
    yield tag
    docker("rmi", tag)


def run_image(image: str, folder: Path, capabilities: tuple[str, ...]) -> str:
    """Run it as the unit does, but in a network of its own: its bridge is another loopback address.

    There Docker lets everybody listen on every port; on a machine's network, as the kernel has it, only root may.
    """
    folder.chmod(0o755)
    bridge = "127.0.0.43"
    return docker(
        *("run", "--detach", "--label=argosy.test=1", f"--dns={bridge}"),
        "--sysctl=net.ipv4.ip_unprivileged_port_start=1024",
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--env=BRIDGE_ADDRESS={bridge}"),
        *(f"--cap-add={capability}" for capability in capabilities),
        f"--volume={folder}:{dns.UPSTREAM_FOLDER}:ro",
        image,
        *dns.container_arguments(domain="local"),
    )


def test_the_image_runs_with_its_capabilities_and_passes_its_check(image: str, folder: Path) -> None:
    container = run_image(image, folder, dns.CAPABILITIES)
    try:
        found = eventually(lambda: docker("exec", container, *dns.check_command("local")))
        assert found.split()[0] == "127.0.0.43"
        docker("stop", "--time=5", container)
        assert docker("inspect", "--format={{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "--force", container)


@pytest.mark.parametrize("lacking", dns.CAPABILITIES)
def test_the_image_needs_each_of_its_capabilities(image: str, folder: Path, lacking: str) -> None:
    """All else is as in the test before, in which it runs."""
    container = run_image(image, folder, tuple(name for name in dns.CAPABILITIES if name != lacking))
    try:
        assert eventually(lambda: docker("inspect", "--format={{.State.Status}}", container) == "exited")
        assert docker("inspect", "--format={{.State.ExitCode}}", container) != "0"
    finally:
        docker("rm", "--force", container)


def test_the_check_fails_where_nothing_is_resolved(image: str) -> None:
    argv = ["run", "--rm", "--label=argosy.test=1", "--dns=127.0.0.43", "--entrypoint=getent", image]
    assert docker(*argv, *dns.check_command("local")[1:], check=False) == ""
