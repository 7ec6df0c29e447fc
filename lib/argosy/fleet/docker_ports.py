"""The ports of `docker run`: `80`, `8080:80`, `127.0.0.1:8080:80`, `10.0.0.1::80`, `8000-8002:80-82/udp`. Pure.

Source: https://docs.docker.com/engine/reference/commandline/run/#publish
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from argosy.fleet.docker_command import Option
from argosy.fleet.draft import Published
from argosy.fleet.symbols import shown, symbols

MAX_RANGE = 100
"""More ports than that are nothing that a definition lists."""

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Port:
    """`address`: the only one of the machine's that it is published on, or empty."""

    address: str
    published: Published


def parse_published(option: Option) -> list[Port]:
    """Return the ports of `--publish VALUE`; the machine's may hold symbols. Raises ValueError."""
    text, slash, protocol = option.value.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"{shown(option.value)!r}: instances have tcp and udp ports")
    rest, _, inside = text.rpartition(":")
    address, _, outside = rest.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if address and not symbols(address):
        ipaddress.ip_address(address)
    outside = "" if outside == "0" else outside
    inner = parse_range(inside)
    outer = (
        [outside] * len(inner) if symbols(outside) else [str(port) for port in parse_range(outside)] if outside else []
    )
    if len(inner) > 1 and symbols(outside):
        raise ValueError(f"{shown(option.value)!r}: a range of ports can't depend on the machine")
    if outer and len(outer) != len(inner):
        raise ValueError(f"{shown(option.value)!r}: the two ranges differ in length")
    return [
        Port(address, Published(outer[index] if outer else "", port, protocol, option.line))
        for index, port in enumerate(inner)
    ]


def parse_exposed(text: str) -> list[int]:
    """Return the tcp ports of `--expose VALUE`. Raises ValueError."""
    ports, _, protocol = text.partition("/")
    found = parse_range(ports)
    return [] if protocol.lower() == "udp" else found


def parse_range(text: str) -> list[int]:
    """Return the ports of `80` or `80-82`. Raises ValueError."""
    found = _RANGE.fullmatch(text)
    if not found:
        raise ValueError(f"{shown(text)!r} is no port")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 0 < first <= last < 65536 or last - first >= MAX_RANGE:
        raise ValueError(f"{text!r} is no range of ports")
    return list(range(first, last + 1))
