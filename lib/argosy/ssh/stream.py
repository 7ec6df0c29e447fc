"""A command on a machine as a stream of bytes both ways, with as much of a socket as http.client needs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from paramiko import Channel

COMPLAINT_BYTES = 4096
COMPLAINT_SECONDS = 2.0


class CommandStream:
    """A running command's stdin and stdout. Closing it lets the command see the end of its input.

    As with a socket, what `makefile` gave keeps it open until it is closed too.
    """

    def __init__(self, channel: Channel, on_close: Callable[[], None]) -> None:
        self._channel = channel
        self._on_close = on_close
        self._users = 1
        self._open = True

    def sendall(self, data: bytes) -> None:
        self._channel.sendall(data)

    def settimeout(self, seconds: float | None) -> None:
        """Bound each silence. TimeoutError ends it."""
        self._channel.settimeout(seconds)

    def makefile(self, _mode: str = "rb", _buffering: int | None = None) -> io.BufferedReader:
        self._users += 1
        return io.BufferedReader(_Reader(self._channel, self._leave))

    def complaint(self) -> str:
        """Return the last line that the command has said on stderr, when it ended."""
        with contextlib.suppress(OSError):
            self._channel.settimeout(COMPLAINT_SECONDS)
            said = b""
            while data := self._channel.recv_stderr(COMPLAINT_BYTES):
                said = (said + data)[-COMPLAINT_BYTES:]
            return said.decode(errors="replace").strip().rpartition("\n")[2].strip()
        return ""

    def close(self) -> None:
        if self._open:
            self._open = False
            self._leave()

    def _leave(self) -> None:
        self._users -= 1
        if self._users == 0:
            try:
                self._channel.close()
            finally:
                self._on_close()


class _Reader(io.RawIOBase):
    def __init__(self, channel: Channel, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._channel = channel
        self._on_close = on_close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._channel.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._on_close()
