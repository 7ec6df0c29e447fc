"""What a unit writes to etcd about a service: `etcdctl set /services/web/hosts/%i ...`, or the same by curl. Pure.

Two shapes of keys are known. Ours, as of old: `/services/NAME/scheme`, `host_port`, `private`, `hosts/ID`. CoreOS' own
examples: `/services/NAME/INSTANCE`, with the endpoint as text or as JSON. Whatever the key, its value names the port.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from argosy.fleet.actions import Action
from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import NUL, shown, symbols

SERVICES = "/services/"
WRITES = ("set", "mk", "update", "put", "create")
ATTRIBUTES = ("scheme", "host_port", "private", "sni", "check", "weight")
_OPTIONS_WITH_VALUE = re.compile(
    r"--?(ttl|C|peers|endpoints?|cert-file|key-file|ca-file|cert|key|cacert|u|username|timeout|total-timeout"
    r"|swap-with-value|swap-with-index|D|discovery-srv|o|output|w|lease|user|dial-timeout|command-timeout)"
)
_JSON_PORT = re.compile(rf'"port"\s*:\s*"?(\d{{1,5}}|{NUL}[^{NUL}]*{NUL})', re.ASCII | re.IGNORECASE)
_ENDPOINT = re.compile(rf":(\d{{1,5}}|{NUL}[^{NUL}]*{NUL})\s*$", re.ASCII)
_DOCKER_PORT = re.compile(r"docker\s+port\s+\S+\s+(\d{1,5})", re.ASCII)
_URL_KEY = re.compile(r"https?://[^/]*/v2/keys(/[^?]*)")


@dataclass(frozen=True, slots=True)
class Written:
    """One key that a unit writes. Both may hold symbols."""

    key: str
    value: str
    line: int


@dataclass(slots=True)
class Registration:
    """What a unit writes about one service. `name`: as under /services/; empty for keys elsewhere.

    `port`: of the endpoints, as text: of the machine, or (`inside`) of the container; it may be a symbol, or empty
    where no value names one. `line`: where the endpoint is written.
    """

    name: str
    line: int
    port: str = ""
    inside: bool = False
    attributes: dict[str, str] = field(default_factory=dict)


def written_by(action: Action) -> Written | None:
    """Return the key that a program writes to etcd; None for one that writes none."""
    words = [word.text for word in action.arguments]
    if action.program == "etcdctl":
        rest = _without_options(words)
        if len(rest) >= 3 and rest[0] in WRITES:
            return Written(rest[1] if rest[1].startswith("/") else f"/{rest[1]}", rest[2], action.line)
    if action.program == "curl":
        return _by_curl(words, action.line)
    return None


def is_about_etcd(action: Action) -> bool:
    """Whether a program only reads, writes or deletes keys."""
    return action.program == "etcdctl" or (
        action.program == "curl" and any("/v2/keys" in word.text for word in action.arguments)
    )


def registrations(written: Iterable[Written], findings: Findings) -> list[Registration]:
    """Return what is written about each service. What says nothing that we know is noted."""
    found: dict[str, Registration] = {}
    for entry in written:
        name, attribute = _parts(entry.key)
        registration = found.setdefault(name, Registration(name, entry.line))
        if name and attribute in ATTRIBUTES:
            if symbols(entry.value) and attribute != "private":
                findings.refuse(entry.line, f"{shown(entry.key)}: {shown(entry.value)} is known on the machine only")
            else:
                registration.attributes[attribute] = entry.value.strip()
            continue
        port, inside = _port(entry.value)
        if not port and not name:
            findings.note(entry.line, f"{shown(entry.key)} is not written any more")
            continue
        if not registration.port:
            registration.port, registration.inside, registration.line = port, inside, entry.line
        if not name:
            findings.note(entry.line, f"{shown(entry.key)} is not written any more: discovery has the endpoint")
    return [it for it in found.values() if it.name or it.port]


def _parts(key: str) -> tuple[str, str]:
    """Return the service's name and the rest of the key; no name for keys elsewhere."""
    if not key.startswith(SERVICES):
        return "", key
    name, _, rest = key.removeprefix(SERVICES).strip("/").partition("/")
    return name, rest


def _port(value: str) -> tuple[str, bool]:
    """Return the port that a value names, and whether it is the container's own."""
    asked = _DOCKER_PORT.search(value)
    if asked:
        return asked[1], True
    found = _JSON_PORT.search(value) or _ENDPOINT.search(value)
    if found:
        return found[1], False
    return (value.strip(), False) if value.strip().isdecimal() and value.isascii() else ("", False)


def _without_options(words: list[str]) -> list[str]:
    rest: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif len(word) > 1 and word[0] == "-" and not word[1].isdigit():
            skip = bool(_OPTIONS_WITH_VALUE.fullmatch(word))
        else:
            rest.append(word)
    return rest


def _by_curl(words: list[str], line: int) -> Written | None:
    url = next((found for word in words if (found := _URL_KEY.match(word))), None)
    if url is None:
        return None
    data = ""
    method = ""
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if word in ("-d", "--data", "--data-urlencode", "-F", "--form"):
            data = following.removeprefix("value=") if following.startswith("value=") else data
        elif word.startswith("-dvalue="):
            data = word.removeprefix("-dvalue=")
        elif word in ("-X", "--request"):
            method = following
        elif word.startswith("-X"):
            method = word[2:]
    return Written(url[1], data, line) if method.upper() in ("PUT", "POST") and data else None
