"""Pure. What a builder says while it builds: the step that it is at, the end of its output, how it failed."""

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
_VERTEX = re.compile(r"#(\d+) (.*)")
_VERTEX_STEP = re.compile(r"\[([^\]]*?\d+/\d+)\] (.*)")
_VERTEX_OUTPUT = re.compile(r"\d+\.\d+ (.*)")
_BASE = re.compile(r"\[(?:\S+ )*internal\] load metadata for (\S+)")
_EXIT_CODE = re.compile(r".*exit code: (\d+)")
_PREAMBLE = re.compile(
    r"ERROR: |failed to solve(?: with frontend \S+)?: |rpc error: code = \w+ desc = |failed to create LLB definition: "
)


class BuildLog:
    """What the classic builder says: the step that it is at, and its last lines."""

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
        return _shortened(self.instruction)

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


def _shortened(instruction: str) -> str:
    long = len(instruction) > INSTRUCTION_LENGTH
    return f"{instruction[: INSTRUCTION_LENGTH - 3]}..." if long else instruction


class BuildKitLog:
    """What `docker buildx build --progress=plain` says, line by line: steps run beside each other, each by a number.

    https://github.com/moby/buildkit/blob/master/util/progress/progressui/printer.go
    """

    def __init__(self, on_step: Callable[[str], None]) -> None:
        self._on_step = on_step
        self._named: dict[str, str] = {}
        self._announced: set[str] = set()
        self._lines: deque[tuple[str, str]] = deque(maxlen=LOG_LINES * 10)
        self._failed = ""
        self._reason = ""
        self._summary = False

    def add(self, line: str) -> None:
        """Take one line. A step is announced when it does something, not when BuildKit has it in its cache."""
        line = _COLOURS.sub("", line).rstrip()
        if line.startswith("------"):  # from here on it repeats itself
            self._summary = True
        elif line.startswith("ERROR: "):
            self._reason = line
        elif not self._summary and (found := _VERTEX.fullmatch(line)):
            self._note(found[1], found[2])
        elif line and not self._summary:
            self._lines.append(("", line))

    def _note(self, number: str, text: str) -> None:
        if number not in self._named:
            self._named[number] = " ".join(text.split())
        elif text == "CACHED":
            self._announced.add(number)
        elif text.startswith("ERROR: "):
            self._failed = self._failed or number
            self._lines.append((number, text))
        elif found := _VERTEX_OUTPUT.fullmatch(text):
            self._lines.append((number, found[1]))
            self._announce(number)
        elif text.startswith("DONE "):
            self._announce(number)

    def _announce(self, number: str) -> None:
        step = _VERTEX_STEP.fullmatch(self._named[number])
        if step and number not in self._announced and not step[2].startswith("FROM"):
            self._on_step(f"step {step[1]}: {_shortened(step[2])}")
        self._announced.add(number)

    def tail(self) -> str:
        """Return the last lines of the step that failed; of all, when none did."""
        lines = [text for number, text in self._lines if not self._failed or number == self._failed]
        return "\n".join(lines[-LOG_LINES:])

    def failure_line(self, name: str) -> str:
        """Return why the build failed, in one line."""
        reason = self._reason
        while (shorter := _PREAMBLE.sub("", reason, count=1)) != reason:
            reason = shorter
        reason = " ".join(reason.split()) or "docker buildx does not say why"
        failed = self._named.get(self._failed, "")
        if base := _BASE.fullmatch(failed):
            return f"{name}: the image {base[1]} can't be had: {reason}; is it here, or can it be pulled?"
        step = _VERTEX_STEP.fullmatch(failed)
        where = f"step {step[1]} failed ({_shortened(step[2])})" if step else "the build failed"
        if step and (code := _EXIT_CODE.fullmatch(reason)):
            return f"{name}: {where}: it ended with exit code {code[1]}"
        return f"{name}: {where}: {reason}"
