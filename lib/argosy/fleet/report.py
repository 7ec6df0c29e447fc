"""An import as YAML, as a table, as JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from argosy.fleet.outcomes import Became, Imported, Outcome
from argosy.fleet.remarks import Remark

COLUMNS = ("UNIT", "BECAME", "LINE", "")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]|\u2028|\u2029")

_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
"""What YAML takes for line breaks, or for none of the text: written as escapes."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _BREAKS.search(value) else None)


_Dumper.add_representer(str, _text)


def render_services(imported: Imported) -> str:
    """Return the definitions as YAML of the shape of `scheduled:`, each after a comment that says what it was made of
    and what was noted. Read again they are the same definitions."""
    if not imported.services:
        return "scheduled: {}\n"
    lines = ["scheduled:"]
    for name, definition in imported.services.items():
        for outcome in (it for it in imported.outcomes if it.service == name):
            lines.append(f"  # {printable(outcome.path)}")
            lines += [f"  #   {_where(note)}{printable(note.reason)}" for note in outcome.notes]
        text = yaml.dump({name: dict(definition)}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
        lines += [f"  {line}" if line else "" for line in text.removesuffix("\n").split("\n")]
    return "\n".join(lines) + "\n"


def rows(imported: Imported) -> list[list[str]]:
    """Return the rows of the table: a line for each file, and for each further remark. Of what is refused no notes."""
    found: list[list[str]] = []
    for outcome in imported.outcomes:
        remarks: list[Remark | None] = list(outcome.refusals or outcome.notes)
        remarks = remarks or [None]
        for index, remark in enumerate(remarks):
            head = ["", ""] if index else [printable(outcome.path), shown_outcome(outcome)]
            found.append([*head, *_remark(outcome, remark)])
    return found


def shown_outcome(outcome: Outcome) -> str:
    return str(outcome.became) if outcome.became is Became.REFUSED else f"{outcome.became} {outcome.service}"


def to_json(imported: Imported) -> dict[str, Any]:
    """Return `{"services": {NAME: definition}, "units": [{"unit", "became", "service", "notes", "refusals"}]}`.

    A remark is `{"line", "reason"}`; its line is 0 for the whole file.
    """
    return {
        "services": {name: dict(it) for name, it in imported.services.items()},
        "units": [
            {
                "unit": printable(it.path),
                "became": str(it.became),
                "service": it.service,
                "notes": _remarks(it.notes),
                "refusals": _remarks(it.refusals),
            }
            for it in imported.outcomes
        ],
    }


def printable(text: str) -> str:
    """Return `text` on one line, with what no terminal and no YAML should get written as escapes."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _remark(outcome: Outcome, remark: Remark | None) -> list[str]:
    if remark is None:
        return ["", ""]
    where = "" if remark.path == outcome.path else f"{printable(remark.path)}: "
    return [str(remark.line or ""), where + printable(remark.reason)]


def _where(remark: Remark) -> str:
    return f"line {remark.line}: " if remark.line else ""


def _remarks(remarks: Sequence[Remark]) -> list[Mapping[str, Any]]:
    return [{"line": it.line, "reason": printable(it.reason)} for it in remarks]
