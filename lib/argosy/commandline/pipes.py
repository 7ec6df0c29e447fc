"""Whoever reads our output may have had enough of it: `inv cluster.logs -f | head`. Then the task ends, quietly.

The kernel says so to the thread that writes next. Python raises an OSError there, which whoever called a worker would
take for the machine's. So it becomes what Ctrl-C is, in the main thread: running commands end, locks are let go.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from io import UnsupportedOperation
from types import FrameType
from typing import IO, ParamSpec, TypeVar

from invoke.exceptions import Exit, ThreadException

from argosy.errors import Interrupted

P = ParamSpec("P")
R = TypeVar("R")

BROKEN_PIPE = 141
"""What a shell reports of a program that SIGPIPE has ended."""


class ReaderGone(KeyboardInterrupt):
    """Nobody reads what we print any more."""


class _Reader:
    """`gone`: somebody has met the end of the pipe; `awaited`: the main thread has still to be told."""

    gone = False
    awaited = False


@contextmanager
def printing(stream: IO[str]) -> Iterator[None]:
    """Print to `stream` in the body, in any thread. In the main thread it raises ReaderGone when nobody reads it."""
    try:
        yield
    except BrokenPipeError:
        leave(stream)


def leave(stream: IO[str]) -> None:
    """Print nothing more to `stream`, whose reader is gone, and have the main thread raise ReaderGone, once."""
    _silence(stream)
    if _Reader.gone:
        return
    _Reader.gone = True
    if threading.current_thread() is threading.main_thread():
        raise ReaderGone
    _Reader.awaited = True
    # A real signal, to that thread: nothing else ends the call that it waits in.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGPIPE)


def quietly(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` so that it ends with the code of SIGPIPE, and without a word, when its reader is gone."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _told_by_signal():
            try:
                try:
                    return function(*args, **kwargs)
                finally:
                    _flush()
            except (KeyboardInterrupt, Interrupted):
                if not _Reader.gone:
                    raise
            except (BrokenPipeError, ThreadException):
                # Printed by others than us, or no pipe of ours at all.
                if not _hung_up():
                    raise
            if sys.stdout is not None:
                _silence(sys.stdout)
            raise Exit(code=BROKEN_PIPE) from None

    return run


@contextmanager
def _told_by_signal() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Reader.gone = _Reader.awaited = False
    before = signal.signal(signal.SIGPIPE, _raise_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _raise_once(_number: int, _frame: FrameType | None) -> None:
    # The kernel sends it for sockets, too, whose users see to that themselves.
    if _Reader.awaited:
        _Reader.awaited = False
        raise ReaderGone


def _silence(stream: IO[str]) -> None:
    with suppress(UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _streams() -> list[IO[str]]:
    """Return what we print to and could be a pipe. One that was closed before we began (`>&-`) is None."""
    found: list[IO[str]] = []
    for stream in (sys.stdout, sys.stderr):
        with suppress(UnsupportedOperation, AttributeError):
            stream.fileno()
            found.append(stream)
    return found


def _hung_up() -> bool:
    """Return whether nobody reads stdout or stderr any more."""
    poller = select.poll()
    for stream in _streams():
        poller.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poller.poll(0))
