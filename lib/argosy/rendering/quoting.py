"""Pure. Values as words of the languages that our templates are written in; the filters of `rendering`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

_YAML_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
_LITERAL = re.compile(r"[\x20-\x7e\t\n]*")


def json_text(value: object, indent: int | None = None) -> str:
    """Return `value` as JSON that is YAML, too, and means the same in both.

    Characters above U+FFFF stay as they are, since YAML does not join JSON's surrogate pairs; those that YAML takes
    for line breaks or refuses are escaped.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _YAML_BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def yaml_text(text: str, indent: int) -> str:
    """Return `text` as a YAML scalar after `key: `: a literal block indented by `indent` spaces if a plain text of
    lines, else a quoted string. The block is what lets a person read the files inside a cloud-config file."""
    lines = text.split("\n")
    readable = (
        _LITERAL.fullmatch(text)
        and lines[0][:1].strip()
        and len(lines) > 1
        and lines[-1] == ""
        and lines[-2] != ""
        and all(not line or line.strip() for line in lines)
    )
    if not readable:
        return json_text(text)
    return "|\n" + "\n".join(" " * indent + line if line else "" for line in lines[:-1])


def shell_words(value: str | Sequence[str]) -> str:
    """Return one word, or a sequence of them, quoted for a POSIX shell."""
    return shlex.quote(value) if isinstance(value, str) else shlex.join(value)
