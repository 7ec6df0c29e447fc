r"""Pure. The words of a value, by systemd's quoting, and what of them only a machine or an instance knows.

White space divides words. Single and double quotes, anywhere in a word, keep it and are removed; a backslash begins a
C-style escape, within quotes and without.

What this side can't know (`%H`, `%i`, `${COREOS_PRIVATE_IPV4}`) stands in a word as a symbol: its own spelling between
two NULs. No unit file can hold one by itself: for systemd a NUL ends the line, and an escape that makes one is refused.

Sources: QUOTING in https://www.freedesktop.org/software/systemd/man/252/systemd.syntax.html, and where that is silent
extract_first_word() and cunescape_one() in https://github.com/systemd/systemd/tree/v252/src/basic (extract-word.c,
escape.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Self

WHITE_SPACE = " \t\n\r"
NUL = "\0"
INSTANCE, UNESCAPED_INSTANCE = "%i", "%I"
TYPES = ("service", "socket", "device", "mount", "automount", "timer", "path", "target", "swap", "slice", "scope")
_SAME = "%=% C=/var/cache E=/etc L=/var/log S=/var/lib T=/tmp V=/var/tmp g=root G=0 h=/root t=/run u=root U=0"
SAME = {name[0]: name[2:] for name in _SAME.split()}
"""The same wherever the system's own manager (not a user's) reads the unit."""
MACHINE = {letter: f"{NUL}%{letter}{NUL}" for letter in "aAbBdHlmMoqsvwWyY"}
"""Known on the machine only: its name, its ID, its kernel..."""
FLEET = "nNpi"
"""Those that fleet itself replaces, in [X-Fleet]: https://github.com/coreos/fleet/blob/v1.0.0/job/job.go"""
_SPECIFIER = re.compile("%(.)", re.DOTALL)
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_SYMBOL = re.compile(f"{NUL}([^{NUL}]*){NUL}")
_PIECE = re.compile(
    r"""\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.?)|['"]|[ \t\n\r]+|[^\\'" \t\n\r]+""", re.DOTALL
)
_SIMPLE = dict(zip("abfnrtv\\\"'s", "\a\b\f\n\r\t\v\\\"' ", strict=True))
_NO_CHARACTER = re.compile("[\ud800-\udfff\ufdd0-\ufdef]")

Escapes = Literal["lenient", "strict", "none"]
"""What a backslash means. Before something that makes no escape it stays in a command line (`lenient`), and ends a list
of assignments there (`strict`). In the value of a variable it stands for the character after it, and a quote that is
never closed ends with the text (`none`)."""


@dataclass(frozen=True, slots=True)
class Word:
    """`text`: with symbols; `line`: of the file, from 1."""

    text: str
    line: int


class BadLine(ValueError):
    """What systemd or Docker refuses, or no definition can say, and the line where it stands."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(reason)


class Unknown(BadLine):
    """What only a machine or an instance knows, and why."""


def symbol(spelling: str) -> str:
    return f"{NUL}{spelling}{NUL}"


def symbols(text: str) -> list[str]:
    """Return the spellings of all symbols in `text`, in their order."""
    return _SYMBOL.findall(text)


def shown(text: str) -> str:
    """Return `text` as its author wrote it."""
    return text.replace(NUL, "")


def without_symbols(text: str) -> str:
    return _SYMBOL.sub("", text)


def split_words(text: str, escapes: Escapes, line_at: Callable[[int], int]) -> Iterator[tuple[Word, str]]:
    """Yield each word of `text`, and how it is written. `line_at`: the line at a position. Raises BadLine for a quote
    that is not closed, and for escapes that are not UTF-8 together."""
    word: bytearray | None = None
    begin, quote = 0, ""
    for match in (*_PIECE.finditer(text), None):
        piece, position = (match[0], match.start()) if match else ("", len(text))
        if quote and not match and escapes != "none":
            raise BadLine(line_at(begin), f"a quote ({quote}) is not closed")
        if not match or (piece[0] in WHITE_SPACE and not quote):
            if word is not None:
                yield Word(_decoded(word, line_at(begin)), line_at(begin)), text[begin:position]
            word = None
            continue
        if word is None:
            word, begin = bytearray(), position
        if piece in "'\"" and quote in ("", piece):
            quote = "" if quote else piece
        elif piece[0] == "\\":
            word += _unescaped(piece, escapes, line_at(position))
        else:
            word += piece.encode("utf-8", "surrogatepass")


def _decoded(word: bytearray, line: int) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise BadLine(line, "it is not UTF-8") from None


def _unescaped(escape: str, escapes: Escapes, line: int) -> bytes:
    kind, digits = escape[1:2], escape[2:]
    if escapes == "none":
        return escape[1:].encode("utf-8", "surrogatepass")
    if kind in _SIMPLE:
        return _SIMPLE[kind].encode()
    number = int(digits, 16) if digits and kind in "xuU" else int(kind + digits, 8) if digits else 0
    if kind in "uU" and 0 < number < 0x110000 and number & 0xFFFE != 0xFFFE and not _NO_CHARACTER.match(chr(number)):
        return chr(number).encode()
    if kind not in "uU" and 0 < number < 256:
        return bytes([number])
    if escapes == "strict":
        raise BadLine(line, f"\\{kind} is not an escape")
    return escape.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class UnitName:
    """`prefix`@`instance`.`type`. `instance` is None for a unit that is no template, empty for a template itself."""

    prefix: str
    instance: str | None = None
    type: str = "service"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name's parts: the instance is what stands between the first @ and the type's dot.

        Raises ValueError for a name without a prefix or a known type.
        """
        whole, _, kind = text.rpartition(".")
        prefix, at, instance = whole.partition("@")
        if kind not in TYPES or not prefix:
            raise ValueError("its name must be NAME.service, NAME@.service or NAME@INSTANCE.service")
        return cls(prefix, instance if at else None, kind)

    def __str__(self) -> str:
        return f"{self.prefix}{'' if self.instance is None else '@'}{self.instance or ''}.{self.type}"

    def of(self, instance: str) -> UnitName:
        """Return the name of an instance of the same template; of a unit that is none its own."""
        return self if self.instance is None else UnitName(self.prefix, instance, self.type)


def unescape(text: str) -> str:
    r"""Return `text` with the escaping of unit names undone: `-` is a slash, `\xNN` a byte. Bad bytes become U+FFFD."""
    raw = text.replace("-", "/").encode("utf-8", "surrogateescape")
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw)
    return raw.decode("utf-8", "replace").replace(NUL, "\ufffd")


def expand(word: Word, name: UnitName, only: str = "") -> Word:
    """Return `word` with its specifiers replaced. `only`: these and no others.

    Instances of a template share their translation, so there `%i` is a symbol, as in the template itself. Raises
    BadLine for a `%` before another letter or digit; before anything else it stays.
    """

    def value(found: re.Match[str]) -> str:
        letter = found[1]
        if only and letter not in only:
            return found[0]
        if letter not in known and letter.isascii() and letter.isalnum():
            raise BadLine(word.line, f"{found[0]} is not a specifier of systemd (a percent sign is %%)")
        return known.get(letter, found[0])

    generic, last = name.of(symbol(INSTANCE)), name.prefix.rpartition("-")[2]
    unescaped = "" if name.instance is None else symbol(UNESCAPED_INSTANCE)
    known = {**SAME, **MACHINE, "i": generic.instance or "", "I": unescaped}
    known |= {"n": str(generic), "N": str(generic).rpartition(".")[0], "p": name.prefix, "P": unescape(name.prefix)}
    known |= {"j": last, "J": unescape(last), "f": "/" + (unescaped or unescape(name.prefix))}
    return Word(_SPECIFIER.sub(value, word.text), word.line)
