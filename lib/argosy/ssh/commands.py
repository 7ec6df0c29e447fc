"""Run commands on a machine over channels of its connection: to the end, line by line, as a stream, on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import paramiko

from argosy.clock import retry_for
from argosy.errors import ArgosyError, CommandFailed, DeadlineExceeded, HostUnreachable, Refused
from argosy.ssh import shell, terminal
from argosy.ssh.channel import (
    ERROR_TAIL_BYTES,
    Cancelled,
    ConnectionLost,
    Feed,
    Lines,
    OutputStream,
    RunningCommand,
    Source,
    TimeUp,
)
from argosy.ssh.shell import Command
from argosy.ssh.stream import CommandStream
from argosy.ssh.watchdog import Watchdog

if TYPE_CHECKING:
    from argosy.ssh.link import Link

ENDING_SECONDS = 6.0
# The machine ends a follower's command by itself so long after we should have.
FOLLOWER_GRACE_SECONDS = 15
SESSION_PAUSE_SECONDS = 0.1
# How long sshd may take to say that it has begun a command, in connect timeouts: a busy machine forks slowly.
REPLY_TIMEOUTS = 3

_watchdog = Watchdog()


@dataclass(frozen=True, slots=True)
class Result:
    """A command that ended. `code`: its exit status, -1 when a signal ended it; `seconds`: how long it took."""

    host: str
    command: str
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    code: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0


def run(
    host: Link,
    command: Command,
    *,
    sudo: bool = False,
    check: bool = True,
    timeout_seconds: float | None = None,
    input: Feed | None = None,
) -> Result:
    """Run a command to its end and return what it printed.

    `command`: argv, or a line of shell. `sudo`: as root. `input`: for its stdin; the place for secrets, since argv
    is seen by everybody on the machine. Raises CommandFailed (unless `check` is off), DeadlineExceeded after
    `timeout_seconds` (ssh.command_timeout_seconds) with the remote process ended, HostUnreachable and its kin.
    """
    started = time.monotonic()
    printed: dict[Source, list[bytes]] = {Source.STDOUT: [], Source.STDERR: []}
    with _running(host, command, sudo=sudo, seconds=timeout_seconds, feed=input) as running:
        for source, data in running.chunks():
            printed[source].append(data)
    output, errors = b"".join(printed[Source.STDOUT]), b"".join(printed[Source.STDERR])
    result = _result(host, command, errors, running.exit_status, started, output)
    if check and not result.ok:
        _fail(host, result, sudo)
    return result


def stream(
    host: Link,
    command: Command,
    *,
    on_line: Callable[[str], bool | None],
    deadline_seconds: float,
    sudo: bool = False,
    check: bool = True,
    on_error_line: Callable[[str], object] | None = None,
) -> int:
    """Give each line that a command prints to `on_line`, as it comes, and return the exit status.

    `on_line` returns True to stop: the remote process is ended and 0 returned. Lines of stderr go to
    `on_error_line`; the last one stands in the error. Raises as `run` does, DeadlineExceeded included.
    """
    started = time.monotonic()
    lines, error_lines, errors = Lines(), Lines(), b""
    with _running(host, command, sudo=sudo, seconds=deadline_seconds, follow=True) as running:
        for source, data in running.chunks():
            if source is Source.STDERR:
                errors = (errors + data)[-ERROR_TAIL_BYTES:]
                _tell(on_error_line, error_lines.add(data))
            elif any(on_line(text) for text in lines.add(data)):
                return 0
        _tell(on_error_line, error_lines.end())
        if any(on_line(text) for text in lines.end()):
            return 0
    code = running.exit_status
    if check and code != 0:
        _fail(host, _result(host, command, errors, code, started), sudo)
    return code


@contextlib.contextmanager
def reading(
    host: Link, command: Command, *, sudo: bool = False, timeout_seconds: float | None = None
) -> Iterator[OutputStream]:
    """Give a command's stdout as a binary stream that is read as it comes, for output too big to hold.

    What is left unread is discarded; a command that failed raises CommandFailed when the context ends.
    """
    started = time.monotonic()
    unfinished: ArgosyError | None = None
    with _running(host, command, sudo=sudo, seconds=timeout_seconds) as running:
        output = OutputStream(running.chunks())
        try:
            yield output
        except CommandFailed as error:
            unfinished = error
        output.drain()
    if running.exit_status != 0:
        _fail(host, _result(host, command, output.errors, running.exit_status, started), sudo)
    if unfinished:
        raise unfinished


def interactive(host: Link, command: Command | None = None, *, sudo: bool = False) -> int:
    """Join this process's terminal to a command, or to a login shell, and return its exit status."""
    sudo = host.elevates(sudo)
    if command is None:
        command = ["sudo", "-n", "-i"] if sudo else 'exec "${SHELL:-/bin/sh}" -l'
        sudo = False
    with contextlib.closing(_session(host)) as channel:
        if sys.stdin.isatty():
            columns, lines = terminal.size()
            channel.get_pty(os.environ.get("TERM") or "xterm", columns, lines)
        _begin(host, channel, shell.line(command, sudo=sudo))
        return terminal.attach(channel)


def open_stream(host: Link, command: Command, *, sudo: bool = False) -> CommandStream:
    """Begin a command that talks both ways, and give its stdin and stdout as a stream; the caller closes it.

    For a command that ends when its input does, such as `docker system dial-stdio`.
    """
    if not host.sessions.acquire(timeout=host.ssh.command_timeout_seconds):
        raise DeadlineExceeded(f"{host.name}: `{shell.shortened(command)}` was not begun: too many others run")
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(host.sessions.release)
        channel = cleanup.enter_context(contextlib.closing(_session(host)))
        _begin(host, channel, shell.line(command, sudo=host.elevates(sudo)))
        cleanup.pop_all()
    return CommandStream(channel, host.sessions.release)


@contextlib.contextmanager
def _running(
    host: Link, command: Command, *, sudo: bool, seconds: float | None, feed: Feed | None = None, follow: bool = False
) -> Iterator[RunningCommand]:
    """Begin a command, and see that it has ended when the context does: by itself, or by us."""
    seconds = host.ssh.command_timeout_seconds if seconds is None else seconds
    sudo = host.elevates(sudo)
    text = shell.shortened(command)
    deadline = time.monotonic() + seconds
    if not host.sessions.acquire(timeout=seconds):
        raise DeadlineExceeded(f"{host.name}: `{text}` was not begun within {seconds:g} s: too many others run there")
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(host.sessions.release)
        channel = cleanup.enter_context(contextlib.closing(_session(host)))
        running = RunningCommand(channel, deadline, host.cancelled)
        limit = seconds + FOLLOWER_GRACE_SECONDS if follow else 0
        _begin(host, channel, shell.traced(command, sudo=sudo, limit_seconds=limit))
        try:
            running.feed(feed)
            yield running
        except TimeUp:
            ended = _end(channel, running, sudo)
            fate = "was ended" if ended else "may still run there"
            raise DeadlineExceeded(f"{host.name}: `{text}` took longer than {seconds:g} s and {fate}") from None
        except (ConnectionLost, Cancelled) as error:
            ended = _end(channel, running, sudo)
            reason = "was cancelled" if isinstance(error, Cancelled) else "lost its connection"
            fate = "and was ended" if ended else "and may still run there; look before you try again"
            raise HostUnreachable(host.name, f"`{text}` {reason} {fate}") from None
        finally:
            _end(channel, running, sudo)


def _session(host: Link) -> paramiko.Channel:
    """Open a session. Nothing was begun yet, so a connection that turns out to be dead may be made anew, once."""
    for last in (False, True):
        transport = host.connect()
        try:
            return _open_session(transport, host.ssh.connect_timeout_seconds)
        except paramiko.ChannelException as error:
            raise HostUnreachable(host.name, f"sshd refused one more session: {error.text}") from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.close()
            if last:
                raise HostUnreachable(host.name, f"{host.where} no longer answers: {error}") from None
    raise AssertionError("not reached")


def _open_session(transport: paramiko.Transport, timeout: float) -> paramiko.Channel:
    """Open a session; asks again while sshd still counts sessions that have just ended (MaxSessions)."""
    return retry_for(
        timeout,
        lambda: transport.open_session(timeout=timeout),
        lambda error: isinstance(error, paramiko.ChannelException),
        every=SESSION_PAUSE_SECONDS,
    )


def _begin(host: Link, channel: paramiko.Channel, line: str) -> None:
    try:
        with _watchdog.limit(channel.get_transport(), REPLY_TIMEOUTS * host.ssh.connect_timeout_seconds):
            channel.exec_command(line)
    except (paramiko.SSHException, EOFError, OSError) as error:
        reason = str(error) or "the connection was closed"
        raise HostUnreachable(host.name, f"{host.where} did not begin the command: {reason}") from None


def _end(channel: paramiko.Channel, running: RunningCommand, sudo: bool) -> bool:
    """End the remote processes unless they ended already. Returns whether they are known to have ended."""
    transport = channel.get_transport()
    if running.code is not None or running.told_to_end:
        return True
    running.told_to_end = True
    if not running.group or not transport.is_active():
        return False
    ended = threading.Event()

    def tell() -> None:
        with (
            contextlib.suppress(Exception),
            contextlib.closing(_open_session(transport, ENDING_SECONDS)) as other,
        ):
            other.exec_command(shell.ending(running.group or 0, sudo=sudo))
            if other.status_event.wait(ENDING_SECONDS) and other.recv_exit_status() == 0:
                ended.set()

    # In a thread of its own: on a connection that hangs even sending can.
    thread = threading.Thread(target=tell, name="ssh-end", daemon=True)
    thread.start()
    thread.join(ENDING_SECONDS)
    if thread.is_alive():
        transport.close()
    return ended.is_set()


def _result(host: Link, command: Command, errors: bytes, code: int, started: float, output: bytes = b"") -> Result:
    seconds = time.monotonic() - started
    stdout, stderr = output.decode(errors="replace"), errors.decode(errors="replace")
    return Result(host.name, shell.shortened(command), stdout, stderr, code, seconds)


def _fail(host: Link, result: Result, sudo: bool) -> NoReturn:
    if host.elevates(sudo) and result.code == 1 and not run(host, ["sudo", "-n", "true"], check=False).ok:
        raise Refused(
            f"{host.name}: {host.ssh.user} may not use sudo without a password there; see sudoers(5), NOPASSWD"
        )
    how = "was ended by a signal" if result.code == -1 else f"ended with {result.code}"
    last = (result.stderr.strip() or result.stdout.strip()).rpartition("\n")[2].strip()
    raise CommandFailed(f"{host.name}: `{result.command}` {how}" + (f": {last}" if last else ""), result)


def _tell(listener: Callable[[str], object] | None, lines: list[str]) -> None:
    for text in lines:
        if listener:
            listener(text)
