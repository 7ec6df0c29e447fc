r"""Pure. The simple commands of a `/bin/sh -c` line: enough of the POSIX shell to know what it would run.

Words are quoted and variables replaced as the shell does it; a `$(...)` stays as a symbol, since only the machine can
run it. Lists (`;`, `&&`, `||`, pipes) are taken apart. Loops, conditions and functions are not run: their commands
are listed, and `compound` says so. Nothing is raised for any text.

shlex reads no variables, and forgets what was quoted: `'&&'` is no operator, `"$A"` one word and `$A` many.
Source: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

from argosy.fleet.options import TABLES
from argosy.fleet.words import NUL, symbol

_FIRST = 0xF0000
"""From here on characters are for private use: each hides a piece of a script (what is quoted, a variable, `$(...)`, or
itself), so that blanks and operators alone divide what is left."""
NAME = "[A-Za-z_][A-Za-z0-9_]*"
_BY_SYSTEMD = ("HOME", "HOSTNAME", "INVOCATION_ID", "LOGNAME", "MACHINE_ID", "MAINPID", "PATH", "SHELL", "USER")
"""Set by systemd itself, or on its machines by whoever starts it."""
_RESERVED, _HEADERS, _TESTS = (TABLES[key].split() for key in ("reserved", "headers", "tests"))

_OPERATOR = r"[0-9]*(?:<<-|>>|<<|>&|<&|>\||<>|&>|<|>)|&&|\|\||;;|[;&|()\n]"
_PARENTHESES = "(?!)"
for _ in range(5):
    _PARENTHESES = rf"""\((?:[^()'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|{_PARENTHESES})*+\)"""
_EXPANSION = (
    rf"(?P<symbol>{NUL}[^{NUL}]*{NUL})|\$(?P<name>{NAME})|\$\{{(?P<braced>{NAME})\}}"
    rf"|(?P<unknown>\${_PARENTHESES}|`[^`]*`|\$\{{[^}}]*\}}|\$[@*#?$!0-9-])"
)
_IN_QUOTES = re.compile(rf'\\(?P<escaped>[$`"\\])|\\\n|{_EXPANSION}', re.DOTALL)
_UNNAMED = re.sub(r"\?P<\w+>", "?:", _EXPANSION)
_PIECE = re.compile(
    rf"""\\\n|\\(?P<escaped>.?)|'(?P<single>[^']*)'|"(?P<double>(?:\\.|{_UNNAMED}|[^"\\`$]|\$(?![({{]))*+)"|{_EXPANSION}"""
    rf"""|(?P<process>[<>]{_PARENTHESES})"""
    rf"""|(?P<open>['"`]|\$[({{]).*|(?P<before>\A|[\s;&|()<>])\#[^\n]*|[{chr(_FIRST)}-\U0010ffff]""",
    re.DOTALL,
)
_TOKEN = re.compile(rf"{_OPERATOR}|[^ \t\r\n;&|()<>]+")
_FIELD = re.compile(rf"[ \t\n]+|(?:{NUL}[^{NUL}]*{NUL}|[^ \t\n])+")
_ASSIGNMENT = re.compile(rf"{NAME}=", re.ASCII)


@dataclass(slots=True)
class Environment:
    """`values`: what is known. `more`: files on the machine set others, so a variable that `values` lacks becomes a
    symbol."""

    values: dict[str, str] = field(default_factory=dict)
    more: bool = False

    def value(self, name: str) -> str:
        """Return the value of a variable; empty for one that nobody sets, as for systemd."""
        known_there = (self.more or name in _BY_SYSTEMD) and re.fullmatch(NAME, name)
        return self.values.get(name, symbol(f"${{{name}}}") if known_there else "")


@dataclass(frozen=True, slots=True)
class Script:
    """`commands`: their words, without assignments. `compound`: it holds a loop, a condition, a pipe, a group, a
    subshell or something in the background. `tested`: the positions of those that run only if a test says so.
    `broken`: why it can't be read; empty if it can."""

    commands: Sequence[list[str]]
    compound: bool = False
    tested: frozenset[int] = frozenset()
    broken: str = ""


def parse_script(text: str, environment: Environment) -> Script:
    """Return the simple commands of `text`, run with the variables of `environment`."""
    shell = Environment(dict(environment.values), environment.more)
    pieces: dict[str, re.Match[str]] = {}

    def hidden(found: re.Match[str]) -> str:
        if found["before"] is not None or found[0] == "\\\n":
            return found["before"] or ""
        pieces[char := chr(_FIRST + len(pieces))] = found
        return char

    commands: list[list[str]] = []
    words: list[str] = []
    tested: set[int] = set()
    skip = header = compound = here = asked = False
    for token in _TOKEN.findall(_PIECE.sub(hidden, text) + "\n"):
        if not re.fullmatch(_OPERATOR, token):
            if not (skip or header or words) and token in _RESERVED:
                compound, header = True, token in _HEADERS
            elif not (skip or header):
                words.append(token)
            skip = False
        elif "<" in token or ">" in token:
            skip, here = True, here or "<<" in token
        else:
            compound |= token in ("(", ")", ";;", "&", "|")
            if words:
                tested |= {len(commands)} if asked else set()
                commands.append(found := _run(words, pieces, shell))
                asked |= any(word.rpartition("/")[2] in _TESTS for word in found[:1])
                asked &= token in ("&&", "||")
            words, skip, header = [], False, False
    unclosed = "".join(f"{piece['open']} is not closed" for piece in pieces.values() if piece["open"])
    return Script(commands, compound, frozenset(tested), unclosed or ("it holds a here-document" if here else ""))


def _run(words: list[str], pieces: Mapping[str, re.Match[str]], shell: Environment) -> list[str]:
    """Return a command without its assignments. Those alone, `export` and `. FILE` change the shell's variables."""
    rest = list(dropwhile(_ASSIGNMENT.match, words))
    found = [field for word in rest for field in _fields(word, pieces, shell)]
    if not found or found[0] == "export":
        for word in filter(_ASSIGNMENT.match, words):
            name, _, value = word.partition("=")
            shell.values[name] = "".join(_text(char, pieces, shell) for char in value)
    elif found[0] in (".", "source"):
        shell.more = True
    return found


def _fields(word: str, pieces: Mapping[str, re.Match[str]], shell: Environment) -> list[str]:
    """Return what becomes of a word: several, or none, where an unquoted variable holds white space or nothing."""
    found: list[str | None] = [None]
    for char in word:
        text = _text(char, pieces, shell)
        variable = char in pieces and pieces[char].lastgroup in ("name", "braced")
        for part in _FIELD.findall(text) if variable else [text]:
            if variable and part.isspace():
                found.append(None)
            else:
                found[-1] = (found[-1] or "") + part
    return [name for name in found if name is not None]


def _text(char: str, pieces: Mapping[str, re.Match[str]], shell: Environment) -> str:
    """Return what a character stands for: itself, or the piece that it hides."""
    return _value(pieces[char], shell) if char in pieces else char


def _value(found: re.Match[str], shell: Environment) -> str:
    kind = found.lastgroup
    if kind in ("name", "braced"):
        return shell.value(found[kind])
    if kind in ("unknown", "process"):
        return symbol(found[0].replace(NUL, ""))
    if kind == "double":
        return _IN_QUOTES.sub(lambda match: _value(match, shell), found[kind])
    return found[kind] if kind in ("escaped", "single") else "" if found[0] == "\\\n" else found[0]
