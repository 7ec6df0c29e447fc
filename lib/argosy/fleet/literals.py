"""Values that stand in a definition as they are; what only a machine or an instance knows can't. Pure."""

from __future__ import annotations

from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import HOST, INSTANCE, UNESCAPED_INSTANCE, shown, symbols


def literal(text: str, line: int, what: str, findings: Findings) -> str | None:
    """Return `text` unless it holds a symbol or a control character: then that is refused, and None returned."""
    unknown = symbols(text)
    if unknown:
        findings.refuse(line, f"{what}: {shown(unknown[0])} {_reason(unknown[0])}")
        return None
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        findings.refuse(line, f"{what}: definitions hold single lines, without control characters")
        return None
    return text


def _reason(spelling: str) -> str:
    if spelling in (INSTANCE, UNESCAPED_INSTANCE):
        return "has no place in a definition, which all instances share: the program can read ARGOSY_SLOT (1, 2, ...)"
    if spelling in (HOST, "%l", "%q"):
        return "is known on the machine only: the program can read ARGOSY_MACHINE, the machine's name"
    if spelling.startswith("%"):
        return "is known on the machine only"
    if spelling.startswith("${") and spelling[2:-1].replace("_", "a").isalnum():
        return "stands in a file on the machine: write its value; the machine's address is discovery's business"
    return "can be run on the machine only"
