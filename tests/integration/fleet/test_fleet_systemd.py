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

from argosy.fleet.command_line import commands_of
from argosy.fleet.environment import Environment, environment_of
from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import replaced, symbols
from argosy.fleet.unit_file import parse_unit
from argosy.fleet.unit_name import UnitName

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
KNOWN = {"%i": "7", "%I": "7"}
INSTANCE = "7"
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class AsItIs(Environment):
    """systemd replaces variables when it starts a unit, not when it loads it."""

    def substituted(self, word: str) -> list[str]:
        return [word]


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
    return [re.sub(r"\\(.)", lambda it: ESCAPES.get(it[1], it[1]), quoted or plain) for quoted, plain in found]


@pytest.mark.parametrize("seed", range(5))
def test_commands_and_variables_are_those_of_systemd(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    texts = {f"u{number}@{INSTANCE}.service": a_unit(chance) for number in range(UNITS)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    commands, variables, said = asked(tmp_path, list(texts))
    compared = 0
    for name, text in texts.items():
        findings = Findings(name)
        unit = parse_unit(text, UnitName.parse(name))
        ours = commands_of(unit, "ExecStart", AsItIs(), findings)
        # Where a command is bad systemd may do without it; the import refuses, since nobody meant that.
        if findings.refusals or unit.bad:
            continue
        # A program that is nowhere makes systemd refuse the unit, and so does a bad line that a later one resets.
        if name not in commands or f"{name}: Unit configuration has fatal error" in said:
            continue
        argvs = [[replaced(word.text, KNOWN) for word in command.words]["@" in command.prefixes :] for command in ours]
        # It prints each variable on a line, as it is: the rest of one with a line break is not seen.
        own = {
            f"{key}={replaced(it, KNOWN)}".split("\n")[0] for key, it in environment_of(unit, findings).values.items()
        }
        # %A, %b and others differ between machines.
        if symbols("".join([*own, *(word for argv in argvs for word in argv)])):
            continue
        theirs = [argv["@" in command.prefixes :] for argv, command in zip(commands[name], ours, strict=True)]
        assert argvs == theirs, text
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
        findings = Findings("b")
        unit = parse_unit(f"[Service]\nExecStart={line}\n", UnitName("b", None, "service"))
        commands_of(unit, "ExecStart", AsItIs(), findings)
        assert [it.line for it in findings.refusals] == [2], line
