"""This machine's HAProxy, another container: its runtime API, its master's, and the check of a configuration.

Nothing here reads HAProxy's words for success or failure: who changes something looks afterwards what is.
Management guide: https://docs.haproxy.org/2.6/management.html#9.3 (admin socket), #9.4 (master CLI)
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy.routing.changes import loaded_structure, parse_info

LINE_BYTES = 8000
"""Of commands in one connection: half of HAProxy's buffer, into which a line must fit (tune.bufsize, 16384)."""
CALL_SECONDS = 5.0
CHECK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Worker:
    """The running worker. `structure`: the hash in the configuration that it has loaded, empty when it says none;
    `started`: in seconds since 1970, so that two workers of one pid are told apart."""

    pid: int
    structure: str
    started: int = 0


@dataclass(frozen=True, slots=True)
class Master:
    """The master process. `reloads`: since it was started; `failed`: how many in a row have failed by now."""

    reloads: int
    failed: int


class Haproxy:
    """Every call but `check` raises OSError when HAProxy is not there or does not answer within CALL_SECONDS."""

    def __init__(self, admin_socket: Path, master_socket: Path) -> None:
        self._admin = admin_socket
        self._master = master_socket

    def run(self, commands: Sequence[str]) -> None:
        """Run commands of the runtime API in order; what fails does not keep the later ones from being run."""
        for line in command_lines(commands):
            _talk(self._admin, line)

    def ask(self, command: str) -> str:
        """Return the answer to one command of the runtime API."""
        return _talk(self._admin, f"{command}\n")

    def worker(self) -> Worker:
        """Return the worker that takes new connections now."""
        return parse_worker(self.ask("show info"))

    def master(self) -> Master:
        """Return the master's own account; while it reloads, the answer comes when it has."""
        return parse_master(_talk(self._master, "show proc\n"))

    def connections(self) -> int:
        """Return how many connections all workers have, those of older configurations, too."""
        pids = parse_workers(_talk(self._master, "show proc\n"))
        told = [parse_info(_talk(self._master, f"@!{pid} show info\n")) for pid in pids]
        return sum(int(info.get("CurrConns", 0)) for info in told)

    def reload(self, structure: str, seconds: float) -> str:
        """Load the configuration anew; return an empty string once a new worker has `structure`, else what went wrong.

        The new worker takes over the listening sockets of the old one, which serves its connections to their end: no
        connection is refused. One that can't be loaded leaves the old worker as it is (but may make it pause for a
        second when a port is taken: find that out before).
        """
        deadline = time.monotonic() + seconds
        old, before = self._look()
        _talk(self._master, "reload\n")
        while True:
            found, master = self._look()
            if found is not None and found.structure == structure and found != old:
                return ""
            if master is not None and master.failed and (before is None or master.reloads > before.reloads):
                return "HAProxy could not load the new configuration; its journal says why"
            if time.monotonic() > deadline:
                has = f"has structure {found.structure or 'unknown'}" if found else "does not answer"
                return f"HAProxy {has} {seconds:g} s after the reload"
            threading.Event().wait(0.01)

    def _look(self) -> tuple[Worker | None, Master | None]:
        """Return what can be seen in the middle of a reload, when sockets may be between two processes."""
        try:
            master = self.master()
        except (OSError, ValueError):
            master = None
        try:
            return self.worker(), master
        except (OSError, ValueError):
            return None, master


def check(path: Path, program: str = "haproxy") -> str:
    """Return an empty string when HAProxy accepts the configuration at `path`, else why not, in one line.

    `program` must be of the same version as the HAProxy that is to load it. Relative paths in it begin in its folder.
    """
    command = [program, "-c", "-f", path.name]
    try:
        done = subprocess.run(
            command,
            cwd=path.parent,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"haproxy -c has not ended within {CHECK_SECONDS:g} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "; ".join(lines[:3]) or f"haproxy -c ended with status {done.returncode}"


def command_lines(commands: Sequence[str]) -> list[str]:
    """Return the commands as lines of the runtime API, one for a connection each. Pure.

    HAProxy 2.6 runs every line that a connection brings, 3.0 the first one alone; commands on one line are separated
    by `;` (https://docs.haproxy.org/3.0/management.html#9.3). A payload (`<<`) lasts to an empty line and ends its own.
    """
    lines: list[str] = []
    waiting: list[str] = []
    for command in commands:
        if waiting and sum(len(other) + 1 for other in waiting) + len(command) > LINE_BYTES:
            lines.append(";".join(waiting) + "\n")
            waiting = []
        waiting.append(command)
        if "\n" in command:
            lines.append(";".join(waiting) + "\n")
            waiting = []
    return [*lines, ";".join(waiting) + "\n"] if waiting else lines


def parse_worker(info: str) -> Worker:
    """Return what `show info` says. Raises ValueError when it says no pid."""
    fields = parse_info(info)
    return Worker(int(fields.get("Pid", "")), loaded_structure(fields), int(fields.get("Start_time_sec") or 0))


def parse_master(processes: str) -> Master:
    """Return what `show proc` says of the master: `PID master RELOADS [failed: N] UPTIME VERSION`.

    Raises ValueError when it says nothing.
    """
    found = re.search(r"^\d+\s+master\s+(\d+)\s+\[failed: (\d+)\]", processes, re.MULTILINE)
    if not found:
        raise ValueError("show proc names no master")
    return Master(int(found[1]), int(found[2]))


def parse_workers(processes: str) -> list[int]:
    """Return the process IDs of all workers that `show proc` names."""
    lines = [line.split() for line in processes.splitlines()]
    return [int(words[0]) for words in lines if words[1:2] == ["worker"]]


def _talk(path: Path, text: str) -> str:
    """Send `text` and return all that comes back until HAProxy closes."""
    deadline = time.monotonic() + CALL_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CALL_SECONDS)
        connection.connect(str(path))
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while data := connection.recv(262_144):
            answer += data
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: the answer does not end")
    return answer.decode(errors="replace")
