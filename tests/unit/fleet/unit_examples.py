"""Units to import: those of the folder `units`, and what a test writes."""

from __future__ import annotations

from pathlib import Path

from argosy.fleet.importing import Imported, Outcome, import_units
from argosy.fleet.reading import Known

UNITS = Path(__file__).parent / "units"
KNOWN = Known(
    "air",
    80,
    {80, 443, 2379},
    services=("backend",),
    scheduled=("legacy",),
    taken_udp={4789},
    machines={"air-01": {"tier": "green"}, "air-03": {"machine_id": "148a18ff6e954cd892dac9de9bb90d5a"}},
)


def examples() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(UNITS.iterdir())}


def imported(units: dict[str, str], known: Known = KNOWN) -> Imported:
    """Import units by their paths and texts."""
    return import_units(units, known)


def service(exec_start: str, rest: str = "Restart=always", name: str = "web.service") -> Imported:
    """Import a unit of one command."""
    return imported({name: f"[Service]\nExecStart={exec_start}\n{rest}\n"})


def outcome(result: Imported, path: str) -> Outcome:
    return next(outcome for outcome in result.outcomes if outcome.path == path)


def refusals(result: Imported) -> list[tuple[int, str]]:
    return [(refusal.line, refusal.reason) for entry in result.outcomes for refusal in entry.refusals]


def notes(result: Imported) -> list[tuple[int, str]]:
    return [(note.line, note.reason) for entry in result.outcomes for note in entry.notes]
