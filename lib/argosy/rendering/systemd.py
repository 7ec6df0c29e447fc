"""Pure. systemd's syntax: the words of command lines, quoted by its own rules (they are not the shell's)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


class Expanded(str):
    """A word in which `${NAME}` stands for a variable of the unit's environment (EnvironmentFile=).

    Only for words that we write ourselves: in any other word a dollar sign is a dollar sign.
    """

    __slots__ = ()


def quote_word(word: str) -> str:
    r"""Return `word` so that systemd passes exactly it as one argument of ExecStart= and its siblings.

    `%` would begin a specifier and `$` a variable, so both are doubled; a word with anything but harmless characters
    is wrapped in double quotes, in which a backslash escapes as in C. That covers the empty word, a lone `;` and a
    leading `#` too. A `${NAME}` of an `Expanded` word stays.
    Raises ValueError for control characters: systemd refuses some, and the others would hide in a unit file.
    Source: COMMAND LINES in https://www.freedesktop.org/software/systemd/man/252/systemd.service.html and
    QUOTING in https://www.freedesktop.org/software/systemd/man/252/systemd.syntax.html
    """
    if any(ord(char) < 32 or ord(char) == 127 for char in word):
        raise ValueError(f"a word of a unit's command line holds a control character: {word!r}")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if not isinstance(word, Expanded):
        escaped = escaped.replace("$", "$$")
    return escaped if _PLAIN.fullmatch(word) else f'"{escaped}"'


def command_line(words: Sequence[str], prefix: str = "") -> str:
    r"""Return the value of ExecStart= or a sibling; a long one with an option on each line.

    `prefix`: special characters before the program, such as `-` (its failure is no failure).
    A line break goes only before an option and before a `${VARIABLE}` word, so that no line can begin with `#` or
    `;`, which would make it a comment.
    """
    if len(words) <= 4:
        return prefix + " ".join(map(quote_word, words))
    lines = [prefix + quote_word(words[0])]
    for word in words[1:]:
        if word.startswith("--") or (isinstance(word, Expanded) and word.startswith("$")):
            lines.append("    " + quote_word(word))
        else:
            lines[-1] += " " + quote_word(word)
    return " \\\n".join(lines)
