"""What runs on this machine's engine: its containers by label, one of them, signals to it, commands in it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from argosy.engine.api import DEFAULT_SOCKET, Json, at_socket, filters, frames
from argosy.errors import DeadlineExceeded, EngineRefused

ANSWER_SECONDS = 10.0
OUTPUT_BYTES = 200
"""Of what a command says, for messages."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command in a container. `id`: of one that still runs, else empty; `code`: its exit code, None while it runs and
    when it could not be started; `output`: how that begins, or why it could not."""

    id: str
    code: int | None
    output: str = ""


class MachineContainers:
    """The containers of this machine's engine. May be used by several threads. Every failure is an EngineError."""

    def __init__(self, path: Path = DEFAULT_SOCKET, timeout_seconds: float = ANSWER_SECONDS) -> None:
        self.engine = at_socket(path, timeout_seconds=timeout_seconds, keeps=False)

    def ids(self, label: str, *states: str) -> list[str]:
        """Return the ids of the containers that have this label and are in one of these states."""
        found = self.engine.get("/containers/json", filters(label=[label], status=list(states)))
        return [str(one["Id"]) for one in found]

    def inspect(self, container: str) -> Json | None:
        """Return what `docker inspect` says of the container, None when there is none."""
        found: Json | None = self.engine.find(f"{_path(container)}/json")
        return found

    def signal(self, container: str, name: str) -> bool:
        """Send a signal, such as HUP, to the container's first process; return whether there is one that runs."""
        try:
            self.engine.post(f"{_path(container)}/kill", query={"signal": name})
        except EngineRefused as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise
            return False
        return True

    def run(
        self, container: str, argv: tuple[str, ...], timeout_seconds: float, output_bytes: int = OUTPUT_BYTES
    ) -> Command:
        """Run `argv` in the container for at most so long; the API has no call to end what runs longer."""
        deadline = time.monotonic() + timeout_seconds
        setup = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        try:
            execution = str(self.engine.post(f"{_path(container)}/exec", setup)["Id"])
            output = self._output(execution, deadline, output_bytes)
        except EngineRefused as error:
            return Command("", None, error.reason)
        return self.command(execution, output)

    def command(self, execution: str, output: str = "") -> Command:
        """Return how a command stands that was started before."""
        try:
            found = self.engine.get(f"/exec/{execution}/json")
        except EngineRefused as error:
            return Command("", None, error.reason)
        return Command(execution, None, output) if found["Running"] else Command("", found["ExitCode"], output)

    def _output(self, execution: str, deadline: float, output_bytes: int) -> str:
        """Start the command, read what it says until it ends or the deadline comes, and return how that begins."""
        said = b""
        start = {"Detach": False, "Tty": False}
        with (
            suppress(DeadlineExceeded),  # its state tells
            self.engine.reading(f"/exec/{execution}/start", method="POST", body=start) as answer,
        ):
            parts = frames(answer)
            while (left := deadline - time.monotonic()) > 0:
                answer.stream.settimeout(left)
                part = next(parts, None)
                if part is None:
                    break
                said = (said + part[1])[:output_bytes]
        return said.decode(errors="replace").strip()


def _path(container: str) -> str:
    return f"/containers/{quote(container, safe='')}"
