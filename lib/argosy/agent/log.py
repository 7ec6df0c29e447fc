"""What the agent says: lines for the journal, and troubles that are told when they begin, change and end."""

from __future__ import annotations

import logging
import sys
import threading

ROOT = "argosy.agent"


def log(name: str) -> logging.Logger:
    """Return the logger of one part of the agent, such as `log("router")`."""
    return logging.getLogger(f"{ROOT}.{name}")


def start() -> None:
    """Write lines to stderr, without a time of their own: the journal adds it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logging.getLogger().addHandler(handler)
    logging.getLogger(ROOT).setLevel(logging.INFO)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        part = record.name.removeprefix(f"{ROOT}.")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        lines = (record.getMessage(), self.formatException(record.exc_info) if record.exc_info else "")
        return f"{part}: {level}" + "\n".join(filter(None, lines))


class Trouble:
    """Something that may be wrong for a while. Logged once when it begins, when its reason changes, and when it ends.

    May be set by one thread and read by others. `reason` is empty when nothing is wrong.
    """

    def __init__(self, log: logging.Logger, ended: str, starting: str = "") -> None:
        """`ended`: what to log when it is over; `starting`: a reason that holds from the start and is not logged."""
        self._log = log
        self._ended = ended
        self._turn = threading.Lock()
        self._told = False
        self.reason = starting

    def set(self, reason: str) -> None:
        """Note that it is so for `reason` (one line); an empty one ends it."""
        with self._turn:
            if reason == self.reason and (self._told or not reason):
                return
            self.reason = reason
            if reason:
                self._log.warning("%s", reason)
            elif self._told:
                self._log.info("%s", self._ended)
            self._told = bool(reason)

    def clear(self) -> None:
        self.set("")
