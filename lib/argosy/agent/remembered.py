"""What the agent remembers over a restart: small JSON files, 0600. One that can't be used costs what it held."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from argosy import atomic

T = TypeVar("T")


def read(path: Path, parse: Callable[[Any], T], log: logging.Logger, consequence: str) -> T | None:
    """Return what `parse` makes of the file; None without a file, or for one that can't be used.

    `consequence`: what becomes of that, for the log.
    """
    try:
        return parse(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s can't be used (%s): %s", path, error, consequence)
        return None


def write(path: Path, content: Any, log: logging.Logger, consequence: str) -> None:
    """Write the file, whose folder must exist; `consequence`: what a restart brings when it can't be written."""
    try:
        atomic.write(path, f"{json.dumps(content)}\n".encode(), mode=0o600)
    except OSError as error:
        log.warning("%s can't be written (%s): a restart of the agent %s", path, error, consequence)
