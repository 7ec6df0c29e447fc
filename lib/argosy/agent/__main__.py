"""`python3 -m argosy.agent` runs the agent; `... health` asks the running one whether it is ready, for its unit.

`... templates --once` makes the system's files once; `... signal` and `... exec` are for the commands of templates;
`... haproxy WORDS` asks the router's runtime API.

The question comes every few seconds: it imports the standard library alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from argosy.agent.health import SECONDS, health

SOCKET = "/run/agent/agent.sock"
COMMANDS = {
    "templates": "argosy.agent.templates.once",
    "signal": "argosy.agent.container_commands",
    "exec": "argosy.agent.container_commands",
    "haproxy": "argosy.agent.router.haproxy_command",
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
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long it may be silent (health)")
    given = parser.parse_args(words)
    if given.command == "health":
        code, line = health(given.socket, given.seconds)
        print(line)
        return code
    from argosy.agent.run import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
