"""Units to import: those of the folder `units`, and what a test writes."""

from __future__ import annotations

from pathlib import Path

from argosy.fleet.endpoints import RouterPorts
from argosy.fleet.grouping import GivenUnit
from argosy.fleet.importing import Known, import_units
from argosy.fleet.outcomes import Imported, Outcome

UNITS = Path(__file__).parent / "units"
KNOWN = Known(
    "air",
    RouterPorts(80, frozenset({80, 443, 2379})),
    services=("backend",),
    scheduled=("legacy",),
    machines={"air-01": {"tier": "green"}, "air-03": {"machine_id": "148a18ff6e954cd892dac9de9bb90d5a"}},
)


def examples() -> list[GivenUnit]:
    return [GivenUnit(path.name, path.name, path.read_text()) for path in sorted(UNITS.iterdir())]


def imported(units: dict[str, str], known: Known = KNOWN) -> Imported:
    """Import units by their names and texts; the path of each is its name."""
    return import_units([GivenUnit(name, name, text) for name, text in units.items()], known)


def service(exec_start: str, rest: str = "Restart=always", name: str = "web.service") -> Imported:
    """Import a unit of one command."""
    return imported({name: f"[Service]\nExecStart={exec_start}\n{rest}\n"})


def outcome(result: Imported, path: str) -> Outcome:
    return next(it for it in result.outcomes if it.path == path)


def refusals(result: Imported) -> list[tuple[int, str]]:
    return [(it.line, it.reason) for entry in result.outcomes for it in entry.refusals]


def notes(result: Imported) -> list[tuple[int, str]]:
    return [(it.line, it.reason) for entry in result.outcomes for it in entry.notes]
