"""One command on one ssh channel: what it prints, what it is fed, when it has to end. Knows paramiko, not Fabric."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from argosy.ssh.shell import PID_LINE

if TYPE_CHECKING:
    from paramiko import Channel

CHUNK_BYTES = 1 << 16
PID_WITHIN_BYTES = 1 << 16
# How often a wait looks whether it was cancelled, or its connection has died.
TICK_SECONDS = 0.5
LONGEST_LINE_BYTES = 1 << 20
ERROR_TAIL_BYTES = 4096
# A process that left children behind with its stdout open has ended all the same: how long we listen to their silence.
AFTERMATH_SECONDS = 1.0
# What an sshd takes in one go before it is read from (its first window is 2 MiB): needs no thread of its own.
INLINE_INPUT_BYTES = 1 << 16


class Source(Enum):
    STDOUT = 1
    STDERR = 2


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


Feed = bytes | Callable[[Sink], object]
"""A command's input: bytes, or what writes them (called in a thread of its own)."""


class TimeUp(Exception):
    """The deadline passed while the command ran."""


class ConnectionLost(Exception):
    """The connection ended before the command did."""


class Cancelled(Exception):
    """Somebody gave up on this host's commands."""


@dataclass
class RunningCommand:
    """A command that was begun on `channel`. Iterate `chunks` to its end, then `code` is known."""

    channel: Channel
    deadline: float
    cancelled: threading.Event
    group: int | None = None
    code: int | None = None
    told_to_end: bool = False
    _stderr_head: bytes = b""
    _feed_error: Exception | None = None

    @property
    def exit_status(self) -> int:
        """The code of a command that has ended."""
        assert self.code is not None, "chunks() was not read to its end"
        return self.code

    def feed(self, source: Feed | None) -> None:
        """Give the command its input, and the end of it."""
        if isinstance(source, bytes) and len(source) <= INLINE_INPUT_BYTES:
            self._write(source)
        elif source is None:
            self.channel.shutdown_write()
        else:
            threading.Thread(target=self._write, args=(source,), name="ssh-input", daemon=True).start()

    def chunks(self) -> Iterator[tuple[Source, bytes]]:
        """Yield what the command prints, as it comes. Raises TimeUp, ConnectionLost or Cancelled."""
        poller = select.poll()
        poller.register(self.channel.fileno(), select.POLLIN)
        silent_since = time.monotonic()
        while True:
            # Looked at before the buffers: what arrives in between is read in the next round, not lost.
            ended = self.channel.exit_status_ready()
            at_eof = bool(self.channel.closed or self.channel.eof_received)
            for chunk in self._buffered():
                yield chunk
                silent_since = time.monotonic()
                # What prints without a pause never gets to the wait below.
                self._check(silent_since)
            if ended and (at_eof or time.monotonic() - silent_since > AFTERMATH_SECONDS):
                break
            self._wait(poller, at_eof, ended)
        yield from self._rest_of_head()
        self.code = self._exit_code()

    def _check(self, now: float) -> None:
        if self.cancelled.is_set():
            raise Cancelled
        if now >= self.deadline:
            raise TimeUp

    def _wait(self, poller: select.poll, at_eof: bool, ended: bool) -> None:
        now = time.monotonic()
        self._check(now)
        seconds = min(self.deadline - now, AFTERMATH_SECONDS / 4 if ended else TICK_SECONDS)
        if at_eof:
            # The pipe stays readable after the end of output; only the exit status is still to come.
            self.channel.status_event.wait(seconds)
        else:
            poller.poll(seconds * 1000)

    def _buffered(self) -> Iterator[tuple[Source, bytes]]:
        while self.channel.recv_stderr_ready():
            text = self._without_pid(self.channel.recv_stderr(CHUNK_BYTES))
            if text:
                yield Source.STDERR, text
        while self.channel.recv_ready():
            yield Source.STDOUT, self.channel.recv(CHUNK_BYTES)

    def _without_pid(self, data: bytes) -> bytes:
        """Return `data` less the line that tells the process group; a login script may print before it."""
        if self.group is not None:
            return data
        self._stderr_head += data
        found = PID_LINE.search(self._stderr_head)
        if found is None and len(self._stderr_head) < PID_WITHIN_BYTES:
            return b""
        head, self._stderr_head = self._stderr_head, b""
        if found is None:
            self.group = 0
            return head
        self.group = int(found[1])
        return head[: found.start()] + head[found.end() :]

    def _rest_of_head(self) -> Iterator[tuple[Source, bytes]]:
        if self._stderr_head:
            yield Source.STDERR, self._stderr_head

    def _exit_code(self) -> int:
        if self._feed_error is not None:
            raise self._feed_error
        code: int = self.channel.recv_exit_status()
        if code == -1 and not self.channel.get_transport().is_active():
            raise ConnectionLost
        return code

    def _write(self, source: Feed) -> None:
        try:
            if isinstance(source, bytes):
                self.channel.sendall(source)
            else:
                source(_ChannelSink(self.channel))
            self.channel.shutdown_write()
        except Exception as error:  # noqa: BLE001 - told by `chunks`, whose thread somebody listens to
            if not self.channel.closed and not self.channel.exit_status_ready():
                # Half an input must not look like all of it: the command gets no orderly end of input.
                self._feed_error = error
                with contextlib.suppress(Exception):
                    self.channel.close()


@dataclass(frozen=True)
class _ChannelSink:
    channel: Channel

    def write(self, data: bytes, /) -> int:
        self.channel.sendall(data)
        return len(data)


class OutputStream:
    """A command's stdout as a binary file that is read once. `errors`: the end of its stderr so far."""

    def __init__(self, chunks: Iterator[tuple[Source, bytes]]) -> None:
        self._chunks = chunks
        self._rest = b""
        self.errors = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes: fewer only at the end."""
        parts, have = [self._rest], len(self._rest)
        while have < size:
            data = self._next()
            if not data:
                break
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]

    def drain(self) -> None:
        """Read to the end and discard."""
        self._rest = b""
        while self._next():
            pass

    def _next(self) -> bytes:
        for source, data in self._chunks:
            if source is Source.STDOUT:
                return data
            self.errors = (self.errors + data)[-ERROR_TAIL_BYTES:]
        return b""


class Lines:
    """Cuts a stream of bytes into lines of text."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes; one of more than a mebibyte is not waited for."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        return [_text(line) for line in whole]

    def end(self) -> list[str]:
        """Return the last line, if it had no line break."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
