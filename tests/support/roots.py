"""Hosts of other Debian suites beside this one: a system made by mmdebstrap, entered in namespaces of its own.

    with root("trixie") as host:
        host.run(["docker", "--version"])
        with host.engine() as socket:
            docker.DockerClient(f"unix://{socket}").ping()

A system is made once for each suite and list of packages, under CACHE (remove it to get newer packages); what a root
writes is its own, and goes with it. Its network is its own, too, with a way out through slirp4netns, so that bridges,
addresses, ports and firewall are nobody else's. Every process in it ends with the test, also when pytest is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import until

from argosy.atomic import locked
from argosy.config.suites import HOSTS

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path("/var/cache/argosy-tests")
ENTER = Path(__file__).with_name("enter_root.sh")
PROGRAMS = ("mmdebstrap", "slirp4netns", "nsenter", "unshare")
CGROUPS = Path("/sys/fs/cgroup")
BASE = ("ca-certificates", "iproute2", "kmod", "netbase", "procps")
HOST = (
    "curl", "debian-archive-keyring", "docker-buildx", "docker-cli", "docker-registry", "docker.io", "etcd-client",
    "etcd-server", "haproxy", "iptables", "mmdebstrap", "openssh-client", "python3-venv", "rsync",
)  # fmt: skip
"""What tests look for on a host of trixie and later: tests that name no other packages share one system."""
VOLUMES = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/argosy")
"""An engine keeps its data on a real file system: its overlays can't stand on the root's."""
HOST_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
HOST_VARIABLES = ("PIP_", "SSL_CERT_", "http_proxy", "https_proxy", "no_proxy")
"""How this host reaches the archives and the package index, where it has such."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUN_SECONDS = 300
MAKE_SECONDS = 900
ENGINE_SECONDS = 60
END_SECONDS = 30


@dataclass(frozen=True)
class Root:
    """A root that runs. `pid`: of its process 1, as this host sees it."""

    name: str
    pid: int

    def path(self, inside: str) -> Path:
        """Return where this host sees a file of the root (unless a link on the way is absolute)."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def argv(self, argv: Sequence[str], folder: str = "/root", **environment: str) -> list[str]:
        """Return the command that runs `argv` in a folder of the root."""
        own = {key: value for key, value in os.environ.items() if key.startswith(HOST_VARIABLES)}
        variables = {"HOME": "/root", "PATH": PATH, "LANG": "C.UTF-8"} | own | environment
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--root"]
        assignments = (f"{key}={value}" for key, value in variables.items())
        return [*enter, f"--wd={self.path(folder)}", "env", "-i", *assignments, *argv]

    def run(
        self,
        argv: Sequence[str],
        folder: str = "/root",
        *,
        stdin: str = "",
        check: bool = True,
        timeout: float = RUN_SECONDS,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` in the root; with `check`, its failure is the test's."""
        command = self.argv(argv, folder, **environment)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{shlex.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    @contextmanager
    def engine(self, *, containerd_store: bool = False, minimum_api: str = "", **options: object) -> Iterator[Path]:
        """Yield the socket of a Docker engine in the root, as this host sees it; there it is /run/docker.sock.

        `containerd_store`: images are in containerd's store, as Docker 29 has them; `minimum_api`: the oldest version
        of the API that it speaks (of Docker 29: 1.44); `options`: more for its daemon.json.
        """
        own = {"cgroup-parent": f"/{self.name}", "hosts": ["unix:///run/docker.sock"]}
        features = {"features": {"containerd-snapshotter": True}} if containerd_store else {}
        self.path("/etc/docker").mkdir(exist_ok=True)
        self.path("/etc/docker/daemon.json").write_text(json.dumps(own | features | options))
        environment = {"DOCKER_MIN_API_VERSION": minimum_api} if minimum_api else {}
        log, address = self.path("/var/log/dockerd.log"), self.path("/run/docker.sock")
        with log.open("ab") as stream:
            process = subprocess.Popen(
                self.argv(["dockerd"], **environment), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        try:
            until(lambda: process.poll() is not None or _answers(address), ENGINE_SECONDS, 0.1)
            assert process.poll() is None, f"dockerd ended with {process.returncode}:\n{log.read_text()[-3000:]}"
            yield address
        finally:
            with suppress(FileNotFoundError):
                self.run(["kill", self.path("/run/docker.pid").read_text()], check=False)
            process.wait(END_SECONDS)


@contextmanager
def root(
    suite: str, packages: Sequence[str] = HOST, *, cgroup: str = "", binds: Sequence[Path | str] = ()
) -> Iterator[Root]:
    """Yield a root of Debian's `suite` with `packages`; skip where none can be made.

    `packages`: as `system` takes them. `cgroup`: v1 or v2, else what this host has; on a host of v1 its second
    hierarchy, which has no controllers, is the root's v2. `binds`: folders and files of this host, there at the same
    path, or HOST:INSIDE.
    """
    tree = cgroup_tree(Path("/proc/mounts").read_text(), cgroup)
    if tree is None:
        pytest.skip(f"no cgroup {cgroup} on this host")
    lower = system(suite, packages)
    with _live_folder(suite) as live, _process_1(lower, live, tree, binds) as pid, _way_out(pid):
        yield Root(live.name, pid)


@contextmanager
def checkout(suite: str, *, cgroup: str = "", binds: Sequence[Path | str] = ()) -> Iterator[Root]:
    """Yield a root with this checkout at its place, whose .venv there is one of the suite's Python, kept for later."""
    venv = CACHE / f"venv-{suite}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"
    venv.mkdir(parents=True, exist_ok=True)
    with root(suite, cgroup=cgroup, binds=[ROOT, f"{venv}:{ROOT}/.venv", *binds]) as made:
        with locked(CACHE / f"{venv.name}.lock"):
            made.run(["scripts/bootstrap", "venv"], str(ROOT))
        yield made


def system(suite: str, packages: Sequence[str] = HOST) -> Path:
    """Return the folder of a system of Debian's `suite` with BASE and `packages`, made where it is not there yet.

    All roots share it: nobody writes there. `packages`: as apt takes them; `NAME/SUITE` is another suite's, whose
    archive the system then has as well. Skips where no system can be made.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing or os.geteuid():
        pytest.skip(f"no other suite here: {', '.join(missing) or 'not root'} (scripts/bootstrap test-packages)")
    command = _mmdebstrap(suite, sorted({*BASE, *packages}))
    key = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:12]
    made = CACHE / f"system-{suite}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / f"{made.name}.lock"):
        if not made.exists():
            _make_system(command, made)
    return made


def _make_system(command: list[str], made: Path) -> None:
    unfinished = made.with_name(f"unfinished-{made.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    log = CACHE / f"{made.name}.log"
    with log.open("w") as stream:
        done = subprocess.run(
            [word.replace("TARGET", str(unfinished)) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            timeout=MAKE_SECONDS,
            check=False,
        )
    assert done.returncode == 0, f"mmdebstrap ended with {done.returncode}:\n{log.read_text()[-3000:]}"
    unfinished.rename(made)


def _mmdebstrap(suite: str, packages: Sequence[str]) -> list[str]:
    """Return the command that makes a system at TARGET. Manuals and translations stay out."""
    excluded = ("man", "locale", "doc")
    suites = [suite, *dict.fromkeys(name.partition("/")[2] for name in packages if "/" in name)]
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={line}" for line in _host_s_checks()),
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in excluded),
        suite,
        "TARGET",
        *_archives(suites),
    ]


def _host_s_checks() -> list[str]:
    """Return how this host's apt looks at an archive's dates: a mirror that stands still is past them."""
    dump = ["apt-config", "dump", "Acquire::Check-Valid-Until", "Acquire::Check-Date"]
    return subprocess.run(dump, capture_output=True, text=True, check=True).stdout.splitlines()


def _archives(suites: Sequence[str]) -> list[str]:
    """Return the sources of `suites` at this host's archives; none where it isn't Debian, for mmdebstrap knows them."""
    ask = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Origin: Debian", "Created-By: Packages"]
    said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    found = dict(line.split() for line in said.splitlines())
    main, security = found.get("Debian"), found.get("Debian-Security")
    if not main:
        return []
    lines = []
    for suite in suites:
        lines.append(f"deb {main} {suite} main")
        if suite in HOSTS and security:
            lines += [f"deb {main} {suite}-updates main", f"deb {security} {suite}-security main"]
    return lines


def cgroup_tree(mounts: str, version: str) -> Path | None:
    """Return what is to be a root's /sys/fs/cgroup, from /proc/mounts; None where the host lacks it. Pure."""
    types = {fields[1]: fields[2] for fields in map(str.split, mounts.splitlines())}
    own = types.get(str(CGROUPS))
    if not version:
        return CGROUPS
    if version == "v1":
        return CGROUPS if own == "tmpfs" else None
    return next((Path(folder) for folder, kind in types.items() if kind == "cgroup2"), None)


@contextmanager
def _live_folder(suite: str) -> Iterator[Path]:
    """Yield a folder for what a root writes; remove it in the end, and those that killed runs left."""
    folders = CACHE / "live"
    folders.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with locked(CACHE / "live.lock"):
            for left in folders.iterdir():
                with suppress(BlockingIOError), locked(left / "lock", wait=False):
                    _remove_live(left)
            made = folders / f"argosy-{suite}-{secrets.token_hex(4)}"
            made.mkdir()
            held.enter_context(locked(made / "lock"))
        try:
            yield made
        finally:
            _remove_live(made)


def _remove_live(folder: Path) -> None:
    """Remove what a root has left whose processes have ended: the groups of its engine's containers, its files."""
    for parent in [CGROUPS, *CGROUPS.iterdir()]:
        for group, _, _ in os.walk(parent / folder.name, topdown=False):
            Path(group).rmdir()
    shutil.rmtree(folder)


@contextmanager
def _process_1(lower: Path, live: Path, tree: Path, binds: Sequence[Path | str]) -> Iterator[int]:
    """Run process 1 of a root and yield its id. The pipe to it ends with this process, and it with the pipe."""
    for part in ("upper", "work", "root"):
        (live / part).mkdir()
    pairs = [*(path for path in HOST_FILES if Path(path).exists()), *map(str, binds)]
    pairs = [pair if ":" in pair else f"{pair}:{pair}" for pair in pairs]
    for number, volume in enumerate(VOLUMES):
        (live / f"volume-{number}").mkdir()
        pairs.append(f"{live}/volume-{number}:{volume}")
    namespaces = ("--mount", "--pid", "--net", "--uts", "--ipc", "--propagation=private", "--fork", "--kill-child")
    command = ["unshare", *namespaces, "bash", *map(str, (ENTER, lower, live, tree, live.name)), *pairs]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin
        assert process.stdout
        try:
            said = process.stdout.readline()
            assert said == b"ready\n", said + process.stdout.read()
            yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        finally:
            process.stdin.close()
            try:
                process.wait(END_SECONDS)
            finally:
                process.kill()


@contextmanager
def _way_out(pid: int) -> Iterator[None]:
    """Connect the network of process `pid` with this host's, through a process that ends when this one does."""
    (waits, ready), (ends, end) = os.pipe(), os.pipe()
    slirp = ["slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback"]
    process = subprocess.Popen(
        [*slirp, f"--ready-fd={ready}", f"--exit-fd={ends}", str(pid), "tap0"],
        pass_fds=(ready, ends),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ready)
    os.close(ends)
    try:
        assert os.read(waits, 1), f"slirp4netns ended with {process.wait()}"
        yield
    finally:
        os.close(waits)
        os.close(end)
        process.wait(END_SECONDS)


def _answers(address: Path) -> bool:
    """Say whether an engine answers at its socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(address))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False
