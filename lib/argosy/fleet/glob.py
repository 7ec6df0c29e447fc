r"""fleet's patterns for names of units: Go's path.Match. Pure.

`*` and `?` stand for anything but a slash, `[a-z]` and `[^a-z]` for one character, a backslash takes a meaning away.
Source: https://pkg.go.dev/path#Match
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

_Test = Callable[[str], bool]


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return those of `names` that the whole pattern fits. Raises ValueError for a pattern that is none."""
    parts = _parse(pattern)
    return [name for name in names if _matches(parts, name)]


def _matches(parts: list[_Test | None], name: str) -> bool:
    """Follow all ways at once through the parts; None is a star."""
    at = _past_stars(parts, {0})
    for char in name:
        ahead: set[int] = set()
        for index in at:
            part = parts[index] if index < len(parts) else _nothing
            if part is None:
                ahead |= {index} if char != "/" else set()
            elif part(char):
                ahead.add(index + 1)
        at = _past_stars(parts, ahead)
    return len(parts) in at


def _past_stars(parts: list[_Test | None], at: set[int]) -> set[int]:
    found = set(at)
    for index, part in enumerate(parts):
        if part is None and index in found:
            found.add(index + 1)
    return found


def _parse(pattern: str) -> list[_Test | None]:
    found: list[_Test | None] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            found.append(None)
        elif char == "?":
            found.append(lambda it: it != "/")
        elif char == "[":
            test, position = _class(pattern, position)
            found.append(test)
        elif char == "\\":
            if position == len(pattern):
                raise ValueError(f"{pattern!r} ends with a backslash")
            found.append(_equals(pattern[position]))
            position += 1
        else:
            found.append(_equals(char))
    return found


def _class(pattern: str, position: int) -> tuple[_Test, int]:
    """Return the test of a class whose `[` stands before `position`, and where it ends."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[tuple[str, str]] = []
    while not (pattern.startswith("]", position) and ranges):
        first, position = _member(pattern, position)
        last = first
        if pattern.startswith("-", position):
            last, position = _member(pattern, position + 1)
        ranges.append((first, last))
    return lambda it: any(low <= it <= high for low, high in ranges) != negated, position + 1


def _member(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("\\", position):
        position += 1
    elif pattern[position : position + 1] in ("-", "]"):
        raise ValueError(f"{pattern!r}: a class of characters begins with {pattern[position]}")
    if position >= len(pattern):
        raise ValueError(f"{pattern!r}: a [ is not closed")
    return pattern[position], position + 1


def _equals(char: str) -> _Test:
    return lambda it: it == char


def _nothing(_char: str) -> bool:
    return False
