"""Pure. Sizes, times, numbers and signals as Docker and systemd write them. Each raises ValueError for another text."""

from __future__ import annotations

import math
import re

from argosy.fleet.options import TABLES

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_SIZE = re.compile(rf"{_NUMBER} ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_SPAN_PART = re.compile(rf"\s*{_NUMBER}\s*([A-Za-zµ]*)\s*", re.ASCII)
_SECONDS = {unit: float(seconds) for units, seconds in TABLES["seconds"].items() for unit in units.split(" ")}
_LARGEST = 1e9


def parse_megabytes(text: str) -> int:
    """Return a size such as `512m` or `1.5g` in megabytes of 1024 * 1024 bytes, rounded up.

    Source: https://pkg.go.dev/github.com/docker/go-units#RAMInBytes
    """
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * 1024.0 ** (" kmgtp".index(found[2].lower() or " ") - 2) if found else math.inf
    if size > _LARGEST:
        raise ValueError(f"{text!r} is not a size, such as 512m")
    return math.ceil(size)


def parse_go_duration(text: str) -> float:
    """Return a time such as `1m30s` in seconds. Source: https://pkg.go.dev/time#ParseDuration"""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a time, such as 30s")
    return parse_time_span(text)


def parse_time_span(text: str) -> float:
    """Return a time such as `90` or `1min 30s` in seconds; `infinity` is math.inf.

    Source: PARSING TIME SPANS in https://www.freedesktop.org/software/systemd/man/252/systemd.time.html
    """
    if text.strip() == "infinity":
        return math.inf
    position, seconds = 0, 0.0
    while (found := _SPAN_PART.match(text, position)) and found[2] in _SECONDS:
        seconds += float(found[1]) * _SECONDS[found[2]]
        position = found.end()
    if not 0 < position == len(text) or seconds > _LARGEST:
        raise ValueError(f"{text!r} is not a time, such as 90 or 1min 30s")
    return int(seconds) if seconds == int(seconds) else round(seconds, 3)


def parse_number(text: str, most: float) -> float:
    if not re.fullmatch(_NUMBER, text, re.ASCII) or float(text) > most:
        raise ValueError(f"{text!r} is not a number up to {most:g}")
    return float(text)


def parse_signal(text: str) -> str:
    """Return a signal's name without its SIG, or its number."""
    name = text.strip().upper().removeprefix("SIG")
    if not re.fullmatch(r"[A-Z0-9+]+", name, re.ASCII):
        raise ValueError(f"{text!r} is not a signal")
    return name
