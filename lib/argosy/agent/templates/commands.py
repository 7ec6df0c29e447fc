"""Running check_cmd and reload_cmd: by the shell, within a deadline, with their last output for the journal."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO

DEADLINE_SECONDS = 30.0
_CHUNK_BYTES = 4096
_KEPT_CHUNKS = 4
_DRAIN_SECONDS = 1.0


def run(command: str, say: Callable[[str], None], deadline_seconds: float = DEADLINE_SECONDS) -> str:
    """Run `command` by /bin/sh, and return why it failed, or an empty string. Never raises.

    `say` gets each line of its last 16 kB of output. At the deadline it is killed, with all that it started in its
    process group.
    """
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"it can't be started: {error.strerror}"
    assert process.stdout is not None
    output: deque[bytes] = deque(maxlen=_KEPT_CHUNKS)
    reader = threading.Thread(target=_read, args=(process.stdout, output), name="template-output", daemon=True)
    reader.start()
    try:
        status = process.wait(deadline_seconds)
        reason = "" if status == 0 else _ended(status)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reason = f"it did not end within {deadline_seconds:g} s and was killed"
    # What it left running in the background may hold its output open; that is none of ours.
    reader.join(_DRAIN_SECONDS)
    for line in b"".join(list(output)).decode(errors="replace").splitlines():
        say(line)
    return reason


def _read(stream: IO[bytes], output: deque[bytes]) -> None:
    with stream:
        while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
            output.append(chunk)


def _ended(status: int) -> str:
    return f"it ended with {status}" if status > 0 else f"it was killed by signal {-status}"
