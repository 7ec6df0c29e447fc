r"""systemd's quoting: the words of a value. Pure.

Words are divided by white space. Single and double quotes, anywhere in a word, keep white space in it and are removed;
a backslash begins a C-style escape, within quotes and without.

Sources: QUOTING in https://www.freedesktop.org/software/systemd/man/252/systemd.syntax.html, and where that is silent
extract_first_word() and cunescape_one() in https://github.com/systemd/systemd/tree/v252/src/basic (extract-word.c,
escape.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

WHITE_SPACE = " \t\n\r"

_SIMPLE = {
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
    "\\": b"\\",
    '"': b'"',
    "'": b"'",
    "s": b" ",
}
_HEXADECIMAL = set("0123456789abcdefABCDEF")
_OCTAL = set("01234567")


class Escapes(Enum):
    """What a backslash means. Before something that makes no escape it stays in a command line (`LENIENT`), and ends a
    list of assignments there (`STRICT`). In the value of a variable it stands for the character after it, and a quote
    that is never closed ends with the text (`NONE`)."""

    LENIENT = "lenient"
    STRICT = "strict"
    NONE = "none"


class BadWord(ValueError):
    """The rest of a value is no words: `position` in it, and why."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        super().__init__(reason)


def split_words(text: str, escapes: Escapes) -> Iterator[tuple[str, int]]:
    """Yield each word of `text` and where it begins. Raises BadWord."""
    position = 0
    while (found := next_word(text, position, escapes)) is not None:
        word, begin, position = found
        yield word, begin


def next_word(text: str, position: int, escapes: Escapes = Escapes.LENIENT) -> tuple[str, int, int] | None:
    """Return the first word at or after `position`, where it begins, and where the next may; None at the end.

    Raises BadWord for a quote that is not closed, and for escapes that are no UTF-8 together.
    """
    begin = skip_white_space(text, position)
    if begin >= len(text):
        return None
    found = bytearray()
    quote = ""
    here = begin
    while here < len(text):
        char = text[here]
        if char == "\\":
            escape, here = _escape(text, here, escapes)
            found += escape
            continue
        here += 1
        if quote:
            if char == quote:
                quote = ""
            else:
                found += _encoded(char)
        elif char in "'\"":
            quote = char
        elif char in WHITE_SPACE:
            break
        else:
            found += _encoded(char)
    if quote and escapes is not Escapes.NONE:
        raise BadWord(begin, f"a quote ({quote}) is not closed")
    try:
        return found.decode(), begin, skip_white_space(text, here)
    except UnicodeDecodeError:
        raise BadWord(begin, "it is not UTF-8") from None


def skip_white_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in WHITE_SPACE:
        position += 1
    return position


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _escape(text: str, position: int, escapes: Escapes) -> tuple[bytes, int]:
    """Return the bytes of the escape whose backslash is at `position`, and what comes after it."""
    char = text[position + 1 : position + 2]
    if escapes is Escapes.NONE:
        return _encoded(char), position + 2
    if char in _SIMPLE:
        return _SIMPLE[char], position + 2
    number, length = _number(text, position + 1) if char else (None, 0)
    if number is not None:
        return number, position + 1 + length
    if escapes is Escapes.STRICT:
        raise BadWord(position, f"\\{char} is no escape")
    return b"\\" + _encoded(char), position + 2


def _number(text: str, position: int) -> tuple[bytes | None, int]:
    """Return what a numeric escape, from its letter or first digit on, stands for, and its length; None for none."""
    kind = text[position]
    if kind in _OCTAL:
        digits, base, allowed = text[position : position + 3], 8, _OCTAL
        length = wanted = 3
    elif kind in "xuU":
        wanted = {"x": 2, "u": 4, "U": 8}[kind]
        digits, base, allowed = text[position + 1 : position + 1 + wanted], 16, _HEXADECIMAL
        length = 1 + wanted
    else:
        return None, 0
    if len(digits) != wanted or not set(digits) <= allowed:
        return None, 0
    value = int(digits, base)
    if value == 0:
        return None, 0
    if kind not in "uU":
        return (bytes([value]), length) if value < 256 else (None, 0)
    return (chr(value).encode(), length) if _is_character(value) else (None, 0)


def _is_character(value: int) -> bool:
    return (
        value <= 0x10FFFF
        and not 0xD800 <= value < 0xE000
        and not 0xFDD0 <= value <= 0xFDEF
        and value & 0xFFFE != 0xFFFE
    )
