"""Pure. What a unit says of starting, stopping and restarting, besides its commands.

Sources: https://www.freedesktop.org/software/systemd/man/252/systemd.service.html and systemd.kill.html there.
"""

from __future__ import annotations

import math
import re

from argosy.fleet.options import TABLES
from argosy.fleet.quantities import parse_signal, parse_time_span
from argosy.fleet.reading import Draft
from argosy.fleet.unit_file import UnitFile

RESTART: dict[str, str] = TABLES["restart"]
LONGEST_DELAY = 3600
DEFAULTS = {"restart.condition": "any", "stop.signal": "TERM", "stop.grace_seconds": 10}


def note_other_keys(unit: UnitFile) -> None:
    """Note the keys of a unit that have no meaning in a definition."""
    for entry in unit.assignments:
        place = f"{entry.section} {entry.key}"
        reason = next(reason for pattern, reason in TABLES["keys"].items() if re.fullmatch(pattern, place))
        if reason and entry.value:
            unit.note(entry.line, f"[{entry.section}] {entry.key}= dropped: {reason}")


def translate_lifecycle(draft: Draft) -> None:
    """Add `restart` and `stop`, and refuse a job that ends."""
    unit = draft.unit
    kind, stays = unit.last("Service", "Type"), unit.last("Service", "RemainAfterExit")
    detached = draft.container and any(option.text == "true" for option in draft.container.named("detach"))
    remains = stays and stays.value.lower() in ("yes", "true", "1", "on")
    if kind and kind.value == "oneshot" and not detached and not remains:
        unit.refuse(kind.line, "Type=oneshot: a job that ends would be restarted for ever: run it where it is needed")
    _restart(draft)
    _limits(draft)
    _stop(draft)
    draft.settings = {path: value for path, value in draft.settings.items() if value != DEFAULTS.get(path)}


def _restart(draft: Draft) -> None:
    unit, settings = draft.unit, draft.settings
    entry = unit.last("Service", "Restart")
    if entry is None and "restart.condition" not in settings:
        unit.note(0, "no Restart=: systemd leaves it ended, Swarm restarts it unless restart: {condition: none}")
    elif entry and entry.value not in RESTART:
        unit.refuse(entry.line, f"Restart={entry.value} is not one of {', '.join(RESTART)}")
    elif entry and (entry.value != "no" or "restart.condition" not in settings):
        condition = settings["restart.condition"] = RESTART[entry.value]
        if entry.value not in ("no", "always", "on-failure"):
            unit.note(entry.line, f"Restart={entry.value}: the nearest is restart: {{condition: {condition}}}")
    seconds, line = _seconds(unit, "Service", "RestartSec")
    if seconds is not None:
        settings["restart.delay_seconds"] = min(seconds, LONGEST_DELAY)
        if seconds > LONGEST_DELAY:
            unit.note(line, f"RestartSec={seconds}: Swarm waits {LONGEST_DELAY} seconds at most")


def _limits(draft: Draft) -> None:
    """How often it is started within a time: five times within ten seconds, if only one of the two is said."""
    said = draft.unit.last("Service Unit", "StartLimitBurst")
    burst = said.value if said else "5"
    seconds, line = _seconds(draft.unit, "Service Unit", "StartLimitInterval", "StartLimitIntervalSec")
    seconds = seconds if line or not said else 10
    if seconds and math.isfinite(seconds) and re.fullmatch(r"\d{1,5}", burst, re.ASCII) and int(burst):
        draft.settings |= {"restart.attempts": int(burst), "restart.window_seconds": seconds}


def _stop(draft: Draft) -> None:
    unit = draft.unit
    if draft.stop is not None:
        draft.settings |= draft.stop
        return
    if signal := unit.last("Service", "KillSignal"):
        with unit.errors(signal.line, "KillSignal="):
            draft.settings["stop.signal"] = parse_signal(signal.value)
    seconds, _ = _seconds(unit, "Service", "TimeoutStopSec", "TimeoutSec")
    if seconds and math.isfinite(seconds):
        draft.settings["stop.grace_seconds"] = math.ceil(seconds)


def _seconds(unit: UnitFile, sections: str, *keys: str) -> tuple[float | None, int]:
    """Return the time that the last of the keys says, and its line; what is none is noted, as systemd ignores it."""
    entry = unit.last(sections, *keys)
    if entry:
        with unit.errors(entry.line, f"{entry.key}= dropped", unit.note):
            return parse_time_span(entry.value), entry.line
    return None, entry.line if entry else 0
