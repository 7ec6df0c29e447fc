"""Unit files are read as systemd reads them: systemd itself is asked, about thousands of lines made of its traps.

`systemd-analyze verify` loads units without running them, and says at its debug level what it took them for.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from argosy.fleet.commands import commands_of, environment_of
from argosy.fleet.shell import Environment
from argosy.fleet.unit_file import parse_unit
from argosy.fleet.words import Word, symbol, symbols

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed"),
]

UNITS = 200
TRAPS = [
    " ",
    "  ",
    "\t",
    "a",
    "b-c",
    "é",
    "'",
    '"',
    "\\",
    "\\\\",
    "\\n",
    "\\x41",
    "\\xc3\\xa9",
    "\\u00e9",
    "\\101",
    "\\q",
]
TRAPS += [
    "\\;",
    " ; ",
    ";",
    "%i",
    "%%",
    "%p",
    "%P",
    "%j",
    "%z",
    "%",
    "$X",
    "$$",
    "${X}",
    "#",
    "\\\n",
    "\\\n# c\n",
    "\\\n ;c\n",
]
TRAPS += ["=", "[x]", "\\s", "@", "-", "--opt=1"]
PROGRAMS = [
    "/bin/true ",
    "-/bin/true ",
    "/bin/true",
    "",
    ":/bin/true ",
    "--/bin/true ",
    "+!/bin/true ",
    "@/bin/true arg ",
]
BETWEEN = ["", "# x\\", "; y", "key", "[Unit]\n[Service]", "\r", "ExecStart=", "Environment="]
INSTANCE = "7"
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@pytest.fixture(autouse=True)
def variables_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd replaces variables when it starts a unit, not when it loads it."""

    def as_it_is(word: Word, environment: Environment) -> list[Word]:
        return [word]

    monkeypatch.setattr("argosy.fleet.commands.substituted", as_it_is)


def known(text: str) -> str:
    for spelling in ("%i", "%I"):
        text = text.replace(symbol(spelling), INSTANCE)
    return text


def a_unit(chance: random.Random) -> str:
    def value() -> str:
        return "".join(chance.choice(TRAPS) for _ in range(chance.randint(0, 10)))

    lines = ["[Service]", "Type=oneshot"]
    for _ in range(chance.randint(1, 3)):
        lines.append(chance.choice(["ExecStart=", "ExecStart = ", "  ExecStart="]) + chance.choice(PROGRAMS) + value())
        lines.append(chance.choice(["Environment=", "Environment=A="]) + value())
        lines.append(chance.choice(BETWEEN))
    return "\n".join([*lines, "ExecStart=/bin/true end", ""])


def asked(folder: Path, names: list[str]) -> tuple[dict[str, list[list[str]]], dict[str, set[str]], str]:
    """Return what systemd took the units' commands and variables for, and all that it said."""
    settings = {"SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_LOG_TARGET": "console"}
    command = ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in names)]
    run = subprocess.run(command, env={**os.environ, **settings}, capture_output=True)
    said = (run.stdout + run.stderr).decode("utf-8", "replace")
    commands: dict[str, list[list[str]]] = {}
    variables: dict[str, set[str]] = {}
    unit = ""
    for line in said.split("\n"):
        if found := re.match(r"\t?-> Unit (\S+):", line):
            unit = found[1]
            commands.setdefault(unit, [])
            variables.setdefault(unit, set())
        elif unit and (found := re.match(r"\t+Command Line: (.*)$", line)):
            commands[unit].append(unquoted(found[1]))
        elif unit and (found := re.match(r"\t+Environment: (.*)$", line)):
            variables[unit].add(found[1])
    return commands, variables, said


def unquoted(line: str) -> list[str]:
    """Return the words of a line that systemd has quoted for a shell."""
    found = re.findall(r'"((?:\\.|[^"\\])*)"|(\S+)', line)
    return [re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), quoted or plain) for quoted, plain in found]


@pytest.mark.parametrize("seed", range(5))
def test_commands_and_variables_are_those_of_systemd(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    texts = {f"u{number}@{INSTANCE}.service": a_unit(chance) for number in range(UNITS)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    commands, variables, said = asked(tmp_path, list(texts))
    compared = 0
    for name, text in texts.items():
        unit = parse_unit(text, name)
        ours = commands_of(unit, "ExecStart", Environment())
        # Where a command is bad systemd may do without it; the import refuses, since nobody meant that.
        if unit.refusals:
            continue
        # A program that is nowhere makes systemd refuse the unit, and so does a bad line that a later one resets.
        if name not in commands or f"{name}: Unit configuration has fatal error" in said:
            continue
        argvs = [[known(word.text) for word in command.words] for command in ours]
        # It prints each variable on a line, as it is: the rest of one with a line break is not seen.
        own = {f"{key}={known(value)}".split("\n")[0] for key, value in environment_of(unit).values.items()}
        # %A, %b and others differ between machines.
        if symbols("".join([*own, *(word for argv in argvs for word in argv)])):
            continue
        assert [argv[1:] for argv in argvs] == [argv[1:] for argv in commands[name]], text
        # Of a program that begins with @ systemd shows the name that it is told, not its path.
        if not re.search(r"[=;][^\w/]*@", text):
            assert argvs == commands[name], text
        assert own == variables[name], text
        compared += 1
    assert compared >= UNITS // 10


def test_what_systemd_refuses_is_refused(tmp_path: Path) -> None:
    bad = ["/bin/true 'open", "/bin/true %z", "bin/true", "/bin/", "/bin/true \\xff'"]
    for number, line in enumerate(bad):
        (tmp_path / f"b{number}.service").write_text(f"[Service]\nType=oneshot\nExecStart={line}\n")
    commands, _, _ = asked(tmp_path, [f"b{number}.service" for number in range(len(bad))])
    assert commands == {}
    for line in bad:
        unit = parse_unit(f"[Service]\nExecStart={line}\n", "b.service")
        assert commands_of(unit, "ExecStart", Environment()) == []
        assert [refusal.line for refusal in unit.refusals] == [2], line
