"""Sizes and times as Docker and systemd write them. Pure."""

from __future__ import annotations

import math
import re

MEGABYTE = 1024 * 1024

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SPAN_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)", re.ASCII)
_SPAN_UNITS = {
    **dict.fromkeys(("us", "usec", "µs"), 1e-6),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
    **dict.fromkeys(("M", "month", "months"), 2629800.0),
    **dict.fromkeys(("y", "year", "years"), 31557600.0),
}
_LONGEST = 1e9
_LARGEST = 2.0**60


def parse_megabytes(text: str) -> int:
    """Return a size such as `512m` or `1.5g` in megabytes of 1024 * 1024 bytes, rounded up. Raises ValueError.

    Source: https://pkg.go.dev/github.com/docker/go-units#RAMInBytes
    """
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * 1024.0 ** _POWERS[found[2].lower()] if found and len(text) < 40 else _LARGEST
    if size >= _LARGEST:
        raise ValueError(f"{text!r} is no size, such as 512m")
    return math.ceil(size / MEGABYTE)


def parse_go_duration(text: str) -> float:
    """Return a time such as `1m30s` in seconds. Raises ValueError. Source: https://pkg.go.dev/time#ParseDuration"""
    parts = _GO_PART.findall(text)
    seconds = sum(float(number) * _GO_UNITS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != text or seconds > _LONGEST:
        raise ValueError(f"{text!r} is no time, such as 30s")
    return seconds


def parse_time_span(text: str) -> float:
    """Return a time such as `90` or `1min 30s` in seconds; `infinity` is math.inf. Raises ValueError.

    Source: PARSING TIME SPANS in https://www.freedesktop.org/software/systemd/man/252/systemd.time.html
    """
    if text.strip() == "infinity":
        return math.inf
    position, seconds = 0, 0.0
    while position < len(text.rstrip()):
        found = _SPAN_PART.match(text, position)
        if not found or found[2] not in _SPAN_UNITS or seconds > _LONGEST:
            raise ValueError(f"{text!r} is no time, such as 90 or 1min 30s")
        seconds += float(found[1]) * _SPAN_UNITS[found[2]]
        position = found.end()
    if position == 0 or seconds > _LONGEST:
        raise ValueError(f"{text!r} is no time, such as 90 or 1min 30s")
    return seconds


def tidy(seconds: float) -> float:
    """Return seconds as a person writes them: whole ones without a point."""
    return int(seconds) if seconds == int(seconds) else round(seconds, 3)
