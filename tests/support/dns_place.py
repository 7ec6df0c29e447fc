"""A network of its own for dnsmasq: a namespace with loopback, a bridge, and a resolv.conf that is mounted.

It goes with the process that holds it, whatever becomes of the test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import tenacity

T = TypeVar("T")

BRIDGE = "172.17.42.1"
OUTSIDE = "10.77.0.5"
UPSTREAM = "127.0.0.77"
DNSMASQ = "/usr/sbin/dnsmasq"

# Reads [[server, name, type, tcp], ...] and prints [{"status", "addresses", "seconds"}, ...]. RFC 1035, section 4.
ASK = """
import json, socket, struct, sys, time

def question(name, kind):
    labels = b"".join(bytes([len(it)]) + it.encode() for it in name.split("."))
    return struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack(">2H", kind, 1)

def exchange(server, asked, tcp):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as talking:
        talking.settimeout(3)
        talking.connect((server, 53))
        if not tcp:
            talking.send(asked)
            return talking.recv(4096)
        talking.sendall(struct.pack(">H", len(asked)) + asked)
        with talking.makefile("rb") as answer:
            return answer.read(struct.unpack(">H", answer.read(2))[0])

def name_length(message, at):
    start = at
    while message[at] and message[at] < 192:
        at += message[at] + 1
    return at - start + (2 if message[at] else 1)

def ask(server, name, kind, tcp):
    asked, began, addresses = question(name, kind), time.monotonic(), []
    answer = exchange(server, asked, tcp)
    at = len(asked)
    for _ in range(struct.unpack(">H", answer[6:8])[0]):
        at += name_length(answer, at)
        found, _, _, length = struct.unpack(">HHIH", answer[at:at + 10])
        if found == 1:
            addresses.append(socket.inet_ntoa(answer[at + 10:at + 14]))
        at += 10 + length
    return {"status": answer[3] & 15, "addresses": addresses, "seconds": time.monotonic() - began}

print(json.dumps([ask(*words) for words in json.loads(sys.argv[1])]))
"""
A, NS, SOA, MX, TXT, AAAA, SRV, HTTPS, ANY = 1, 2, 6, 15, 16, 28, 33, 65, 255
NOERROR, REFUSED = 0, 5


@dataclass(frozen=True)
class Answer:
    status: int
    addresses: list[str]
    seconds: float


@dataclass
class DnsPlace:
    """`folder`: readable for everybody, since dnsmasq becomes another user."""

    folder: Path
    holder: subprocess.Popen[str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def inside(self, *words: str | Path) -> list[str]:
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--", *map(str, words)]

    def run(self, *words: str | Path, check: bool = True) -> str:
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, check=False, timeout=30)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *questions: tuple[str, str, int], tcp: bool = False) -> list[Answer]:
        """Ask each (server, name, type)."""
        text = self.run(sys.executable, "-c", ASK, json.dumps([[*question, tcp] for question in questions]))
        return [Answer(**load) for load in json.loads(text)]

    def addresses(self, name: str, server: str = BRIDGE) -> list[str]:
        return self.ask((server, name, A))[0].addresses

    def resolve(self, name: str) -> str:
        """Return what a program of the machine finds by glibc, or nothing."""
        return self.run("getent", "ahostsv4", name, check=False).partition(" ")[0]

    def start(self, name: str, options: Sequence[str]) -> int:
        """Start dnsmasq, with its log in the folder, and return its process id."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(self.inside(DNSMASQ, *options), stdout=log, stderr=log)
        return self.running[name].pid

    def start_upstream(self, name: str = "upstream", address: str = UPSTREAM, answer: str = "127.0.9.9") -> None:
        """Start a name server that knows an address for every name, also for those that it should never be asked."""
        options = ["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"]
        options += [f"--address=/#/{answer}", f"--listen-address={address}", "--bind-interfaces"]
        self.start(name, [*options, "--user=nobody", "--log-queries", "--log-facility=-"])
        eventually(lambda: self.ask((address, "ready.test", A)))

    def asked(self, name: str = "upstream") -> list[str]:
        """Return the names that the server was asked for."""
        words = (line.split() for line in (self.folder / f"{name}.log").read_text().splitlines())
        names = [line[2] for line in words if len(line) > 2 and line[1].startswith("query[")]
        return [name for name in names if not name.endswith(".test")]

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        process.wait(timeout=10)

    def add_bridge(self) -> None:
        self.run("ip", "link", "add", "docker0", "type", "bridge")
        self.run("ip", "address", "add", f"{BRIDGE}/16", "dev", "docker0")
        self.run("ip", "link", "set", "docker0", "up")

    def remove_bridge(self) -> None:
        self.run("ip", "link", "delete", "docker0")


def eventually(attempt: Callable[[], T], seconds: float = 10) -> T:
    """Call until it neither fails nor gives something false."""
    for again in tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds), wait=tenacity.wait_fixed(0.05), reraise=True
    ):
        with again:
            found = attempt()
            assert found
            return found
    raise AssertionError


@contextmanager
def dns_place(folder: Path) -> Iterator[DnsPlace]:
    """Yield a place without a bridge; `folder`/resolv.conf is its /etc/resolv.conf."""
    folder.chmod(0o755)
    (folder / "resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    script = (
        'ip link set lo up; ip link add eth0 type bridge; ip address add "$2/24" dev eth0; ip link set eth0 up; '
        'mount --bind "$1/resolv.conf" /etc/resolv.conf; echo ready; exec cat'
    )
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "--propagation=private", "sh", "-ec", script, "sh", folder, OUTSIDE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    place = DnsPlace(folder, holder)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield place
    finally:
        for name in list(place.running):
            place.stop(name)
        holder.kill()
        holder.wait()
        for stream in (holder.stdin, holder.stdout):
            if stream:
                stream.close()
