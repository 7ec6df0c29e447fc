"""A real HAProxy of the tests' own on loopback, run as the router's container does: master, worker, both sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import tenacity

from argosy.routing.changes import ActualServer, Change, loaded_structure, parse_info, parse_servers_state, plan_changes
from argosy.routing.values import RouterOptions, Routing

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/usr/bin")
"""The first on the PATH: to test with another release, put its folder first."""

requires_haproxy = pytest.mark.skipif(HAPROXY is None, reason="no haproxy: apt-get install haproxy")

PORTS = ("http_port", "proxy_port", "https_port", "https_proxy_port", "tls_port", "tls_proxy_port")


def free_ports(address: str, count: int) -> list[int]:
    """Return ports that are free now and differ from each other."""
    listeners = [socket.create_server((address, 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def router_options(folder: Path, address: str, **others: Any) -> RouterOptions:
    """Return options with free ports on `address`, and `folder` for everything."""
    chosen: dict[str, Any] = dict(zip(PORTS, free_ports(address, len(PORTS)), strict=True))
    base = RouterOptions(
        machine_address=address,
        bind_address=address,
        check_seconds=0.2,
        hard_stop_seconds=5,
        run_folder=str(folder),
        config_folder=str(folder),
    )
    return replace(base, **(chosen | others))


def check(folder: Path) -> str:
    """Return what `haproxy -c` finds wrong with the configuration in `folder`, its warnings too; empty for nothing."""
    command = [str(HAPROXY), "-c", "-f", str(folder / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode or done.stderr else ""


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


@dataclass
class HaproxyServer:
    """`folder`: its configuration and its sockets; a short path, since a socket's has at most 107 bytes."""

    folder: Path
    options: RouterOptions
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _frozen: int = field(default=0, repr=False)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, routing: Routing) -> None:
        """Write the plan's files and start; wait until this plan is in effect."""
        (self.folder / "certs").mkdir(exist_ok=True)
        write(self.folder, routing.files())
        assert not (wrong := check(self.folder)), wrong
        command = [str(HAPROXY), "-W", "-db", "-S", f"{self.folder}/master.sock,mode,600", "-f", "haproxy.cfg"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self.wait_until_loaded(routing)

    def reload(self, routing: Routing) -> None:
        """Put the plan into effect by a seamless reload."""
        write(self.folder, routing.files())
        assert not (wrong := check(self.folder)), wrong
        before = self.info()["Pid"]
        with contextlib.suppress(ConnectionResetError):
            # The master starts itself anew and may not have the time to say so.
            self.ask_master("reload")
        self.wait_until_loaded(routing, other_than=before)

    def info(self) -> dict[str, str]:
        return parse_info(self.command("show info"))

    def wait_until_loaded(self, routing: Routing, other_than: str = "") -> None:
        """Return when a worker answers that has loaded the plan, and whose process is another."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((OSError, AssertionError)),
            wait=tenacity.wait_fixed(0.02),
            stop=tenacity.stop_after_delay(15),
            reraise=True,
        ):
            with attempt:
                info = self.info()
                assert loaded_structure(info) == routing.structure, self.log
                assert info["Pid"] != other_than

    def command(self, *commands: str) -> str:
        """Return what the runtime API answers to the commands, sent as one line."""
        return self._ask("admin.sock", "; ".join(commands))

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(ConnectionRefusedError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(5),
        reraise=True,
    )
    def ask_master(self, command: str) -> str:
        """Return what the master answers. It refuses for a moment while it starts its worker."""
        return self._ask("master.sock", command)

    def _ask(self, name: str, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.folder / name))
            connection.sendall(line.encode("ascii") + b"\n")
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")

    def servers(self) -> dict[str, dict[str, ActualServer]]:
        return parse_servers_state(self.command("show servers state"))

    def apply(self, routing: Routing) -> list[Change]:
        """Go to the plan through the runtime API alone, and return what that took."""
        changes = plan_changes(self.servers(), routing)
        self.run(changes)
        return changes

    def run(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self.command(*change.commands)

    def workers(self) -> list[int]:
        """Return the process IDs of the workers, those of older configurations too."""
        pids = []
        for line in self.ask_master("show proc").splitlines():
            words = line.split()
            if len(words) > 1 and words[1] == "worker":
                pids.append(int(words[0]))
        return pids

    def freeze(self) -> None:
        """Let the worker do nothing any more, and keep its connections."""
        self._frozen = int(self.info()["Pid"])
        os.kill(self._frozen, signal.SIGSTOP)

    def stop(self) -> None:
        if self._frozen:
            os.kill(self._frozen, signal.SIGCONT)
            self._frozen = 0
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@contextmanager
def haproxy_server(address: str, **others: Any) -> Iterator[HaproxyServer]:
    """Give a server on free ports of `address`, not started; stop it and remove its folder at the end."""
    with tempfile.TemporaryDirectory(prefix="hap-", dir="/tmp") as name:
        folder = Path(name)
        server = HaproxyServer(folder, router_options(folder, address, **others))
        try:
            yield server
        finally:
            server.stop()
