"""Pure. What is run on a machine while a scheduled service is updated, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from argosy.paths import Names

PASSED = ("L4OK", "L6OK", "L7OK", "L7OKC")
"""HAProxy's words for a check that has passed (https://docs.haproxy.org/2.6/management.html#9.1, check_status)."""
UNCHECKED = "no check"

_SERVERS = """\
import csv, io, json, socket, sys, threading, time
backend, seconds, servers = sys.argv[1], float(sys.argv[2]), set(sys.argv[3:])
def ask(command):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect("/run/router/master.sock")
        connection.sendall(command.encode() + b"\\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer.decode(errors="replace")
def look():
    processes = [line.split() for line in ask("show proc").splitlines()]
    workers = [words[0] for words in processes if words[1:2] == ["worker"]]
    found = {}
    for number, pid in enumerate(workers):
        table = ask("@!%s show stat %s 4 -1" % (pid, backend)).lstrip("# \\n")
        for row in csv.DictReader(io.StringIO(table)):
            name = row.get("svname")
            if name in servers and row.get("pxname") == backend:
                told = found.setdefault(name, ["", "", 0])
                told[2] += int(row["scur"] or 0)
                if number == 0:
                    told[:2] = row["status"], row["check_status"].lstrip("* ")
    return found
deadline = time.monotonic() + seconds
while True:
    try:
        found = look()
    except OSError as error:
        found = error
    busy = isinstance(found, OSError) or any(told[2] for told in found.values())
    if not busy or time.monotonic() > deadline:
        break
    threading.Event().wait(0.2)
if isinstance(found, OSError):
    sys.exit("HAProxy does not answer: %s" % found)
print(json.dumps(found))
"""
"""Asks HAProxy's master for the servers of all its workers: after a reload an old one serves its connections to their
end. The first worker that it names is the one that takes new connections.
https://docs.haproxy.org/2.6/management.html#9.4"""


@dataclass(frozen=True, slots=True)
class RouterServer:
    """A server as a router has it. `check`: the result of its last check; `connections`: open now, of all workers."""

    status: str
    check: str
    connections: int

    @property
    def reason(self) -> str:
        """Why requests would not be sent to it, whatever its weight; empty when they would."""
        if self.status == UNCHECKED or (self.status.startswith(("UP", "DRAIN")) and self.check in PASSED):
            return ""
        return f"{self.status or 'not known to it'}{f' ({self.check})' if self.check else ''}"


def servers(names: Names, backend: str, wanted: Collection[str], seconds: float = 0) -> list[str]:
    """Return the argv that tells of these servers of the machine's router; it waits up to so long until they have no
    connections."""
    program = ["docker", "exec", f"{names.system}-agent", "python3", "-c", _SERVERS]
    return [*program, backend, f"{seconds:g}", *wanted]


def parse_servers(text: str) -> Mapping[str, RouterServer]:
    """Return what `servers` printed, by the server's name. Raises ValueError for what it can't have printed."""
    found = json.loads(text)
    try:
        return {
            str(name): RouterServer(str(status), str(check), int(count))
            for name, (status, check, count) in found.items()
        }
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not what a router tells of its servers: {error}") from None
