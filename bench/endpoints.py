"""Many ssh endpoints on loopback: real sshds, addresses of 127.0.0.0/8, one key, gone when the context ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from getpass import getuser
from pathlib import Path

# sshd's MAX_LISTEN_SOCKS.
ADDRESSES_OF_ONE_SSHD = 16
START_SECONDS = 30
# How many at a time, for all that can be told: the default of ssh.max_parallel.
PARALLEL = 32
# What every endpoint has to answer.
WORD = "argosy"
STATE_CLUSTER = "bench"
OWN_OPT = 'mount --bind "$0" /opt && exec "$@"'

OPTIONS = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/id_ed25519.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
LogLevel ERROR
# All knock at once, and none may be turned away.
MaxStartups 2000
PerSourceMaxStartups none
MaxSessions 100
# bash reads a ~/.bashrc, slow on some hosts, only in the outermost shell: it is not what is measured.
SetEnv SHLVL=3
"""


@dataclass(frozen=True)
class Endpoints:
    """Where they are and how to get in. `folder` holds key, known_hosts, and what the contenders need."""

    folder: str
    addresses: list[str]
    port: int
    user: str
    key: str
    known_hosts: str

    def save(self) -> Path:
        """Write it down for a contender in a process of its own."""
        path = Path(self.folder) / "endpoints.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def load(cls, path: str) -> Endpoints:
        return cls(**json.loads(Path(path).read_text()))

    def ssh_options(self) -> list[str]:
        """Return ssh(1)'s options: only this key, only these host keys, nothing of the user's own."""
        pairs = {
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
        }
        options = [word for name, value in pairs.items() for word in ("-o", f"{name}={value}")]
        return ["-F", "none", "-i", self.key, "-p", str(self.port), "-l", self.user, *options]


@contextlib.contextmanager
def endpoints(count: int, folder: Path, first: Sequence[str] = (), opt: Path | None = None) -> Iterator[Endpoints]:
    """Start `count` endpoints; raises SystemExit with one line where that can't be done.

    `first`: the addresses of the first ones; `opt`: what stands at /opt for those who come in, which takes root.
    """
    sshd = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
    if sshd is None:
        raise SystemExit("bench.fanout needs an sshd here: apt-get install openssh-server")
    more = (f"127.77.{number // 250}.{number % 250 + 1}" for number in range(count))
    addresses = [*first, *more][:count]
    port = _port_free_on(addresses[0])
    for name in ("host_key", "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    # Where Argosy looks for the pins of the cluster STATE_CLUSTER, with `folder` as its state folder.
    known_hosts = folder / STATE_CLUSTER / "known_hosts"
    known_hosts.parent.mkdir()
    known_hosts.write_text("".join(f"[{address}]:{port} {host_key}\n" for address in addresses))
    started: list[subprocess.Popen[bytes]] = []
    try:
        for at in range(0, count, ADDRESSES_OF_ONE_SSHD):
            started.append(_start(sshd, folder, addresses[at : at + ADDRESSES_OF_ONE_SSHD], port, opt))
        _wait_for_all(addresses, port, started, folder / "log")
        yield Endpoints(str(folder), addresses, port, getuser(), str(folder / "id_ed25519"), str(known_hosts))
    finally:
        for process in started:
            _stop(process)


def _start(sshd: str, folder: Path, addresses: list[str], port: int, opt: Path | None) -> subprocess.Popen[bytes]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = folder / f"sshd-{addresses[0]}"
    listen = "".join(f"ListenAddress {address}:{port}\n" for address in addresses)
    config.write_text(listen + OPTIONS.format(folder=folder))
    # Should we be killed, they end as well.
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    if opt:
        guard = ["unshare", "--mount", "sh", "-c", OWN_OPT, str(opt), *guard]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*guard, sshd, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _wait_for_all(addresses: list[str], port: int, started: list[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    waiting = list(addresses)
    while waiting:
        with contextlib.suppress(OSError), socket.create_connection((waiting[-1], port), 1):
            waiting.pop()
            continue
        if time.monotonic() > deadline or any(process.poll() is not None for process in started):
            said = log.read_text().strip().rpartition("\n")[2]
            raise SystemExit(f"no sshd came up at {waiting[-1]}:{port}: {said}")
        # A poll with a deadline: a port tells nobody that it is about to listen.
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End an sshd and the processes of its connections, each of which leads a group of its own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError):
        for pid in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    process.kill()
    process.wait()


def _port_free_on(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
