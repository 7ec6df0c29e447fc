r"""Pure. The command lines of a unit, ExecStart= and its siblings, as systemd would run them.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, groupby

from argosy.fleet.options import WRAPPERS, split_options
from argosy.fleet.shell import NAME, Environment, Script, parse_script
from argosy.fleet.unit_file import Assignment, UnitFile
from argosy.fleet.words import BadLine, UnitName, Word, expand, shown, split_words

_PROGRAM = re.compile("/[^\x01-\x1f\x7f\\\\\"']*|[^/\x01-\x1f\x7f\\\\\"']+")
_VARIABLE = re.compile(r"\$(?:\$|\{([^}]*)\})")


@dataclass(frozen=True, slots=True)
class Command:
    """`key`: of the unit, such as ExecStart; `words`: the program first; `script`: the whole of what a shell runs, when
    this is a part of it."""

    key: str
    words: tuple[Word, ...]
    script: Script | None = None

    @property
    def line(self) -> int:
        return self.words[0].line

    @property
    def program(self) -> str:
        """The name of the program's file, without its folder."""
        return self.words[0].text.rpartition("/")[2]


def environment_of(unit: UnitFile) -> Environment:
    """Return the variables of a service unit. What systemd ignores is noted, and so is that a file has the last word:
    https://www.freedesktop.org/software/systemd/man/252/systemd.exec.html#EnvironmentFile="""
    values: dict[str, str] = {}
    for entry in unit.values("Service", "Environment"):
        with unit.errors(entry.line, "the rest of Environment= is ignored", unit.note):
            for word, _ in split_words(entry.value, "strict", entry.line_at):
                with unit.errors(word.line, "Environment= ignored", unit.note):
                    name, equals, value = expand(word, unit.name).text.partition("=")
                    if not equals or not re.fullmatch(NAME, name):
                        raise ValueError(f"{word.text!r} is not NAME=VALUE")
                    values[name] = value
    files = unit.values("Service", "EnvironmentFile")
    for entry in files if values else []:
        names = ", ".join(values)
        unit.note(entry.line, f"what {entry.value.lstrip('-')} sets on the machine wins over Environment=: {names}")
    return Environment(values, bool(files))


def substituted(word: Word, environment: Environment) -> list[Word]:
    """Return what becomes of one word of a command line. Of a variable's value quotes keep white space and go, and an
    open one is closed by the end."""
    text = word.text
    if text.startswith("$") and text[1:2] not in ("{", "$"):
        return [found for found, _ in split_words(environment.value(text[1:]), "none", lambda _: word.line)]
    text = _VARIABLE.sub(lambda match: "$" if match[1] is None else environment.value(match[1]), text)
    return [Word(text, word.line)]


def commands_of(unit: UnitFile, key: str, environment: Environment) -> list[Command]:
    """Return the commands of all assignments of `key`. What systemd would refuse is refused."""
    found: list[Command] = []
    for entry in unit.values("Service", key):
        with unit.errors(entry.line, f"{key}="):
            found += [_command(key, words, unit.name, environment) for words in _split_commands(entry)]
    return found


def _split_commands(entry: Assignment) -> Iterator[list[Word]]:
    words = split_words(entry.value, "lenient", entry.line_at)
    for divides, command in groupby(words, lambda word: word[1] == ";"):
        if not divides:
            (first, _), *rest = command
            yield [first, *(Word(";", word.line) if written == r"\;" else word for word, written in rest)]


def _command(key: str, words: Sequence[Word], name: UnitName, environment: Environment) -> Command:
    first, *arguments = words
    prefixes = _prefixes(first.text)
    program = expand(Word(first.text.removeprefix(prefixes), first.line), name)
    if not _PROGRAM.fullmatch(program.text) or program.text.endswith("/"):
        raise BadLine(first.line, f"{shown(program.text)!r} is not a program")
    if "@" in prefixes and not arguments:
        raise BadLine(first.line, f"{first.text!r} has no argv[0] after it")
    arguments = [expand(argument, name) for argument in arguments]
    if ":" not in prefixes:
        arguments = [found for argument in arguments for found in substituted(argument, environment)]
    return Command(key, (program, *arguments["@" in prefixes :]))


def _prefixes(program: str) -> str:
    """Return what stands before the program's path: each of `-@:` once, and one of `+`, `!`, `!!`."""
    found = ""
    for char in program:
        privileges = re.sub("[-@:]", "", found)
        if char in found if char in "-@:" else privileges + char not in ("+", "!", "!!"):
            break
        found += char
    return found


def simple_commands(command: Command, environment: Environment) -> Iterator[Command]:
    """Yield what a command runs, in its order: wrappers such as `env` taken off, a shell's script taken apart."""
    words = list(command.words)
    while words and (wrapper := WRAPPERS.get(words[0].text.rpartition("/")[2])):
        options, others = split_options(words[1:], wrapper)
        behind, rest = split_options(others[wrapper.operands :], wrapper)
        scripts = [Word(option.text, option.line) for option in (*options, *behind) if option.name == "command"]
        words = list(dropwhile(lambda word: re.match(f"{NAME}=", word.text), rest))
        if scripts:
            words = [replace(scripts[0], text="sh"), replace(scripts[0], text="-c"), scripts[0]]
    if not words:
        return
    command = replace(command, words=tuple(words))
    script = _script(words) if command.script is None and command.program in ("sh", "bash", "dash", "ash") else None
    if script is None:
        yield command
        return
    parsed = parse_script(script.text, environment)
    for position, simple in enumerate(parsed.commands):
        inner = tuple(Word(text, script.line) for text in simple)
        around = replace(parsed, compound=parsed.compound or position in parsed.tested)
        yield from simple_commands(replace(command, words=inner, script=around), environment)


def _script(words: Sequence[Word]) -> Word | None:
    """Return the script of `sh -c SCRIPT`, which stands behind all options; None for a shell that runs a file."""
    rest, asked = list(words[1:]), False
    while rest and re.fullmatch(r"[-+][a-zA-Z]+|--(login|norc|noprofile|posix)", rest[0].text):
        option = rest.pop(0).text
        asked |= bool(re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", option))
        if re.fullmatch(r"[-+][a-zA-Z]*o", option):
            del rest[:1]
    return rest[0] if asked and rest else None
