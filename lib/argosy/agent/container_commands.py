"""What the commands of templates reach a machine's containers by: argosy-signal and argosy-exec in the agent's image.

python3 -m argosy.agent signal [--if-running] CONTAINER SIGNAL
python3 -m argosy.agent exec CONTAINER COMMAND [WORD...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from argosy.engine.api import DEFAULT_SOCKET
from argosy.engine.running import MachineContainers
from argosy.errors import EngineError

EXIT_FAILED = 1
EXEC_SECONDS = 600.0
OUTPUT_BYTES = 16_000


def main(words: Sequence[str], docker_socket: Path = DEFAULT_SOCKET) -> int:
    """Do what `words` say, the command's name first; return the exit status: exec's is that of its command."""
    given = _parser().parse_args(list(words))
    containers = MachineContainers(docker_socket)
    try:
        if given.command == "signal":
            return _signal(containers, given.container, given.signal, given.if_running)
        return _execute(containers, given.container, tuple(given.words))
    except EngineError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="argosy.agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    signal = commands.add_parser("signal", prog="argosy-signal", help="send a signal to a container's first process")
    signal.add_argument("--if-running", action="store_true", help="that it does not run is no failure")
    signal.add_argument("container")
    signal.add_argument("signal", help="such as HUP")
    execute = commands.add_parser("exec", prog="argosy-exec", help="run a command in a container")
    execute.add_argument("container")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its words")
    return parser


def _signal(containers: MachineContainers, container: str, name: str, if_running: bool) -> int:
    if containers.signal(container, name) or if_running:
        return 0
    print(f"container {container} is not running", file=sys.stderr)
    return EXIT_FAILED


def _execute(containers: MachineContainers, container: str, words: tuple[str, ...]) -> int:
    if not words:
        print("which command? argosy-exec CONTAINER COMMAND [WORD...]", file=sys.stderr)
        return EXIT_FAILED
    done = containers.run(container, words, EXEC_SECONDS, OUTPUT_BYTES)
    if done.code is None:
        reason = f"it still runs after {EXEC_SECONDS:g} s" if done.id else done.output
        print(f"container {container}: {reason}", file=sys.stderr)
        return EXIT_FAILED
    if done.output:
        print(done.output)
    return done.code
