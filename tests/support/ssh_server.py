"""A real sshd of the tests' own, on loopback, that leaves the host's own alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tenacity

from argosy.config.defaults import DEFAULTS
from argosy.config.loading import SshSettings
from argosy.model import Machine
from argosy.ssh import known_hosts
from argosy.ssh.host import Host

CORE_ID = 4242
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")

requires_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")

requires_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("sudo") or subprocess.call(["unshare", "--mount", "true"]) != 0,
    reason="needs root, sudo and mount namespaces",
)


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path], check=True)
    return path


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class SshServer:
    """`folder` holds its host key, the accepted key (`key`) and the known_hosts file that pins it."""

    folder: Path
    addresses: Sequence[str] = ("127.0.0.1",)
    options: Sequence[str] = ()
    wrapper: Sequence[str] = ()
    user: str = ""
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def pins(self) -> Path:
        return self.folder / "known_hosts"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        make_key(self.folder / "host_key")
        make_key(self.key)
        shutil.copy(f"{self.key}.pub", self.folder / "authorized_keys")
        self.port = self.port or free_port(self.addresses[0])
        self.pin()

    def pin(self) -> None:
        for address in self.addresses:
            known_hosts.pin(self.pins, address, self.port, (self.folder / "host_key.pub").read_text())

    def start(self) -> None:
        """Start and wait until it answers. sshd needs /run/sshd when it is root."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        listen = [f"ListenAddress {address}:{self.port}" for address in self.addresses]
        lines = [
            *listen,
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "PermitRootLogin prohibit-password",
            "MaxStartups 200",
            "LogLevel VERBOSE",
            # bash skips ~/.bashrc's slow parts in nested shells, which is not what is tested here.
            "SetEnv SHLVL=3",
            *self.options,
        ]
        config.write_text("".join(f"{line}\n" for line in lines))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, str(SSHD), "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(10), reraise=True
        ):
            with attempt, socket.create_connection((self.addresses[0], self.port), 1):
                pass

    def sessions(self) -> list[int]:
        """Return the processes that serve its connections (each is in a group of its own)."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in children.split()]

    def signal_sessions(self, number: signal.Signals) -> None:
        for pid in self.sessions():
            for each in (pid, *_children(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, number)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it as a paused machine is: the kernel still takes packets, nobody answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        self.signal_sessions(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_sessions(signal.SIGCONT)
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it with its connections, as a power cut does."""
        if self.process is None:
            return
        self.signal_sessions(signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process = None

    def host(self, name: str = "air-01", *, key: Path | None = None, **ssh: object) -> Host:
        """Return a host for this server; `ssh` overrides settings."""
        settings = SshSettings.model_validate(
            {**DEFAULTS["ssh"], "user": self.user or _user(), "port": self.port, "connect_timeout_seconds": 5, **ssh}
        )
        return Host(Machine(name, self.addresses[0]), settings, self.pins, key or self.key)


def open_way(folder: Path) -> None:
    """Let others pass through to `folder`: pytest's folders are closed to all but their owner."""
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)


def in_namespace_of_its_own(folder: Path, sudoers: str) -> list[str]:
    """Return the wrapper that gives an sshd a user `core` and these sudoers, without a trace on the host.

    It copies /etc, and mounts the copy over it in a mount namespace that only this sshd is in.
    """
    home = folder / "home"
    home.mkdir(parents=True)
    os.chown(home, CORE_ID, CORE_ID)
    open_way(folder)
    script = """
    set -e
    cp -a /etc "$1/etc"
    echo "core:x:$2:$2::$1/home:/bin/sh" >>"$1/etc/passwd"
    echo "core:x:$2:" >>"$1/etc/group"
    echo 'core:*:19000:0:99999:7:::' >>"$1/etc/shadow"
    rm -f "$1/etc/sudoers"; printf '%s\\n' "$3" >"$1/etc/sudoers"; chmod 440 "$1/etc/sudoers"
    mount --bind "$1/etc" /etc
    shift 3
    exec "$@"
    """
    return ["unshare", "--mount", "sh", "-c", script, "namespace", str(folder), str(CORE_ID), sudoers]


@contextlib.contextmanager
def ssh_server(folder: Path, **arguments: object) -> Iterator[SshServer]:
    server = SshServer(folder, **arguments)  # type: ignore[arg-type]
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _children(pid: int) -> list[int]:
    """Return the sshd processes below a session's (it has two when its user is not root), not the user's."""
    with contextlib.suppress(OSError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [child for child in children if Path(f"/proc/{child}/comm").read_text() == "sshd\n"]
    return []


def _user() -> str:
    import getpass

    return getpass.getuser()
