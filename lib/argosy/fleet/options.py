"""Pure. The options of a command line as pflag reads them: `--name=web`, `--name web`, `-p 80:80`, `-p80:80`, `-itd`.

`--` ends them, and so does the first other word where they stand in front. tables.yaml has those of each program.
Source: https://pkg.go.dev/github.com/spf13/pflag#hdr-Command_line_flag_syntax
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml

from argosy.fleet.words import BadLine, Word

TABLES: dict[str, Any] = yaml.safe_load(files("argosy.fleet").joinpath("tables.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Option(Word):
    """`name`: the long one, without dashes; `text`: its value, `true` or `false` for one that takes none."""

    name: str


@dataclass(frozen=True, slots=True)
class Syntax:
    """The options of a program: an entry of tables.yaml."""

    names: Mapping[str, str] = field(default_factory=dict)
    flags: Collection[str] = ()
    valued: Collection[str] = ()
    dashed: Collection[str] = ()
    program: str = ""
    operands: int = 0
    anywhere: bool = False

    def is_flag(self, name: str) -> bool:
        return name in self.flags or (not self.program and name not in self.valued)


SYNTAX = {name: Syntax(**entry) for name, entry in TABLES["syntax"].items()}
WRAPPERS = {name: Syntax(**entry) for name, entry in TABLES["wrappers"].items()}


def split_options(words: Sequence[Word], syntax: Syntax) -> tuple[list[Option], list[Word]]:
    """Return the options among `words`, and the other words. Raises BadLine."""
    found: list[Option] = []
    others: list[Word] = []
    rest = list(words)
    while rest and (syntax.anywhere or not others):
        word = rest.pop(0)
        if word.text == "--":
            break
        if word.text[:1] != "-" or word.text[1:2].isdecimal() or word.text == "-":
            others.append(word)
            continue
        name, equals, value = word.text.lstrip("-").partition("=")
        spelled = f"--{name}"
        if not word.text.startswith("--") and name not in syntax.dashed:
            name, equals = word.text[1], word.text[2:]
            while equals[:1] not in ("", "=") and syntax.is_flag(syntax.names.get(name, name)):
                found.append(Option("true", word.line, syntax.names.get(name, name)))
                name, equals = equals[0], equals[1:]
            spelled, value = f"-{name}", equals.removeprefix("=")
        name = syntax.names.get(name, name)
        if syntax.is_flag(name):
            value = "false" if equals and value.lower() in ("0", "f", "false") else "true"
        elif name not in syntax.valued:
            raise BadLine(word.line, f"{syntax.program} knows no option {spelled}")
        elif not equals and not rest and syntax.program:
            raise BadLine(word.line, f"{syntax.program}'s option {spelled} has no value")
        elif not equals:
            value = rest.pop(0).text if rest else ""
        found.append(Option(value, word.line, name))
    return found, [*others, *rest]
