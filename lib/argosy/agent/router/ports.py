"""Which ports other programs of this machine hold. HAProxy must not find out: while it fails to listen, it pauses."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

_BIND = re.compile(r"^\s*bind\s+\S*?:(\d+)(\s|$)", re.MULTILINE)


def bound_ports(config: str) -> frozenset[int]:
    """Return the ports that a configuration of ours listens on. Pure."""
    return frozenset(int(found[1]) for found in _BIND.finditer(config))


def taken_ports(ports: Iterable[int], address: str = "") -> frozenset[int]:
    """Return those of `ports` that HAProxy could not listen on now, on all IPv4 addresses or on one.

    Ask only for ports that it does not listen on itself.
    """
    return frozenset(port for port in ports if _taken(address, port))


def _taken(address: str, port: int) -> bool:
    """Say whether TCP `port` can't be bound. As to HAProxy, connections of the port in TIME_WAIT are no obstacle."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError:
            return True
    return False
