"""Machines whose engines are real: Docker Swarm between dockerds that share nothing but this host's kernel.

    with swarm_lab(3) as lab:
        lab.form(managers=3)                    # one Swarm of all nodes; or lab.nodes["air-01"].swarm.init(...)
        node = lab.nodes["air-01"]              # .name, .address, .swarm (argosy.engine.swarm.Swarm), .docker("ps")
        lab.power_off("air-02")                 # as by the plug: kill -9 of everything in it
        lab.start("air-02")                     # boots with the data that it had
        lab.cut("air-03"); lab.mend("air-03")   # its cable
        lab.connect("10.213.0.11", 8080)        # a socket in the lab's network, from the test's own process
        lab.get("10.213.0.11", 8080, "/")       # HTTP in it
        lab.run("air-01", "ip", "addr")         # a command in the node
    lab.lead(monkeypatch)                   # from here Host and Hosts reach the nodes' sshds through the lab
    lab.settings(swarm={...})               # of a cluster of the nodes, with their key; lab.machines() are theirs

Every node has namespaces of its own (processes, network, mounts, host name), joined by a bridge in one around all of
them. That one lives as long as a pipe to the test's process is open, so nothing outlives the tests, whatever ends them.
The image IMAGE (busybox: httpd, sh, wget) is on every node; `lab.load(reference)` brings one from this host's engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from packages import unpack
from ssh_server import make_key
from waiting import until

from argosy.config.loading import Settings, load
from argosy.engine.api import EngineApi, at_socket
from argosy.engine.swarm import Swarm
from argosy.errors import ArgosyError
from argosy.model import Machine
from argosy.ssh import connecting, known_hosts

IMAGE = "busybox:lab"
NETWORK = "10.213.0."
PORT = 2377
UP_SECONDS = 30
CLONE_NEWNET = 0x40000000
CGROUPS = Path("/sys/fs/cgroup")

requires_swarm_lab = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(shutil.which(program) for program in ("dockerd", "ip", "unshare", "nsenter", "sshd"))
    or subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False).returncode != 0,
    reason="needs root, dockerd and namespaces",
)

AROUND = """\
ip link set lo up
ip link add name lab type bridge
ip address add 10.213.0.1/24 dev lab
ip link set lab up
echo ready
exec cat >/dev/null
"""
NODE = """\
hostname "$1"
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/lock /run/sshd
# Login shells find nothing of this host's user: what they leave half-done when the power goes, its next shell meets.
mount -t tmpfs tmpfs /root
ip link set lo up
echo ready
read -r _
rm -f "$2/docker.sock"
dockerd --data-root "$2/data" --exec-root /run/docker --pidfile /run/docker.pid --storage-driver overlay2 \
  -H "unix://$2/docker.sock" -H unix:///run/docker.sock --cgroup-parent "$3" --log-level warn $4 >>"$2/log" 2>&1 &
/usr/sbin/sshd -f "$2/../ssh/config" -o ListenAddress=$5
wait $!
"""
SSHD = """\
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass
class LabNode:
    """A machine with an engine. `init`: its first process, as this host counts."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    init: int = 0
    engine: EngineApi = field(init=False)
    swarm: Swarm = field(init=False)

    def __post_init__(self) -> None:
        self.engine = at_socket(self.folder / "docker.sock", self.name)
        self.swarm = Swarm(self.engine)

    def docker(self, *words: str, data: bytes | None = None) -> str:
        """Run the docker command against its engine and return its stdout."""
        argv = ["docker", "-H", f"unix://{self.folder}/docker.sock", *words]
        done = subprocess.run(argv, capture_output=True, input=data, check=False)
        assert done.returncode == 0, f"{self.name}: docker {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def answers(self) -> bool:
        with contextlib.suppress(ArgosyError):
            return bool(self.engine.get("/info"))
        return False


class SwarmLab:
    """`nodes`: by name, running or not. `options`: more words for every dockerd."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.options = options
        self.cgroup = f"/{folder.name}"
        self.nodes: dict[str, LabNode] = {}
        self._around: subprocess.Popen[bytes] | None = None
        self._init = 0

    # The lab

    def open(self) -> None:
        ssh = self.folder / "ssh"
        ssh.mkdir()
        for name in ("host_key", "key"):
            make_key(ssh / name)
        (ssh / "config").write_text(SSHD.format(folder=ssh))
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._around = _begin([*words, "sh", "-euc", AROUND])
        self._init = _first_process(self._around, "cat", 2)

    def close(self) -> None:
        """End everything: with its first process all others of the lab are killed."""
        for node in self.nodes.values():
            node.engine.close()
        if self._around:
            assert self._around.stdin
            self._around.stdin.close()
            self._around.wait(20)
        for node in self.nodes.values():
            if node.process:
                node.process.wait(20)
                _shut(node.process)
        if self._around:
            _shut(self._around)
        self._forget_cgroups()

    def _forget_cgroups(self) -> None:
        for top in CGROUPS.glob(f"*{self.cgroup}"):
            for folder, _, _ in os.walk(top, topdown=False):
                # A process that is being killed may still be in it for a moment.
                until(partial(_removed, Path(folder)))

    # Nodes

    def add(self, *names: str) -> list[LabNode]:
        """Boot new nodes, all at the same time."""
        made = []
        for name in names:
            folder = self.folder / name
            folder.mkdir()
            made.append(LabNode(name, f"{NETWORK}{11 + len(self.nodes)}", folder))
            self.nodes[name] = made[-1]
        self.start(*names)
        image = _image()
        for node in made:
            node.docker("import", "-", IMAGE, data=image)
        return made

    def start(self, *names: str) -> None:
        """Switch nodes on and wait until their engines answer."""
        for name in names:
            self._boot(self.nodes[name])
        for name in names:
            until(self.nodes[name].answers, UP_SECONDS, every=0.05)

    def _boot(self, node: LabNode) -> None:
        inside = ["nsenter", f"--target={self._init}", "--net", "--mount", "--pid"]
        own = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = ["sh", "-euc", NODE, "sh", node.name, str(node.folder), f"{self.cgroup}/{node.name}"]
        with (node.folder / "log").open("ab") as log:
            node.process = _begin([*inside, *own, *script, " ".join(self.options), node.address], log)
        node.init = _first_process(node.process, "sh", 3)
        cable = self._cable(node)
        # A machine that boots again has the same network card.
        card = f"02:00:00:00:00:{int(node.address.rpartition('.')[2]):02x}"
        peer = ["peer", "name", "eth0", "address", card, "netns", str(node.init)]
        self._ip("link", "add", cable, "type", "veth", *peer)
        self._ip("link", "set", cable, "master", "lab", "up")
        _run(["nsenter", f"--target={node.init}", "--net", "ip", "address", "add", f"{node.address}/24", "dev", "eth0"])
        _run(["nsenter", f"--target={node.init}", "--net", "ip", "link", "set", "eth0", "up"])
        assert node.process.stdin
        node.process.stdin.write(b"go\n")
        node.process.stdin.flush()

    def power_off(self, name: str) -> None:
        """Kill everything in the node at once."""
        node = self.nodes[name]
        assert node.process
        _kill(node.init)
        node.process.wait(20)
        # The cable would go with it, but not at once.
        self._ip("link", "delete", self._cable(node), check=False)
        _shut(node.process)
        node.process = None
        node.engine.close()

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Stop (or go on with) every process of the node, as a host that hangs does."""
        signal = "-STOP" if frozen else "-CONT"
        # -1: all that the sender sees but itself and the first process.
        self.run(name, "sh", "-c", f"kill {signal} -1", check=False)

    def cut(self, name: str) -> None:
        self._ip("link", "set", self._cable(self.nodes[name]), "down")

    def mend(self, name: str) -> None:
        self._ip("link", "set", self._cable(self.nodes[name]), "up")

    def load(self, reference: str) -> None:
        """Copy an image of this host's engine to every running node."""
        saved = subprocess.run(["docker", "save", reference], check=True, capture_output=True).stdout
        for node in self.nodes.values():
            if node.process:
                node.docker("load", data=saved)

    def run(self, name: str, *words: str, check: bool = True) -> str:
        """Run a command in a node and return its stdout."""
        done = subprocess.run([*self.inside(name), *words], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{name}: {words}: {done.stderr}"
        return done.stdout

    def inside(self, name: str) -> list[str]:
        """Return the words before a command that is to run in a node."""
        return ["nsenter", f"--target={self.nodes[name].init}", "--net", "--mount", "--uts", "--ipc", "--pid"]

    # Swarm

    def form(self, managers: int | None = None, **options: float) -> None:
        """Make one Swarm of all nodes: the first `managers` (all) of them manage it. `options`: of `Swarm.init`."""
        self._join(list(self.nodes.values()), managers, **options)

    def form_of(self, *names: str, managers: int | None = None, **options: float) -> None:
        """Make one Swarm of some of the nodes."""
        self._join([self.nodes[name] for name in names], managers, **options)

    def _join(self, nodes: Sequence[LabNode], managers: int | None, **options: float) -> None:
        first, *others = nodes
        first.swarm.init(first.address, PORT, **options)  # type: ignore[arg-type]
        tokens = first.swarm.tokens()
        for number, node in enumerate(others, start=2):
            token = tokens.manager if managers is None or number <= managers else tokens.worker
            node.swarm.join(node.address, PORT, [f"{first.address}:{PORT}"], token)

    # The network

    def connect(self, address: str, port: int, timeout_seconds: float = 5) -> socket.socket:
        """Return a connection that was opened in the lab's network; any thread may use it."""
        made: list[socket.socket | OSError] = []

        def dial() -> None:
            # A network namespace is a thread's own, and a socket keeps the one that it was made in.
            try:
                with Path(f"/proc/{self._init}/ns/net").open() as network:
                    if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.create_connection((address, port), timeout_seconds))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=dial, name="lab-dial")
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def lead(self, patch: pytest.MonkeyPatch) -> None:
        """Let ssh connections to the nodes go through the lab."""
        patch.setattr(connecting, "_direct", lambda address, port, timeout: self.connect(address, port, timeout))

    def machines(self) -> list[Machine]:
        return [Machine(node.name, node.address) for node in self.nodes.values()]

    def settings(self, **section: Any) -> Settings:
        """Return the settings of a cluster of the nodes, whose host keys are pinned."""
        own = {"ssh": {"user": "root", "key": str(self.folder / "ssh" / "key")}, **section}
        settings = load({"clusters": {"test": own}}, root=self.folder)
        settings.state_path.mkdir(parents=True, exist_ok=True)
        for node in self.nodes.values():
            key = (self.folder / "ssh" / "host_key.pub").read_text()
            known_hosts.pin(settings.state_path / "known_hosts", node.address, 22, key)
        return settings

    def get(self, address: str, port: int, path: str = "/", name: str = "lab") -> tuple[int, bytes]:
        """Return status and body of one request in the lab's network. Raises OSError when nobody answers."""
        connection = http.client.HTTPConnection(name)
        connection.sock = self.connect(address, port)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _cable(self, node: LabNode) -> str:
        return f"cable{node.address.rpartition('.')[2]}"

    def _ip(self, *words: str, check: bool = True) -> None:
        _run(["nsenter", f"--target={self._init}", "--net", "ip", *words], check=check)


@contextlib.contextmanager
def swarm_lab(size: int = 3, options: Sequence[str] = ()) -> Iterator[SwarmLab]:
    """Give a lab with the nodes air-01 and so on, up and in no Swarm; end and remove it for sure."""
    # A unix socket's path is short: not pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="argosy-lab-", dir="/tmp"))
    lab = SwarmLab(folder, options)
    try:
        lab.open()
        lab.add(*(f"air-{number:02}" for number in range(1, size + 1)))
        yield lab
    finally:
        lab.close()
        shutil.rmtree(folder)


def _begin(argv: list[str], errors: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a process and wait until it says that it is ready."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n", argv
    return process


def _shut(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def _first_process(process: subprocess.Popen[bytes], name: str, depth: int) -> int:
    """Return the first process of the namespace that `process` has begun, `depth` namespaces down."""
    found: list[int] = []

    def look() -> bool:
        pid = process.pid
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(children[0])
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) == depth and numbers[-1] == "1" and status.split()[1] == name:
                found.append(pid)
                return True
        return False

    until(look)
    return found[0]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)


def _run(argv: list[str], check: bool = True) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _image() -> bytes:
    """Return a file system with Debian's static busybox, fetched once and not installed."""
    found = unpack(Path(tempfile.gettempdir()) / "argosy-busybox", "busybox", "busybox-static", folder="bin")
    if found is None:
        pytest.skip("no busybox here: apt-get update")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(found / "busybox", "bin/busybox")
        for name in ("sh", "httpd", "sleep", "wget", "cat", "echo", "hostname", "nc", "env", "true", "false", "seq"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
    return stream.getvalue()
