"""Pure. What the classic builder says while it builds: the step that it is at, the end of its output, how it failed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from argosy.images.stream import failure

LOG_LINES = 60
INSTRUCTION_LENGTH = 80

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"Step (\d+/\d+) : (.*)", re.DOTALL)


class BuildLog:
    """What a build says: the step that it is at, and its last lines."""

    def __init__(self, on_step: Callable[[str], None]) -> None:
        self._on_step = on_step
        self._announced = True
        self.step = ""
        self.instruction = ""
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    def add(self, text: str) -> None:
        """Take one piece of output. A step is announced when the builder runs it, not when it has it in its cache."""
        self._lines.extend(line for line in _COLOURS.sub("", text).splitlines() if line.strip())
        found = _STEP.match(text)
        if found:
            self.step, self.instruction = found[1], " ".join(found[2].split())
            self._announced = self.instruction.startswith(("FROM", "ARG", "LABEL argosy."))
        elif text.strip() and not self._announced:
            self._announced = True
            if "Using cache" not in text:
                self._on_step(f"step {self.step}: {self.shortened()}")

    def shortened(self) -> str:
        long = len(self.instruction) > INSTRUCTION_LENGTH
        return f"{self.instruction[: INSTRUCTION_LENGTH - 3]}..." if long else self.instruction

    def tail(self) -> str:
        return "\n".join(self._lines)


def failure_line(name: str, log: BuildLog, event: Mapping[str, Any]) -> str:
    """Return the line for an error event, `{"errorDetail": {"message": ..., "code": exit code of a RUN}}`."""
    where = f"step {log.step} failed ({log.shortened()})" if log.step else "the build failed"
    code = (event.get("errorDetail") or {}).get("code")
    if code:
        return f"{name}: {where}: it ended with exit code {code}"
    advice = "; is the base image here, or can it be pulled?" if log.instruction.startswith("FROM") else ""
    return f"{name}: {where}: {failure(event)}{advice}"
