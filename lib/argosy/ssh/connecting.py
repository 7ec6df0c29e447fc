"""The connection to a machine: opened when first needed, by one caller for all, and again when it was lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import paramiko

from argosy.clock import retry, retry_for
from argosy.errors import ArgosyError, HostUnreachable, LoginRefused
from argosy.ssh import known_hosts
from argosy.ssh.identity import login
from argosy.ssh.trust import host_key_checked, pin_client, transport

if TYPE_CHECKING:
    from argosy.ssh.link import Link

KEEPALIVE_SECONDS = 10
# A peer that acknowledges nothing for so long is gone (a power cut closes no connection).
DEAD_PEER_MILLISECONDS = 30_000
LATELY_SECONDS = 60.0
"""A machine that could not be reached so lately is tried just once more, not `ssh.connect_attempts` times."""

Make = Callable[[str, str, int, Mapping[str, Any]], Any]
"""Makes a connection that is not open yet, of (address, user, port, what paramiko's `connect` is given)."""


class Connector:
    """Keeps the connection to `host`; may be used by several threads."""

    def __init__(self, host: Link, make: Make) -> None:
        self._host = host
        self._make = make
        self._connection: Any = None
        self._connecting = threading.Lock()
        self._failure: tuple[float, Exception] | None = None

    @property
    def is_connected(self) -> bool:
        """See `Host.is_connected`."""
        return self._connection is not None and bool(self._connection.is_connected)

    def connect(self) -> paramiko.Transport:
        """See `Host.connect`."""
        asked = time.monotonic()
        with self._connecting:
            if self._connection is not None and self._connection.is_connected:
                return _transport(self._connection)
            if self._failure and self._failure[0] > asked:
                # Somebody tried while we waited for our turn (all hosts share an entry node): the answer is the same.
                raise self._failure[1]
            try:
                self._connection = self._connect_retrying()
            except Exception as error:
                self._failure = (time.monotonic(), error)
                raise
            self._failure = None
            return _transport(self._connection)

    def wait_for_login(self, deadline_seconds: float) -> None:
        """See `Host.wait_for_login`."""
        retry_for(deadline_seconds, self.connect, lambda error: type(error) in (HostUnreachable, LoginRefused))

    def close(self) -> None:
        """Close the connection. The next use opens it again."""
        with self._connecting:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect_retrying(self) -> Any:
        lately = self._failure is not None and time.monotonic() - self._failure[0] < LATELY_SECONDS
        attempts = 0

        def connect() -> Any:
            nonlocal attempts
            attempts += 1
            return self._connect_once()

        try:
            return retry(1 if lately else self._host.ssh.connect_attempts, connect, _may_pass)
        except paramiko.AuthenticationException:
            raise self._login_refused() from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            tried = f" after {attempts} attempts" if attempts > 1 else ""
            raise HostUnreachable(
                self._host.name,
                f"no ssh connection to {self._host.where}{tried}: {_reason(error)}; is it up, and the address right?",
            ) from None

    def _connect_once(self) -> Any:
        """Return an open connection. Raises ArgosyError for what another attempt would not change."""
        host = self._host
        address, port, timeout = host.address, host.ssh.port, host.ssh.connect_timeout_seconds
        pinned = known_hosts.read(host.known_hosts).get(known_hosts.entry_name(address, port), ())
        timeouts = {"timeout": timeout, "banner_timeout": timeout, "auth_timeout": timeout, "channel_timeout": timeout}
        with login(host.key) as arguments:
            sock = _Through(host.gateway.dial(address, port)) if host.gateway else _direct(address, port, timeout)
            options = {"sock": sock, "transport_factory": transport, **timeouts, **arguments}
            connection = self._make(address, host.ssh.user, port, options)
            pin_client(connection.client, pinned, address, port)
            try:
                with host_key_checked(host):
                    connection.open()
            except BaseException as error:
                about_ssh = isinstance(error, paramiko.SSHException)
                refused = about_ssh and _asked_for_login(connection.client)
                too_slow = about_ssh and _agrees_still(connection.client)
                connection.client.close()
                sock.close()
                if refused:
                    raise self._login_refused() from None
                if too_slow:
                    raise TimeoutError from None
                raise
        connection.transport.set_keepalive(KEEPALIVE_SECONDS)
        return connection

    def _login_refused(self) -> LoginRefused:
        key, user = self._host.key, self._host.ssh.user
        with_what = f"the key {key}" if key else "any key of your agent or ~/.ssh (ssh.key names one)"
        return LoginRefused(
            self._host.name,
            f"{self._host.where} did not let {user} in with {with_what}; "
            f"is its public half in ~{user}/.ssh/authorized_keys?",
        )


class _Through:
    """A channel through the entry node, as a socket that can be closed whatever became of the entry node.

    Closing a channel sends a message through the connection that it is in, and paramiko lets the EOFError of a dead one
    out, of its own threads too.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        with suppress(EOFError, OSError):
            self._channel.close()


def scan(host: Link) -> list[known_hosts.HostKey]:
    """Ask a host for its keys, through its entry node if it has one, and trust none. Raises HostUnreachable."""
    address, port, timeout = host.address, host.ssh.port, host.ssh.connect_timeout_seconds
    gateway = host.gateway
    dial = (lambda: gateway.dial(address, port)) if gateway else None
    try:
        return known_hosts.scan(address, port, timeout_seconds=timeout, dial=dial)
    except (OSError, paramiko.SSHException) as error:
        raise HostUnreachable(
            host.name, f"no ssh server answers at {host.where}: {_reason(error)}; is it up, and the address right?"
        ) from None


def _may_pass(error: BaseException) -> bool:
    """Return whether another attempt may do better. After a timeout the kernel has tried several times itself."""
    return not isinstance(error, (ArgosyError, TimeoutError))


def _transport(connection: Any) -> paramiko.Transport:
    transport: paramiko.Transport = connection.transport
    return transport


def takes_connections(address: str, port: int, seconds: float) -> bool:
    """Return whether somebody takes connections there, within `seconds`."""
    try:
        _direct(address, port, seconds).close()
    except OSError:
        return False
    return True


def _direct(address: str, port: int, timeout: float) -> socket.socket:
    sock = socket.create_connection((address, port), timeout)
    # Small packets both ways: waiting to fill one up would cost 40 ms for each reply.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MILLISECONDS)
    return sock


def _asked_for_login(client: paramiko.SSHClient) -> bool:
    """Return whether a failed connection got past the host key, and lives: then it was the login that failed."""
    transport = client.get_transport()
    return transport is not None and transport.is_active() and transport.initial_kex_done


def _agrees_still(client: paramiko.SSHClient) -> bool:
    """Return whether a failed connection was given up while the keys were agreed on: paramiko has no error for that."""
    transport = client.get_transport()
    return transport is not None and transport.is_active() and not transport.initial_kex_done


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, paramiko.ChannelException):
        return f"the entry node can't reach it ({error.text})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "the connection was closed"
