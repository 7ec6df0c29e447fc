"""How the instances of a service are found: its ports and registrations become `discovery` and `ports`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.fleet.draft import Draft, Published
from argosy.fleet.registration import Registration
from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import shown

_DIGITS = re.compile(r"\d{1,5}", re.ASCII)
SCHEMES = ("http", "https", "http-and-https", "tcp")


@dataclass(frozen=True, slots=True)
class RouterPorts:
    """The machines' ports that are not free for instances. `http`: the router's, where names are told apart."""

    http: int
    taken: frozenset[int]


def translate_endpoints(
    draft: Draft, registration: Registration | None, router: RouterPorts, findings: Findings, about: Findings
) -> None:
    """Add `discovery` and `ports`. `findings`: of the unit with the container; `about`: of the one that registers."""
    if registration is None:
        _unregistered(draft, router, findings)
    else:
        port = _port(draft, registration, about)
        if port is not None:
            draft.set("discovery.port", port)
            _attributes(draft, registration, about)
    _ports(draft, router, findings)


def _port(draft: Draft, registration: Registration, about: Findings) -> int | None:
    """Return the container's port that is registered; None, and refused, when nobody can tell."""
    tcp = [it for it in draft.published if it.protocol == "tcp"]
    text = registration.port
    if registration.inside:
        return int(text)
    for published in tcp:
        if text and published.outside == text:
            return published.inside
    inner = {it.inside for it in tcp} | set(draft.exposed)
    number = int(text) if _DIGITS.fullmatch(text) else 0
    if 0 < number < 65536 and (number in inner or not inner):
        return number
    if len(inner) == 1:
        only = inner.pop()
        about.note(registration.line, f"registered is the container's port {only}, the only one that it publishes")
        return only
    said = f"port {shown(text)}, which" if text else "no port that can be read here, and"
    about.refuse(
        registration.line, f"it registers {said} the container does not publish alone: write discovery.port yourself"
    )
    return None


def _attributes(draft: Draft, registration: Registration, about: Findings) -> None:
    given = registration.attributes
    scheme = given.get("scheme", "")
    if scheme in SCHEMES:
        draft.set("discovery.scheme", scheme)
    elif scheme:
        about.refuse(registration.line, f"scheme {scheme!r} is none of {', '.join(SCHEMES)}")
    else:
        about.note(registration.line, "no scheme is written, so it is registered and not routed: say discovery.scheme")
    if "host_port" in given:
        if _DIGITS.fullmatch(given["host_port"]) and 0 < int(given["host_port"]) < 65536:
            draft.set("discovery.host_port", int(given["host_port"]))
        else:
            about.refuse(registration.line, f"host_port {given['host_port']!r} is no port")
    if "private" in given:
        draft.set("discovery.private", True)
    if given.get("sni"):
        draft.set("discovery.sni", re.split(r"[\s,]+", given["sni"].lower()))
    if given.get("check"):
        draft.set("discovery.check", given["check"])
    if "weight" in given:
        about.note(registration.line, "weight dropped: discovery.weight is that of all instances")


def _unregistered(draft: Draft, router: RouterPorts, findings: Findings) -> None:
    """Let discovery find what has a port of the machine that Docker chose, or the router's own."""
    tcp = [it for it in draft.published if it.protocol == "tcp"]
    at_router = next((it for it in tcp if it.outside == str(router.http)), None)
    chosen = at_router or next((it for it in tcp if not it.outside.isdecimal()), None)
    if chosen is None:
        if draft.publish_all:
            findings.note(draft.publish_all, "--publish-all dropped: say which port of the image, by discovery.port")
        return
    draft.set("discovery.port", chosen.inside)
    if chosen is at_router:
        draft.set("discovery.scheme", "http")
        findings.note(
            chosen.line,
            f"port {router.http} of every machine is the router's: there it is reached by its name (scheme: http)",
        )
    else:
        findings.note(
            chosen.line,
            f"Docker chooses the machine's port for {chosen.inside}, and discovery finds it: its scheme routes it",
        )


def _ports(draft: Draft, router: RouterPorts, findings: Findings) -> None:
    """Add `ports`: those that are fixed and not found by discovery."""
    registered = draft.settings.get("discovery.port")
    fixed: list[str] = []
    for published in draft.published:
        if published.protocol == "tcp" and published.inside == registered:
            _released(draft, published, router, findings)
        elif not published.outside.isdecimal():
            findings.note(
                published.line,
                f"port {published.inside} gets none of the machine: one is discovery's, and others are fixed",
            )
        elif published.protocol == "tcp" and int(published.outside) in router.taken:
            findings.refuse(
                published.line, f"port {published.outside} of every machine is taken by Argosy: publish another"
            )
        else:
            fixed.append(f"{published.outside}:{published.inside}" + ("/udp" if published.protocol == "udp" else ""))
    if fixed:
        draft.set("ports", list(dict.fromkeys(fixed)))
        draft.set("update.order", "stop-first")
        findings.note(
            _line(draft.published),
            f"{', '.join(draft.settings['ports'])} is fixed, so an update is a short outage: with discovery (port, "
            f"scheme, host_port) instead there is none",
        )


def _released(draft: Draft, published: Published, router: RouterPorts, findings: Findings) -> None:
    kept = (router.http, draft.settings.get("discovery.host_port"))
    if published.outside.isdecimal() and int(published.outside) not in kept:
        findings.note(
            published.line,
            f"port {published.outside} of the machine is not fixed any more, since discovery finds it: host_port keeps "
            f"it, on every machine",
        )


def _line(published: Sequence[Published]) -> int:
    return next(it.line for it in published if it.outside.isdecimal())
