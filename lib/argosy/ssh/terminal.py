"""Join the operator's terminal to a channel, as ssh(1) does.

Ours instead of Fabric's `run(pty=True)`: that one leaves the terminal's signals on, so Ctrl-Z and Ctrl-\\ would hit
`inv` and not the program on the machine, and it polls its input a hundred times a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko import Channel

CHUNK_BYTES = 1 << 14


def size() -> tuple[int, int]:
    """Return the terminal's (columns, lines)."""
    columns, lines = shutil.get_terminal_size()
    return columns, lines


def attach(channel: Channel, stdin: int | None = None, stdout: int | None = None) -> int:
    """Copy between the terminal and `channel` until the far side ends. Returns its exit status.

    `stdin`, `stdout`: file descriptors; the process's own when not given. Without a terminal it is a plain copy.
    """
    stdin = sys.stdin.fileno() if stdin is None else stdin
    stdout = sys.stdout.fileno() if stdout is None else stdout
    with _raw(stdin), _resizes() as resizes:
        _copy(channel, stdin, stdout, resizes)
    return int(channel.recv_exit_status())


def _copy(channel: Channel, stdin: int, stdout: int, resizes: int) -> None:
    poller = select.poll()
    far = channel.fileno()
    for descriptor in (far, stdin, resizes):
        poller.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if far in ready:
            over = channel.closed or channel.eof_received
            _print_received(channel, stdout)
            if over:
                return
        if resizes in ready:
            os.read(resizes, CHUNK_BYTES)
            channel.resize_pty(*size())
        if stdin in ready:
            data = os.read(stdin, CHUNK_BYTES)
            if data:
                channel.sendall(data)
            else:
                poller.unregister(stdin)
                channel.shutdown_write()


def _print_received(channel: Channel, stdout: int) -> None:
    while channel.recv_ready():
        _write_all(stdout, channel.recv(CHUNK_BYTES))
    while channel.recv_stderr_ready():
        _write_all(stdout, channel.recv_stderr(CHUNK_BYTES))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _raw(stdin: int) -> Iterator[None]:
    if not os.isatty(stdin):
        yield
        return
    before = termios.tcgetattr(stdin)
    tty.setraw(stdin)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizes() -> Iterator[int]:
    """Give a file descriptor that becomes readable when the window's size changes.

    The signal's handler only writes a byte: were it to send the new size itself, it could wait for a lock of the
    channel that the very code it interrupted holds. Only the main thread may listen to signals.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGWINCH, lambda *_: _write_byte(writer)) if main else None
    try:
        yield reader
    finally:
        if main:
            signal.signal(signal.SIGWINCH, before)
        os.close(reader)
        os.close(writer)


def _write_byte(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.write(descriptor, b"w")
