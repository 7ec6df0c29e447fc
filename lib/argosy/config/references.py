"""Pure. References to images, `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, and which login is for which.

The grammar is https://github.com/distribution/reference/blob/main/reference.go: the first part is a host when it has a
dot or a port, or is `localhost`; without one the registry is Docker's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_OLD_HUB = "index.docker.io"
HTTPS_PORT = 443
HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_ADDRESS = re.compile(rf"({HOST})(?::([0-9]{{1,5}}))?")
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGESTS = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_IDENTIFIER = re.compile("[0-9a-f]{64}")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """`registry`: HOST or HOST:PORT, docker.io when none is named; `path`: as the registry knows it."""

    registry: str
    path: str
    tag: str = ""
    digest: str = ""


def parse_reference(text: str) -> Reference:
    """Return the parts of a reference. Raises ValueError with what is wrong with it."""
    if _IDENTIFIER.fullmatch(text):
        raise ValueError(f"{text!r}: 64 such digits are an image's id to Docker, and no name")
    name, at, digest = text.partition("@")
    if at and not _DIGESTS.fullmatch(digest):
        raise ValueError(f"{text!r}: {digest!r} is no digest, such as sha256: and 64 digits from 0 to f")
    first, slash, rest = name.partition("/")
    named = bool(slash) and (first == "localhost" or any(char in first for char in ".:["))
    registry, name = (first, rest) if named else (DOCKER_HUB, name)
    path, colon, tag = name.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"{text!r}: {tag!r} is no tag: letters, digits, `_`, `.` and `-`, at most 128")
    if named:
        split_address(registry)
    if not _PATH.fullmatch(path):
        reason = "names are in lower case" if path != path.lower() else "it is no name of an image"
        raise ValueError(f"{text!r}: {path!r}: {reason}")
    if len(f"{registry}/{path}") > _LONGEST:
        raise ValueError(f"{text[:40]!r}...: a name has at most {_LONGEST} characters")
    registry = DOCKER_HUB if registry == _OLD_HUB else registry
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(registry, path, tag, digest)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST or HOST:PORT; an IPv6 address stands in brackets. Raises ValueError."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise ValueError(f"{address!r} is not HOST or HOST:PORT, such as 10.0.0.5:5000 or [2001:db8::5]:5000")
    host, port = found[1], int(found[2] or HTTPS_PORT)
    if host.startswith("["):
        ipaddress.IPv6Address(host[1:-1])
    if not 0 < port < 65536:
        raise ValueError(f"{address!r}: ports are 1 to 65535")
    return host, port


def split_place(place: str) -> tuple[str, str]:
    """Return the address and the path of HOST[:PORT][/PATH], where registries' images lie. Raises ValueError."""
    address, slash, path = place.partition("/")
    split_address(address)
    if not (address == "localhost" or any(char in address for char in ".:[")):
        raise ValueError(f"{address!r} is no registry to Docker without a dot or a port: write {address}:{HTTPS_PORT}")
    if slash and not _PATH.fullmatch(path):
        raise ValueError(f"{place!r}: {path!r} is no path of a registry, such as team/app")
    return address, path


def place_of(reference: Reference, places: Iterable[str]) -> str:
    """Return the most specific of `places` (HOST[:PORT][/PATH]) that the image lies in, or nothing."""
    where = f"{reference.registry}/{reference.path}/"
    return max((place for place in places if where.startswith(f"{place}/")), key=len, default="")
