"""Which ports other programs of this machine hold. HAProxy must not find out: while it fails to listen, it pauses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

_FAMILIES = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))  # noqa: S104 (that is what is asked)


def taken_ports(ports: Iterable[int]) -> frozenset[int]:
    """Return those that HAProxy could not listen on now; ask only for ports that it does not listen on itself."""
    return frozenset(port for port in ports if any(_taken(family, any_, port) for family, any_ in _FAMILIES))


def _taken(family: socket.AddressFamily, address: str, port: int) -> bool:
    """Say whether TCP `port` can't be bound; an address family that this machine lacks has nobody on it.

    As HAProxy does, past connections of the port in TIME_WAIT are no obstacle (SO_REUSEADDR).
    """
    try:
        trial = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return False
        raise
    with trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return False
