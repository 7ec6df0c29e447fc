"""What the installer says: plain lines on stdout, one event each, from any thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

Say = Callable[[str], None]

_lock = threading.Lock()


def say(line: str) -> None:
    """Write one line at once, whole."""
    with _lock:
        sys.stdout.write(line.replace("\n", " ") + "\n")
        sys.stdout.flush()
