"""`python3 -m argosy.agent` runs the agent; `... health` asks the running one whether it is ready, for its unit.

`... templates --once` makes the system's files once; `... signal` and `... exec` are for the commands of templates;
`... haproxy WORDS` asks the router's runtime API.

The question comes every few seconds: it imports the standard library alone.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import sys
from collections.abc import Sequence
from importlib import import_module

SOCKET = "/run/agent/agent.sock"
SECONDS = 5.0
COMMANDS = {
    "templates": "argosy.agent.template_once",
    "signal": "argosy.agent.container_commands",
    "exec": "argosy.agent.container_commands",
    "haproxy": "argosy.agent.haproxy_command",
}
"""Those that are modules of their own, with a function `main`, imported when they are asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return int(import_module(COMMANDS[words[0]]).main(words))
    parser = argparse.ArgumentParser(prog="argosy.agent", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "health"], default="run")
    parser.add_argument("--socket", default=SOCKET, help="where the running agent listens (health)")
    given = parser.parse_args(words)
    if given.command == "health":
        return health(given.socket)
    from argosy.agent.run import run

    return run()


def health(path: str) -> int:
    """Print one line, and return 0 when the agent is ready, 1 when not."""
    try:
        status, body = get(path, "/ready")
    except (OSError, http.client.HTTPException) as error:
        print(f"the agent does not answer on {path}: {error}")
        return 1
    print("; ".join(body.decode(errors="replace").splitlines()))
    return 0 if status == 200 else 1


def get(path: str, target: str) -> tuple[int, bytes]:
    """Return the status and body of GET `target` from the HTTP server on the unix socket `path`."""
    connection = _Connection(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("agent", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


if __name__ == "__main__":
    sys.exit(main())
