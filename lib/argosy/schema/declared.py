"""Pure. What a container's labels say of its service.

    argosy.service          NAME: this container is an instance of it
    argosy.scheme           http | https | http-and-https | tcp; without it the service's own keys are left alone
    argosy.port             the container's port; else the only one that it exposes
    argosy.host_port, argosy.private (true), argosy.sni, argosy.check     as the service's keys of these names
    argosy.weight           of this instance
    argosy.generation       of a scheduled service, from 1 on: the key generation/GEN may weigh it otherwise
    argosy.check.command    instead of argosy.check: run in the container, a JSON list or a line for its shell
    argosy.check.seconds    between two checks

The grammar of the values is that of the keys (argosy.schema). An image's HEALTHCHECK decides instead of both checks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from argosy.schema import (
    Check,
    Problem,
    parse_check,
    parse_generation,
    parse_port,
    parse_scheme,
    parse_sni,
    parse_weight,
    shown,
    valid_name,
)
from argosy.schema.labels import (
    CHECK,
    COMMAND,
    GENERATION,
    HOST_PORT,
    PORT,
    PRIVATE,
    SCHEME,
    SECONDS,
    SERVICE,
    SNI,
    WEIGHT,
)

T = TypeVar("T")

ATTRIBUTES = {"scheme": SCHEME, "host_port": HOST_PORT, "private": PRIVATE, "sni": SNI, "check": CHECK}
"""The service's own keys, and the label of each."""
MIN_SECONDS, MAX_SECONDS = 0.1, 3600.0


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the labels say. `port`: 0 for none; `attributes`: values of the service's own keys, None when these are to
    be left alone; `weight`: empty for none; `generation`, `check_seconds`: 0 for none; `command`: argv, empty for
    none."""

    service: str
    port: int = 0
    attributes: Mapping[str, str] | None = None
    weight: str = ""
    generation: int = 0
    check: Check = field(default_factory=Check)
    command: tuple[str, ...] = ()
    check_seconds: float = 0


def parse_labels(container: str, labels: Mapping[str, str]) -> tuple[Declaration | None, tuple[Problem, ...]]:
    """Return what the labels of a container declare; with any bad label nothing but what is wrong.

    Half a declaration would be worse than none: a service whose `private` is misspelt must not become public.
    """
    labels = {SERVICE: "", **labels}
    service = labels[SERVICE].strip()
    problems: list[Problem] = []

    def read(label: str, parse: Callable[[str], T], otherwise: T) -> T:
        if label not in labels:
            return otherwise
        try:
            return parse(labels[label])
        except ValueError as error:
            problems.append(problem_of(container, label, service, str(error)))
            return otherwise

    declaration = Declaration(
        service=read(SERVICE, _parse_name, ""),
        port=read(PORT, parse_port, 0),
        attributes=_attributes(labels, read),
        weight=read(WEIGHT, lambda text: str(parse_weight(text)), ""),
        generation=read(GENERATION, parse_generation, 0),
        check=read(CHECK, parse_check, Check()),
        command=read(COMMAND, parse_command, ()),
        check_seconds=read(SECONDS, parse_seconds, 0.0),
    )
    return (None if problems else declaration), tuple(dict.fromkeys(problems))


def problem_of(container: str, label: str, service: str, reason: str) -> Problem:
    """Return the report of something wrong with a container; `label` may be empty."""
    return Problem(service, f"container {container}{' ' if label else ''}{label}", reason)


def _attributes(
    labels: Mapping[str, str], read: Callable[[str, Callable[[str], str], str], str]
) -> dict[str, str] | None:
    parsers: dict[str, Callable[[str], object]] = {
        "scheme": parse_scheme,
        "host_port": parse_port,
        "private": _parse_flag,
        "sni": parse_sni,
        "check": parse_check,
    }
    values = {name: read(ATTRIBUTES[name], _checked(parse), "") for name, parse in parsers.items()}
    if values["private"] == "false":
        values["private"] = ""
    return {name: value for name, value in values.items() if value} if SCHEME in labels else None


def _checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Return a function that returns its text, stripped, if `parse` takes it."""

    def checked(text: str) -> str:
        parse(text)
        return text.strip()

    return checked


def _parse_name(text: str) -> str:
    if not valid_name(text.strip()):
        raise ValueError(f"{shown(text)} is no service's name")
    return text.strip()


def _parse_flag(text: str) -> str:
    if text.strip() not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text.strip()


def parse_command(text: str) -> tuple[str, ...]:
    """Return the argv of a JSON list of words, or of a line for the container's shell."""
    if not text.lstrip().startswith("["):
        if not text.strip():
            raise ValueError("an empty command")
        return ("/bin/sh", "-c", text)
    try:
        words = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is no JSON list: {error}") from None
    if not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{shown(text)} is no list of words")
    return tuple(words)


def parse_seconds(text: str) -> float:
    """Return a time between checks."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError(f"{shown(text)} is no number of seconds from {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    return seconds
