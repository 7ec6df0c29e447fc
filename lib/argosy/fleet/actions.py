"""What a unit's commands do, one program at a time: wrappers such as `env` taken off, `sh -c` taken apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from argosy.fleet.command_line import Command, Word
from argosy.fleet.environment import Environment
from argosy.fleet.shell_line import Script, parse_script

SHELLS = ("sh", "bash", "dash", "ash")
_SHELL_OPTIONS = re.compile(r"-[a-zA-Z]*c[a-zA-Z]*")
_PLAIN_OPTIONS = re.compile(r"[-+][a-zA-Z]+|--(login|norc|noprofile|posix)")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Action:
    """`words`: a program and its arguments. `key`: of the unit, such as ExecStart. `script`: the whole of what a shell
    runs, when this is a part of it. `program`: the file's name, without its folder."""

    words: tuple[Word, ...]
    key: str
    line: int
    may_fail: bool = False
    script: Script | None = None

    @property
    def program(self) -> str:
        return self.words[0].text.rpartition("/")[2]

    @property
    def arguments(self) -> tuple[Word, ...]:
        return self.words[1:]

    @property
    def is_docker(self) -> bool:
        """Whether it is Docker's client. systemd-docker wraps `docker run` and takes the same options."""
        return self.program in ("docker", "systemd-docker")


def actions_of(command: Command, environment: Environment) -> list[Action]:
    """Return what `command` does, in its order; a shell's script as its simple commands."""
    return list(_actions(command.words, command, environment, None))


def _actions(
    words: Sequence[Word], command: Command, environment: Environment, script: Script | None
) -> Iterator[Action]:
    rest = _unwrapped(words)
    if not rest:
        return
    program = rest[0].text.rpartition("/")[2]
    text = _script_of(rest) if program in SHELLS and script is None else None
    if text is None:
        yield Action(tuple(rest), command.key, rest[0].line, command.may_fail, script)
        return
    parsed = parse_script(text.text, environment)
    for simple in parsed.commands:
        if simple.words:
            yield from _actions([Word(it, text.line) for it in simple.words], command, environment, parsed)


def _script_of(words: Sequence[Word]) -> Word | None:
    """Return the script of `sh -c SCRIPT`; None for a shell that runs a file."""
    for index, word in enumerate(words[1:], 1):
        if _SHELL_OPTIONS.fullmatch(word.text):
            return words[index + 1] if index + 1 < len(words) else None
        if not _PLAIN_OPTIONS.fullmatch(word.text):
            return None
    return None


def _unwrapped(words: Sequence[Word]) -> list[Word]:
    """Return the words without `exec`, `env` (with its variables), `sudo`, `nice` and the like before the program."""
    rest = list(words)
    while rest:
        program = rest[0].text.rpartition("/")[2]
        if program in ("exec", "command", "nohup", "sudo", "-"):
            del rest[0]
        elif program == "env" and len(rest) > 1:
            del rest[0]
            while rest and (_ASSIGNMENT.fullmatch(rest[0].text) or rest[0].text in ("-i", "-")):
                del rest[0]
        else:
            break
    return rest
