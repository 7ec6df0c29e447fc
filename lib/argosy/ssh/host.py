"""Machines as seen through ssh. The only module that imports Fabric.

    with Hosts(settings, machines) as hosts:
        joined(hosts.each(lambda host: host.run(["uptime"]).stdout, what="uptime"))

Host keys come from the cluster's own known_hosts file alone and ~/.ssh/config is not read, so that what is trusted
does not depend on who runs the task. Commands run on plain channels of the connection that Fabric opens: Fabric's
runner needs three polling threads for a command, and can't end one that has run out of time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import paramiko
from fabric.config import Config
from fabric.connection import Connection
from paramiko.config import SSHConfig

from argosy.config.sections import SshTarget
from argosy.fanout import Outcomes, fan_out
from argosy.model import Machine
from argosy.ssh import commands, copy, tunnel
from argosy.ssh.connecting import Connector, takes_connections
from argosy.ssh.identity import login_key, parse_entry_node
from argosy.ssh.pins import path
from argosy.ssh.tunnel import LocalAddress

if TYPE_CHECKING:
    from argosy.config.loading import Settings, SshSettings

T = TypeVar("T")

# What paramiko has to say is in our errors; without a handler Python prints it on stderr, tracebacks and all.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# sshd's MaxSessions is 10 by default; the others are for ending commands.
SESSIONS_AT_ONCE = 8


class _Connection(Connection):
    """Fabric's own, at half the price: all it sets are real attributes, so none has to be looked for in its settings
    first, which takes Invoke 2 ms for each connection."""

    __setattr__ = object.__setattr__  # type: ignore[assignment]


class Host:
    """One machine. Connects when first needed, stays connected, and may be used by several threads."""

    def __init__(
        self, machine: Machine, ssh: SshSettings, known_hosts: Path, key: Path | None, *, gateway: Host | None = None
    ) -> None:
        """`ssh`: how to reach it; its ssh server is at the machine's address unless that says `host`.

        `key`: the only key that is tried; None means the operator's agent and default keys.

        `gateway`: the connection to the entry node, when it is shared; else `ssh.entry_node` makes one.
        """
        self.machine = machine
        self.name = machine.name
        self.ssh = ssh
        self.address = ssh.host if isinstance(ssh, SshTarget) else machine.address
        self.known_hosts = known_hosts
        self.key = key
        self.sessions = threading.BoundedSemaphore(SESSIONS_AT_ONCE)
        self.cancelled = threading.Event()
        self._own_gateway = gateway is None and bool(ssh.entry_node)
        self.gateway = _entry_host(ssh, known_hosts, key) if self._own_gateway else gateway
        self._connector = Connector(self, _connection)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.where}>"

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The address and the way to it, for messages."""
        through = f" through {self.gateway.address}" if self.gateway else ""
        return f"{self.address}:{self.ssh.port}{through}"

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open, as far as is known: asking it then takes no time to connect."""
        return self._connector.is_connected

    def answers(self, seconds: float) -> bool:
        """Return whether its ssh port takes a connection within `seconds`; through an entry node that is not asked, and
        taken to be so."""
        return self.gateway is not None or takes_connections(self.address, self.ssh.port, seconds)

    def elevates(self, sudo: bool) -> bool:
        """Return whether a command that wants root needs sudo for it."""
        return sudo and self.ssh.user != "root"

    # Each is explained where it is defined.

    run = commands.run
    stream = commands.stream
    reading = commands.reading
    open_stream = commands.open_stream
    interactive = commands.interactive
    put_bytes = copy.put_bytes
    put = copy.put
    get = copy.get

    # Connections

    @contextlib.contextmanager
    def tunnel(self, remote_port: int, remote_address: str = "127.0.0.1") -> Iterator[LocalAddress]:
        """Give a local address that leads to a port as the machine reaches it, for as long as the context lasts."""
        self.connect()
        with tunnel.listening(lambda: self.dial(remote_address, remote_port)) as address:
            yield address

    def dial(self, address: str, port: int) -> paramiko.Channel:
        """Open a connection from the machine to ADDRESS:PORT. Raises ChannelException when nothing listens there."""
        return self.connect().open_channel(
            "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=self.ssh.connect_timeout_seconds
        )

    def connect(self) -> paramiko.Transport:
        """Connect, unless connected; only this is ever retried, never a command.

        Raises HostUnreachable, HostKeyMismatch or LoginRefused; the last two are final and not retried.
        """
        return self._connector.connect()

    def wait_for_login(self, deadline_seconds: float) -> None:
        """Wait until the machine lets us in, as one that boots will. A wrong host key is not waited for."""
        self._connector.wait_for_login(deadline_seconds)

    def cancel(self) -> None:
        """Make all running commands of this host end soon; their callers get HostUnreachable."""
        self.cancelled.set()

    def close(self) -> None:
        """Close the connection. The next use opens it again."""
        self._connector.close()
        if self._own_gateway and self.gateway:
            self.gateway.close()
        self.cancelled.clear()


class Hosts:
    """The hosts of some machines, by name, with their connections; closes them when its context ends.

    Through an entry node, all share one connection to it. `key`: as for `Host`; the configured one, or the cluster's
    own, when not given.
    """

    def __init__(self, settings: Settings, machines: Iterable[Machine]) -> None:
        self.max_parallel = settings.ssh.max_parallel
        self._settings, self._key, self._pins = settings, login_key(settings), path(settings)
        self._gateway = _entry_host(settings.ssh, self._pins, self._key) if settings.ssh.entry_node else None
        self._hosts: dict[str, Host] = {}
        self.add(machines)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def machines(self) -> list[Machine]:
        return [host.machine for host in self]

    def __getitem__(self, machine: Machine | str) -> Host:
        return self._hosts[machine if isinstance(machine, str) else machine.name]

    def add(self, machines: Iterable[Machine]) -> None:
        """Take in machines that have become known meanwhile."""
        for machine in machines:
            ssh = self._settings.ssh_of(machine)
            self._hosts[machine.name] = Host(machine, ssh, self._pins, self._key, gateway=self._gateway)

    def each(
        self,
        function: Callable[[Host], T],
        machines: Iterable[Machine | str] | None = None,
        max_parallel: int | None = None,
        what: str = "",
    ) -> Outcomes[T]:
        """Call `function` for the hosts (of `machines`), at most `max_parallel` (ssh.max_parallel) at a time.

        All finish, whatever happens to the others. `what`: what is done, for the message of `joined`.
        """
        chosen = list(self) if machines is None else [self[machine] for machine in machines]
        return fan_out(
            {host.name: host for host in chosen},
            function,
            max_parallel=max_parallel or self.max_parallel,
            what=what,
            cancel=self.cancel,
        )

    def cancel(self) -> None:
        """Make all running commands end soon."""
        for host in self:
            host.cancel()

    def close(self) -> None:
        """Close all connections, the one to the entry node last."""
        for host in self:
            host.close()
        if self._gateway:
            self._gateway.close()


def _entry_host(ssh: SshSettings, pins: Path, key: Path | None) -> Host:
    user, address, port = parse_entry_node(ssh.entry_node, ssh.user)
    own = {"host": address, "user": user, "port": port, "entry_node": ""}
    direct = SshTarget.model_construct(**{**dict(ssh), **own})
    return Host(Machine(f"entry node {address}", address), direct, pins, key)


def _connection(address: str, user: str, port: int, connect_kwargs: Mapping[str, Any]) -> _Connection:
    """Return a connection of Fabric's that is not open yet."""
    return _Connection(  # type: ignore[no-untyped-call]
        address, user=user, port=port, config=_fabric_config(), connect_kwargs=dict(connect_kwargs)
    )


@cache
def _fabric_config() -> Config:
    # An empty SSHConfig keeps Fabric from reading ~/.ssh/config and /etc/ssh/ssh_config, lazy from its own files.
    return Config(ssh_config=SSHConfig(), lazy=True)  # type: ignore[no-untyped-call]
