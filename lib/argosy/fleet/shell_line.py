r"""The simple commands of a `/bin/sh -c` line: enough of the POSIX shell to know what it would run. Pure.

Words are quoted and variables replaced as the shell does it; a `$(...)` stays as a symbol, since only the machine can
run it. Lists (`;`, `&&`, `||`, pipes) are taken apart. Loops, conditions and functions are not run: their commands
are listed, and `compound` says so. Nothing is raised for any text.
Source: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from argosy.fleet.environment import Environment
from argosy.fleet.symbols import NUL, symbol

_OPERATORS = (
    "<<-",
    "&&",
    "||",
    ";;",
    ">>",
    "<<",
    ">&",
    "<&",
    ">|",
    "<>",
    "&>",
    ";",
    "&",
    "|",
    "(",
    ")",
    "<",
    ">",
    "\n",
)
_REDIRECTIONS = {"<<-", ">>", "<<", ">&", "<&", ">|", "<>", "&>", "<", ">"}
_RESERVED = {"!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "then"}
_RESERVED |= {"select", "time", "until", "while", "[["}
_HEADERS = ("case", "for", "function", "select")
"""What stands after these, up to the next operator, is no command."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """`words`: after its assignments; `before`: the operator between it and the command before it, empty for the first;
    `silenced`: it has redirections."""

    words: tuple[str, ...]
    assignments: tuple[tuple[str, str], ...] = ()
    before: str = ""
    silenced: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """`compound`: it holds a loop, a condition, a pipe, a group, a subshell or something in the background.

    `broken`: why it can't be read; empty if it can.
    """

    commands: tuple[SimpleCommand, ...]
    compound: bool = False
    broken: str = ""


@dataclass(slots=True)
class _Token:
    text: str
    operator: bool = False
    quoted: bool = False


@dataclass(slots=True)
class _Reader:
    """Goes through the text once. `environment` grows by `NAME=VALUE` commands and `. FILE`."""

    text: str
    environment: Environment
    position: int = 0
    broken: str = ""

    def tokens(self) -> Iterator[_Token]:
        while self.position < len(self.text):
            char = self.text[self.position]
            if char in " \t\r":
                self.position += 1
            elif self.text.startswith("\\\n", self.position):
                self.position += 2
            elif char == "#":
                self.position = _find(self.text, "\n", self.position)
            elif operator := self._operator():
                self.position += len(operator)
                yield _Token(operator, operator=True)
            else:
                yield from self._word()

    def _operator(self) -> str:
        return next((it for it in _OPERATORS if self.text.startswith(it, self.position)), "")

    def _word(self) -> Iterator[_Token]:
        """Yield the word at `position`: several, or none, where an unquoted variable holds white space or nothing."""
        pieces: list[str] = [""]
        quoted = False
        while self.position < len(self.text) and self.text[self.position] not in " \t\r" and not self._operator():
            char = self.text[self.position]
            if char == "'":
                quoted = True
                end = _find(self.text, "'", self.position + 1, self)
                pieces[-1] += self.text[self.position + 1 : end]
                self.position = end + 1
            elif char == '"':
                quoted = True
                pieces[-1] += self._double_quoted()
            elif char == "\\":
                quoted = True
                pieces[-1] += self.text[self.position + 1 : self.position + 2].replace("\n", "")
                self.position += 2
            elif char in "$`":
                value, known = self._expansion()
                first, *more = re.split(r"[ \t\n]+", value) if known else [value]
                pieces[-1] += first
                pieces += more
            else:
                pieces[-1] += char
                self.position += 1
        for piece in pieces:
            if piece or quoted:
                yield _Token(piece, quoted=quoted)

    def _double_quoted(self) -> str:
        found = ""
        self.position += 1
        while self.position < len(self.text):
            char = self.text[self.position]
            if char == '"':
                self.position += 1
                return found
            if char == "\\" and self.text[self.position + 1 : self.position + 2] in tuple('$`"\\\n'):
                found += self.text[self.position + 1].replace("\n", "")
                self.position += 2
            elif char in "$`":
                found += self._expansion()[0]
            else:
                found += char
                self.position += 1
        self.broken = "a double quote is not closed"
        return found

    def _expansion(self) -> tuple[str, bool]:
        """Return what a `$` or a backtick at `position` begins, and whether that is a variable's value."""
        begin = self.position
        if self.text[begin] == "`":
            self.position = _find(self.text, "`", begin + 1, self) + 1
            return self._unknown(begin), False
        following = self.text[begin + 1 : begin + 2]
        if following == "(":
            self._skip_parentheses()
            return self._unknown(begin), False
        if following == "{":
            end = _find(self.text, "}", begin, self)
            self.position = end + 1
            name = self.text[begin + 2 : end]
            return (self.environment.value(name), True) if _NAME.fullmatch(name) else (self._unknown(begin), False)
        name_found = _NAME.match(self.text, begin + 1)
        if name_found:
            self.position = name_found.end()
            return self.environment.value(name_found[0]), True
        self.position += 2 if following and following in "@*#?$!-0123456789" else 1
        return ("$", False) if self.position == begin + 1 else (self._unknown(begin), False)

    def _unknown(self, begin: int) -> str:
        return symbol(self.text[begin : self.position].replace(NUL, ""))

    def _skip_parentheses(self) -> None:
        """Go behind the `)` that closes the `$(` at `position`; quotes in it count."""
        depth = 0
        while self.position < len(self.text):
            char = self.text[self.position]
            self.position += 1
            if char == "\\":
                self.position += 1
            elif char in "'\"":
                self.position = _find(self.text, char, self.position, self) + 1
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
                if depth == 0:
                    return
        self.position = len(self.text)
        self.broken = "$( is not closed"


def parse_script(text: str, environment: Environment) -> Script:
    """Return the simple commands of `text`, run with the variables of `environment`."""
    reader = _Reader(text, environment)
    found: list[SimpleCommand] = []
    compound = False
    words: list[_Token] = []
    before = ""
    silenced = skip = header = False
    for token in reader.tokens():
        if (skip or header) and not token.operator:
            skip = False
        elif token.operator and token.text in _REDIRECTIONS:
            if token.text.startswith("<<"):
                reader.broken = "it holds a here-document"
            if words and not words[-1].quoted and words[-1].text.isdigit():
                del words[-1]
            silenced = skip = True
        elif token.operator:
            compound |= token.text in ("(", ")", ";;", "&", "|")
            if words:
                found.append(_command(words, before, silenced, reader))
            before = token.text
            words, silenced, skip, header = [], False, False, False
        elif not words and not token.quoted and token.text in _RESERVED:
            compound = True
            header = token.text in _HEADERS
        else:
            words.append(token)
    if words:
        found.append(_command(words, before, silenced, reader))
    return Script(tuple(found), compound, reader.broken)


def _command(words: list[_Token], before: str, silenced: bool, reader: _Reader) -> SimpleCommand:
    assignments: list[tuple[str, str]] = []
    rest = [token.text for token in words]
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        assignments.append((found[1], found[2]))
        del rest[0]
    if not rest or rest[0] == "export":
        named = [found for word in rest[1:] if (found := _ASSIGNMENT.fullmatch(word))]
        reader.environment = reader.environment.with_values({**dict(assignments), **{it[1]: it[2] for it in named}})
    elif rest[0] in (".", "source"):
        reader.environment = reader.environment.with_unknown()
    return SimpleCommand(tuple(rest), tuple(assignments), before, silenced)


def _find(text: str, what: str, begin: int, reader: _Reader | None = None) -> int:
    """Return where `what` stands next, or the end of the text; for a `reader` that is then broken."""
    found = text.find(what, begin)
    if found >= 0:
        return found
    if reader is not None:
        reader.broken = f"{what} is not closed"
    return len(text)
