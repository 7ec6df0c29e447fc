"""Pure. An import as YAML, as a table, as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from argosy.fleet.importing import Imported
from argosy.fleet.unit_file import Remark

COLUMNS = ("UNIT", "BECAME", "LINE", "")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]|\u2028|\u2029")
_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
"""What YAML takes for line breaks, or for none of the text: written as escapes."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def render_services(imported: Imported, drafts: bool = False) -> str:
    """Return the definitions as YAML of the shape of `scheduled:`, each after a comment that says what it was made of
    and what was noted. Read again they are the same definitions. `drafts`: what was refused follows as comments."""
    lines = ["scheduled:" if imported.services else "scheduled: {}"]
    for name, definition in imported.services.items():
        for outcome in (outcome for outcome in imported.outcomes if outcome.service == name):
            lines += _comments(outcome.path, "", outcome.notes)
        lines += [f"  {line}" if line else "" for line in _yaml(name, definition)]
    for outcome in imported.refused if drafts else ():
        lines += _comments(f"{outcome.path}: refused", "gap: ", outcome.refusals)
        for name, definition in outcome.draft.items():
            lines += [*_comments("", "", outcome.notes)[1:], *(f"  # {line}" for line in _yaml(name, definition))]
    return "\n".join(lines) + "\n"


def _comments(title: str, prefix: str, remarks: Iterable[Remark]) -> list[str]:
    said = [(f"line {remark.line}: " if remark.line else "", printable(remark.reason)) for remark in remarks]
    return [f"  # {printable(title)}", *(f"  #   {prefix}{line}{reason}" for line, reason in said)]


def _yaml(name: str, definition: Mapping[str, Any]) -> list[str]:
    readable = not _BREAKS.search(json.dumps(definition, ensure_ascii=False))
    text = yaml.dump({name: definition}, Dumper=_Dumper, sort_keys=False, allow_unicode=readable, width=1000)
    return text.removesuffix("\n").split("\n")


def rows(imported: Imported) -> list[list[str]]:
    """Return the rows of the table: a line for each file, and for each further remark. Of what is refused no notes."""
    found: list[list[str]] = []
    for outcome in imported.outcomes:
        head = [printable(outcome.path), f"{outcome.became} {outcome.service}".strip()]
        for remark in outcome.refusals or outcome.notes or [Remark(outcome.path, 0, "")]:
            found.append([*head, str(remark.line or ""), printable(remark.reason)])
            head = ["", ""]
    return found


def to_json(imported: Imported) -> dict[str, Any]:
    """Return `{"services": {NAME: definition}, "units": [{"unit", "became", "service", "notes", "refusals"}]}`.

    A remark is `{"line", "reason"}`; its line is 0 for the whole file.
    """
    units = []
    for outcome in imported.outcomes:
        remarks = {"notes": _remarks(outcome.notes), "refusals": _remarks(outcome.refusals)}
        units.append({"unit": printable(outcome.path), "became": outcome.became, "service": outcome.service, **remarks})
    return {"services": dict(imported.services), "units": units}


def _remarks(remarks: Iterable[Remark]) -> list[dict[str, Any]]:
    return [{"line": remark.line, "reason": printable(remark.reason)} for remark in remarks]


def printable(text: str) -> str:
    """Return `text` on one line, with what no terminal and no YAML should get written as escapes."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)
