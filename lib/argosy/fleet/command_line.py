r"""The command lines of a unit: ExecStart= and its siblings, as systemd would run them. Pure.

In this order, as systemd does it: prefixes of the program, quoting, specifiers, variables.

- Prefixes `-` (a failure is none), `@` (the next word is argv[0]), `:` (no variables), `+`, `!`, `!!` (privileges).
- A lone `;` begins another command, `\;` is a word.
- `${NAME}` is replaced wherever it stands, `$NAME` where it is a whole word: by the words of its value, or none. `$$`
  is a dollar sign. The program itself is never replaced.

Sources: COMMAND LINES in https://www.freedesktop.org/software/systemd/man/252/systemd.service.html; config_parse_exec()
and replace_env_argv() in https://github.com/systemd/systemd/tree/v252/src (core/load-fragment.c, basic/env-util.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from argosy.fleet.environment import Environment
from argosy.fleet.remarks import Findings
from argosy.fleet.specifiers import UnknownSpecifier, expand
from argosy.fleet.symbols import shown
from argosy.fleet.unit_file import Assignment, UnitFile
from argosy.fleet.unit_name import UnitName
from argosy.fleet.words import WHITE_SPACE, BadWord, next_word, skip_white_space

_PROGRAM = re.compile("/[^\x01-\x1f\x7f\\\\\"']*|[^/\x01-\x1f\x7f\\\\\"']+")


@dataclass(frozen=True, slots=True)
class Word:
    """`text`: with symbols (argosy.fleet.symbols) for what only a machine knows; `line`: of the file."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """`key`: such as ExecStart; `words`: the program first; `prefixes`: what stood before it, such as `-`."""

    key: str
    words: tuple[Word, ...]
    prefixes: str
    line: int

    @property
    def may_fail(self) -> bool:
        return "-" in self.prefixes


def commands_of(unit: UnitFile, key: str, environment: Environment, findings: Findings) -> list[Command]:
    """Return the commands of all assignments of `key`. What systemd would refuse goes to `findings`."""
    found: list[Command] = []
    for entry in unit.values("Service", key):
        try:
            found += list(_commands(entry, unit.name, environment))
        except BadWord as error:
            findings.refuse(entry.line_at(error.position), f"{key}=: {error}")
    return found


def _commands(entry: Assignment, name: UnitName, environment: Environment) -> Iterator[Command]:
    text = entry.value
    position = skip_white_space(text, 0)
    while position < len(text):
        if _separator(text, position):
            position = skip_white_space(text, position + 1)
            continue
        first = next_word(text, position)
        if first is None:
            return
        program, begin, position = first
        prefixes = _prefixes(program)
        path = _expanded(program.removeprefix(prefixes), begin, name)
        if not _PROGRAM.fullmatch(path) or path.endswith("/"):
            raise BadWord(begin, f"{shown(path)!r} names no program")
        words = [Word(path, entry.line_at(begin))]
        arguments, position = _arguments(entry, position, name)
        if ":" in prefixes:
            words += arguments
        else:
            words += [Word(text, word.line) for word in arguments for text in environment.substituted(word.text)]
        if "@" in prefixes:
            if len(arguments) == 0:
                raise BadWord(begin, f"{program!r} has no argv[0] after it")
            del words[1]
        yield Command(entry.key, tuple(words), prefixes, words[0].line)


def _arguments(entry: Assignment, position: int, name: UnitName) -> tuple[list[Word], int]:
    """Return the words from `position` to the end of the command, and where the next command begins."""
    text = entry.value
    found: list[Word] = []
    while position < len(text):
        if _separator(text, position):
            return found, skip_white_space(text, position + 1)
        if text.startswith("\\;", position) and text[position + 2 : position + 3] in ("", *WHITE_SPACE):
            found.append(Word(";", entry.line_at(position)))
            position = skip_white_space(text, position + 2)
            continue
        word = next_word(text, position)
        if word is None:
            break
        raw, begin, position = word
        found.append(Word(_expanded(raw, begin, name), entry.line_at(begin)))
    return found, position


def _separator(text: str, position: int) -> bool:
    return text[position] == ";" and text[position + 1 : position + 2] in ("", *WHITE_SPACE)


def _prefixes(program: str) -> str:
    """Return what stands before the program's path: each of `-@:` once, and one of `+`, `!`, `!!`."""
    found = ""
    for char in program:
        privileges = found.replace("-", "").replace("@", "").replace(":", "")
        once = char in "-@:" and char not in found
        if not once and not (char == "+" and not privileges) and not (char == "!" and privileges in ("", "!")):
            break
        found += char
    return found


def _expanded(text: str, position: int, name: UnitName) -> str:
    try:
        return expand(text, name)
    except UnknownSpecifier as error:
        raise BadWord(position, str(error)) from None
