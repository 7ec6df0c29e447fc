"""Pure. How the instances of a service are found: ports and registrations become `discovery` and `ports`.

Two shapes of keys are known. Ours, as of old: `/services/NAME/scheme`, `host_port`, `private`, `hosts/ID`. CoreOS' own
examples: `/services/NAME/INSTANCE`, with the endpoint as text or as JSON. Elsewhere only what is surely an endpoint
counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from argosy.fleet.reading import Draft, Known, Published, Written
from argosy.fleet.unit_file import UnitFile
from argosy.fleet.words import NUL, shown, symbols

SERVICES = "/services/"
SCHEMES = ("http", "https", "http-and-https", "tcp")

_PORT = rf"(\d{{1,5}}|{NUL}[^{NUL}]*{NUL})"
_JSON_PORT = re.compile(rf'"port"\s*:\s*"?{_PORT}', re.ASCII | re.IGNORECASE)
_ENDPOINT = re.compile(rf"\s*(?:.*:|(?=\d)){_PORT}\s*", re.ASCII | re.DOTALL)
_SURE_ENDPOINT = re.compile(rf"(?:\w+://[^/\s]*|(?=[^/\s]*[].{NUL}])[^/\s]+|localhost):{_PORT}/?\s*", re.ASCII)
_DOCKER_PORT = re.compile(r"docker\s+port\s+\S+\s+(\d{1,5})", re.ASCII)


@dataclass(slots=True)
class Registration:
    """What is written about a service. `name`: as under /services/; empty when all keys are elsewhere.

    `port`: of the endpoints, as text: of the machine, or (`inside`) of the container; it may be a symbol, or empty
    where no value names one. `unit` and `line`: where the endpoint is written.
    """

    name: str
    unit: UnitFile
    line: int
    port: str = ""
    inside: bool = False
    attributes: dict[str, str] = field(default_factory=dict)


def registers(draft: Draft) -> int:
    """Return the line where a unit writes something of a service; 0 when it writes nothing."""
    return next((written.line for written in draft.written if _parts(written.key)[0] or _port(written)[0]), 0)


def find_registration(draft: Draft) -> Registration | None:
    """Return what is written about a service, by its sidekicks or by itself. A key that says nothing is noted."""
    written = [(*_parts(written.key), written, by.unit) for by in (*draft.sidekicks, draft) for written in by.written]
    written.sort(key=lambda pair: not pair[0])
    if not written:
        return None
    name, _, first, unit = written[0]
    found = Registration(name, unit, first.line)
    for named, rest, entry, unit in written:
        if named and named != name:
            unit.refuse(entry.line, f"a service has one name, here {shown(name)}: {shown(named)} is another's")
        elif named and rest in ("scheme", "host_port", "private", "sni", "check", "weight"):
            if symbols(entry.text) and rest != "private":
                unit.refuse(entry.line, f"{shown(entry.key)}: {shown(entry.text)} is known on the machine only")
            else:
                found.attributes[rest] = entry.text.strip()
        else:
            port, inside = _port(entry)
            if port and not found.port:
                found.port, found.inside, found.line, found.unit = port, inside, entry.line, unit
            if not named:
                why = ": discovery has the endpoint" if port else ""
                unit.note(entry.line, f"{shown(entry.key)} is not written any more{why}")
    return found if found.name or found.port else None


def _parts(key: str) -> tuple[str, str]:
    """Return the service's name and the rest of the key; no name for keys elsewhere."""
    name, _, rest = key.removeprefix(SERVICES).strip("/").partition("/")
    return (name, rest) if key.startswith(SERVICES) else ("", key)


def _port(entry: Written) -> tuple[str, bool]:
    """Return the port that a value names, and whether it is the container's own."""
    if asked := _DOCKER_PORT.search(entry.text):
        return asked[1], True
    endpoint = _ENDPOINT if entry.key.startswith(SERVICES) or entry.key.endswith("/port") else _SURE_ENDPOINT
    found = _JSON_PORT.search(entry.text) or endpoint.fullmatch(entry.text)
    return (found[1] if found else ""), False


def translate_endpoints(draft: Draft, registration: Registration | None, known: Known) -> None:
    """Add `discovery` and `ports`."""
    if registration is None:
        _unregistered(draft, known)
    elif port := _registered_port(draft, registration):
        draft.settings["discovery.port"] = port
        _attributes(draft, registration)
    if draft.publish_all and not draft.published and "discovery.port" not in draft.settings:
        draft.unit.note(draft.publish_all, "--publish-all dropped: say which port of the image, by discovery.port")
    _ports(draft, known)


def _registered_port(draft: Draft, registration: Registration) -> int:
    """Return the container's port that is registered; 0, and refused, when nobody can tell."""
    tcp = [published for published in draft.published if published.protocol == "tcp"]
    text, number = registration.port, _number(registration.port)
    inner = {published.inside for published in tcp} | set(draft.exposed)
    published = [published.inside for published in tcp if text and published.outside == text]
    if published and not registration.inside:
        return published[0]
    if number and (registration.inside or number in inner or not inner):
        return number
    if len(inner) == 1:
        only = inner.pop()
        registration.unit.note(registration.line, f"the only port that the container publishes is registered: {only}")
        return only
    why = f"the container does not publish port {shown(text)} alone" if text else "no port can be read here"
    registration.unit.refuse(registration.line, f"{why}: write discovery.port yourself")
    return 0


def _number(text: str) -> int:
    """Return the port that is written; 0 for none."""
    return int(text) if re.fullmatch(r"\d{1,5}", text, re.ASCII) and int(text) < 65536 else 0


def _attributes(draft: Draft, registration: Registration) -> None:
    given, about, line = registration.attributes, registration.unit, registration.line
    scheme, host_port = given.get("scheme", ""), given.get("host_port", "")
    if not scheme:
        about.note(line, "no scheme is written, so it is registered and not routed: say discovery.scheme")
    elif scheme not in SCHEMES:
        about.refuse(line, f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    if host_port and not _number(host_port):
        about.refuse(line, f"host_port {host_port!r} is not a port")
    if "weight" in given:
        about.note(line, "weight dropped: discovery.weight is that of all instances")
    found = {"scheme": scheme if scheme in SCHEMES else "", "host_port": _number(host_port)}
    found |= {"private": "private" in given, "sni": re.findall(r"[^\s,]+", given.get("sni", "").lower())}
    found |= {"check": given.get("check", "")}
    draft.settings |= {f"discovery.{key}": value for key, value in found.items() if value}


def _unregistered(draft: Draft, known: Known) -> None:
    """Let discovery find what has a port of the machine that Docker chose, or the router's own."""
    tcp = [published for published in draft.published if published.protocol == "tcp"]
    at_router = next((published for published in tcp if published.outside == str(known.http_port)), None)
    chosen = at_router or next((published for published in tcp if not published.outside.isdecimal()), None)
    if chosen is None:
        return
    draft.settings["discovery.port"] = chosen.inside
    why = f"Docker chooses the machine's port for {chosen.inside}, and discovery finds it: its scheme routes it"
    if at_router:
        draft.settings["discovery.scheme"] = "http"
        why = f"port {known.http_port} of every machine is the router's: there its name reaches it (scheme: http)"
    draft.unit.note(chosen.line, why)


def _ports(draft: Draft, known: Known) -> None:
    """Add `ports`: those that are fixed and not found by discovery."""
    unit, settings = draft.unit, draft.settings
    fixed: dict[str, Published] = {}
    for published in draft.published:
        outside = int(published.outside) if published.outside.isdecimal() else 0
        if published.protocol == "tcp" and published.inside == settings.get("discovery.port"):
            if outside and outside not in (known.http_port, settings.get("discovery.host_port")):
                why = "since discovery finds it: host_port keeps it, on every machine"
                unit.note(published.line, f"port {outside} of the machine is not fixed any more, {why}")
        elif not outside:
            unit.note(
                published.line,
                f"port {published.inside} gets none of the machine: one is discovery's, and others are fixed",
            )
        elif outside in (known.taken_udp if published.protocol == "udp" else known.taken_ports):
            port = f"{outside}/udp" if published.protocol == "udp" else outside
            unit.refuse(published.line, f"port {port} of every machine is taken by Argosy: publish another")
        else:
            fixed.setdefault(
                f"{outside}:{published.inside}" + ("/udp" if published.protocol == "udp" else ""), published
            )
    if fixed:
        settings |= {"ports": list(fixed), "update.order": "stop-first"}
        why = "so an update is a short outage: with discovery (port, scheme, host_port) there is none"
        are = "are" if len(fixed) > 1 else "is"
        unit.note(next(iter(fixed.values())).line, f"{', '.join(fixed)} {are} fixed, {why}")
