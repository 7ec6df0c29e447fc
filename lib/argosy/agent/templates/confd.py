"""Pure. confd's functions over plain values, under its names, and how values are printed.

Source: resource/template/template_funcs.go in https://github.com/kelseyhightower/confd
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jinja2.sandbox import safe_range


def printed(value: Any) -> Any:
    """Return what `{{ value }}` writes: what JSON has, as JSON writes it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else value


def _json(text: str) -> Any:
    """Return what the JSON in `text` says."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"json: the value is no JSON ({error})") from None


def _json_array(text: str) -> list[Any]:
    found = _json(text)
    if not isinstance(found, list):
        raise ValueError("jsonArray: the value is no JSON array")  # noqa: TRY004 (a value's, not a programmer's)
    return found


def _base64_encode(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()


def _base64_decode(text: str) -> str:
    """Return what the base64 in `text` says. The line ends that base64(1) puts into it mean nothing, as in Go."""
    try:
        return base64.b64decode(re.sub("[\r\n]", "", text), validate=True).decode(errors="surrogateescape")
    except ValueError as error:
        raise ValueError(f"base64Decode: the value is no base64 ({error})") from None


def _base(path: str) -> str:
    return posixpath.basename(path.rstrip("/")) or ("/" if path else ".")


def _dir(path: str) -> str:
    return posixpath.normpath(re.sub("^/+", "/", posixpath.dirname(path)))


def _map(*values: Any) -> dict[str, Any]:
    if len(values) % 2 or not all(isinstance(key, str) for key in values[::2]):
        raise ValueError('map: give names and values in turn, such as map("port", 80)')
    return dict(zip(values[::2], values[1::2], strict=True))


def _parse_bool(text: str) -> bool:
    if text not in ("1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"):
        raise ValueError(f"parseBool: {text!r} is neither true nor false")
    return text[0] in "1tT"


def _atoi(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f"atoi: {text!r} is no whole number")
    return int(text)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _div(first: int, second: int) -> int:
    """Divide as Go does: what is left over has the sign of `first`."""
    found = abs(first) // abs(second)
    return found if (first < 0) == (second < 0) else -found


def _whole(name: str, operation: Callable[[int, int], Any]) -> Callable[[Any, Any], Any]:
    """Return an operation on whole numbers that says so of anything else."""

    def run(first: Any, second: Any) -> Any:
        for value in (first, second):
            if type(value) is not int:
                raise ValueError(f"{name}: {value!r} is no whole number: atoi makes one of text")
        return operation(first, second)

    return run


def _by_length(values: Iterable[str]) -> list[str]:
    return sorted(values, key=len)


def _pairs_by_length(pairs: Iterable[Any]) -> list[Any]:
    return sorted(pairs, key=lambda pair: len(pair.key))


def _reverse(values: Sequence[Any]) -> list[Any]:
    return list(reversed(values))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "atoi": _atoi,
    "base": _base,
    "base64Decode": _base64_decode,
    "base64Encode": _base64_encode,
    "contains": lambda text, part: part in text,
    "dir": _dir,
    "join": lambda values, separator: separator.join(values),
    "json": _json,
    "jsonArray": _json_array,
    "map": _map,
    "parseBool": _parse_bool,
    "replace": lambda text, old, new, count=-1: text.replace(old, new, count),
    "reverse": _reverse,
    "sortByLength": _by_length,
    "sortKVByLength": _pairs_by_length,
    "split": _split,
    "toLower": str.lower,
    "toUpper": str.upper,
    "trimSuffix": lambda text, suffix: text.removesuffix(suffix),
    "add": _whole("add", lambda first, second: first + second),
    "sub": _whole("sub", lambda first, second: first - second),
    "mul": _whole("mul", lambda first, second: first * second),
    "div": _whole("div", _div),
    "mod": _whole("mod", lambda first, second: first - second * _div(first, second)),
    "seq": _whole("seq", lambda first, last: list(safe_range(first, last + 1))),
}
