"""Pure. The single values under /services: what is accepted, and what it means.

Everybody may write to these keys, and what comes out of here ends in HAProxy's configuration: so each parser returns a
value made anew from its parts and raises ValueError, with the reason as its message, for anything else.
White space around a value does not count: `etcdctl put KEY <FILE` ends it with a line break.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from argosy.model import Endpoint

NAME_LENGTH = 200
ID_BYTES = 200
MAX_WEIGHT = 256
DEFAULT_WEIGHT = 100
MAX_SNI = 100

_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_GENERATION = re.compile(r"[1-9][0-9]{0,8}")
_WEIGHT = re.compile(r"0|[1-9][0-9]{0,2}")
# What RFC 3986 lets stand in a path and a query, without the two characters that mean something to HAProxy.
_PATH = re.compile(r"/[A-Za-z0-9/._~!&()*+,;=:@%?-]{0,255}")
_STATUS = re.compile(r"[1-5][0-9]{2}")
_SPACE = " \t\r\n"


class Scheme(StrEnum):
    """How a service is spoken to. `HTTPS`: by TLS only, http is redirected; our routers end the TLS."""

    HTTP = "http"
    HTTPS = "https"
    HTTP_AND_HTTPS = "http-and-https"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Check:
    """How a router finds out that an instance is healthy: it connects (`tcp`), asks for `path` (`http`), or believes it
    (`none`). `status`: the answers that count as well; empty: 200 to 399."""

    kind: Literal["tcp", "http", "none"] = "tcp"
    path: str = ""
    status: tuple[int, ...] = ()


DEFAULT_CHECK = Check()


def shown(value: str) -> str:
    """Return `value` for a message: printable, on one line, not long."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"


def valid_name(name: str) -> bool:
    """Say whether a service may have this name: labels as in DNS, in lower case, `_` too, joined by single dots."""
    return len(name) <= NAME_LENGTH and _NAME.fullmatch(name) is not None


def parse_id(text: str) -> str:
    """Return `text` if it may name an instance: any bytes but `/`, at least one, at most ID_BYTES."""
    if not text or "/" in text:
        raise ValueError("its ID is empty or holds a slash")
    if len(text.encode(errors="surrogateescape")) > ID_BYTES:
        raise ValueError(f"its ID is longer than {ID_BYTES} bytes")
    return text


def parse_scheme(text: str) -> Scheme:
    """Return the scheme; case counts."""
    try:
        return Scheme(text.strip(_SPACE))
    except ValueError:
        raise ValueError(f"{shown(text)} is none of {', '.join(Scheme)}") from None


def parse_port(text: str) -> int:
    """Return a port from 1 to 65535, written without leading zeros."""
    digits = text.strip(_SPACE)
    if not _PORT.fullmatch(digits) or int(digits) > 65535:
        raise ValueError(f"{shown(text)} is no port from 1 to 65535")
    return int(digits)


def parse_weight(text: str) -> int:
    """Return an instance's weight, 0 (no new connections) to 256."""
    digits = text.strip(_SPACE)
    if not _WEIGHT.fullmatch(digits) or int(digits) > MAX_WEIGHT:
        raise ValueError(f"{shown(text)} is no weight from 0 to {MAX_WEIGHT}")
    return int(digits)


def parse_generation(text: str) -> int:
    """Return the number of a generation, from 1 on, written without leading zeros."""
    digits = text.strip(_SPACE)
    if not _GENERATION.fullmatch(digits):
        raise ValueError(f"{shown(text)} is no number of a generation, from 1 on")
    return int(digits)


def parse_address(text: str) -> str:
    """Return an IP address that one can connect to, in its shortest form; IPv4 in IPv6 becomes IPv4.

    Refuses host names, zones (`%eth0`), and addresses that are nobody's: unspecified, multicast, broadcast and
    reserved ones, and IPv6 link-local ones, which mean nothing without a zone.
    """
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is no IP address") from None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None or found.is_link_local:
            raise ValueError(f"{shown(text)} means something on one link only")
        found = found.ipv4_mapped or found
    reserved = isinstance(found, ipaddress.IPv4Address) and found.is_reserved
    nowhere = isinstance(found, ipaddress.IPv4Address) and found in ipaddress.IPv4Network("0.0.0.0/8")
    if found.is_unspecified or found.is_multicast or reserved or nowhere:
        raise ValueError(f"{shown(text)} is no address of a machine")
    return str(found)


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint of `ip:port` or `[v6]:port`."""
    address, colon, port = text.strip(_SPACE).rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]")
    if not colon or (":" in address) != bracketed:
        raise ValueError(f"{shown(text)} is not written as ip:port or [v6]:port")
    return Endpoint(parse_address(address[1:-1] if bracketed else address), parse_port(port))


def parse_check(text: str) -> Check:
    """Return the check of `tcp`, `none`, `http /path` or `http /path 200,204`."""
    match text.split():
        case ["tcp"]:
            return Check("tcp")
        case ["none"]:
            return Check("none")
        case ["http", path]:
            return Check("http", _checked_path(path))
        case ["http", path, status]:
            return Check("http", _checked_path(path), _statuses(status))
    raise ValueError(f"{shown(text)} is none of tcp, none, http /path, http /path 200,204")


def _checked_path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(f"{shown(text)} is no path to ask for")
    return text


def _statuses(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if len(words) > 20 or not all(_STATUS.fullmatch(word) for word in words):
        raise ValueError(f"{shown(text)} is no list of at most 20 HTTP statuses")
    return tuple(sorted({int(word) for word in words}))


def parse_sni(text: str) -> tuple[str, ...]:
    """Return the TLS server names of a list with spaces or commas between them: in lower case, each once, in order.

    No wildcards. The rules of a service's name hold for each, in either case.
    """
    names = tuple(dict.fromkeys(word for word in re.split(r"[ \t\r\n,]+", _lower(text)) if word))
    wrong = next((name for name in names if not valid_name(name)), None)
    if wrong is not None:
        raise ValueError(f"{shown(wrong)} is no server name")
    if not names or len(names) > MAX_SNI:
        raise ValueError(f"it holds {len(names)} server names: 1 to {MAX_SNI} are wanted")
    return names


def _lower(text: str) -> str:
    """Return `text` with only ASCII in lower case: the Kelvin sign must not become a k."""
    return re.sub("[A-Z]+", lambda match: match[0].lower(), text)
