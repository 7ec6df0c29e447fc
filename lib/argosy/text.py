"""Pure. Text as it is shown to people, and as it comes from others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_MEMBER = r"(\\.|[^]\\-])"
_RANGE = re.compile(rf"{_MEMBER}(?:-{_MEMBER})?", re.DOTALL)
_PART = re.compile(rf"\\.|[^\\[]|\[(?P<not>\^?+)(?P<members>(?:{_RANGE.pattern})+)\]", re.DOTALL)
_STAR = "\0"


def printable(text: str) -> str:
    """Return `text` as a terminal may have it: names and values in etcd are any bytes."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that `text` is; None when it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return those of `names` that the whole pattern fits. Raises ValueError for a pattern that is none.

    It is Go's path.Match. fnmatch's differs: here `*` and `?` stand for anything but a slash, `[^a-z]` for any other
    character, and a backslash takes a meaning away. Source: https://pkg.go.dev/path#Match
    """
    if not re.fullmatch(rf"(?:{_PART.pattern})*", pattern, re.DOTALL):
        raise ValueError(f"{pattern!r} is not a pattern")
    first, *rest = _PART.sub(_expression, pattern).split(_STAR)
    # The first place that fits a segment is its place, as in Go, so that many stars take no time.
    middle = "".join(f"(?>[^/]*?{name})" for name in rest[:-1])
    last = "".join(f"[^/]*{name}" for name in rest[-1:])
    whole = re.compile(first + middle + last, re.DOTALL)
    return [name for name in names if whole.fullmatch(name)]


def _expression(part: re.Match[str]) -> str:
    """Return the regular expression of a part of a pattern; for a star, which divides it, what stands for it."""
    if part["members"] is None:
        return {"*": _STAR, "?": "[^/]"}.get(part[0], re.escape(part[0][-1]))
    ranges = [(low[-1], (high or low)[-1]) for low, high in _RANGE.findall(part["members"])]
    members = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    return f"[{part['not']}{members}]" if members else "." if part["not"] else "(?!)"
