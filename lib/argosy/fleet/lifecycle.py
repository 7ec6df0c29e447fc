"""What a unit says of starting, stopping and starting anew, besides its commands. Pure.

Sources: https://www.freedesktop.org/software/systemd/man/252/systemd.service.html and systemd.kill.html there.
"""

from __future__ import annotations

import math

from argosy.fleet.docker_run import parse_signal
from argosy.fleet.draft import Draft
from argosy.fleet.options import SECTION as FLEET_SECTION
from argosy.fleet.quantities import parse_time_span, tidy
from argosy.fleet.reading import ReadUnit
from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import shown
from argosy.fleet.unit_file import Assignment, UnitFile

RESTART = {
    "no": "none",
    "always": "any",
    "on-success": "any",
    "on-failure": "on-failure",
    "on-abnormal": "on-failure",
    "on-abort": "on-failure",
    "on-watchdog": "on-failure",
}
RELATIONS = ("After", "Before", "BindsTo", "BindTo", "PartOf", "Requires", "Requisite", "Wants")
"""Keys of [Unit] that name other units."""
_OF_A_SERVICE = """
    Environment EnvironmentFile ExecReload ExecStart ExecStartPost ExecStartPre ExecStop ExecStopPost Group GuessMainPID
    KillMode KillSignal NotifyAccess PIDFile PermissionsStartOnly RemainAfterExit Restart RestartSec SendSIGKILL
    StandardError StandardInput StandardOutput SyslogFacility SyslogIdentifier SyslogLevel TimeoutSec TimeoutStartSec
    TimeoutStopSec Type User WorkingDirectory
"""
SILENT = {
    "Unit": {"Description", "Documentation", "DefaultDependencies", *RELATIONS},
    "Service": set(_OF_A_SERVICE.split()),
}
"""Keys that are translated, or mean nothing for a container of Swarm's: they are about Docker's client."""
LIMITS = {"StartLimitInterval", "StartLimitIntervalSec", "StartLimitBurst"}
LONGEST_DELAY = 3600


def note_other_keys(unit: UnitFile, findings: Findings) -> None:
    """Note the keys of a unit that have no meaning in a definition."""
    for entry in unit.assignments:
        known = (
            entry.section in (FLEET_SECTION, "Install") or entry.section.startswith("X-") or entry.key.startswith("X-")
        )
        if known or entry.key in SILENT.get(entry.section, ()) or entry.key in LIMITS or not entry.value:
            continue
        if entry.section not in SILENT:
            findings.note(entry.line, f"[{entry.section}] {entry.key}= dropped: it is no section of a service")
        elif entry.key.startswith(("Condition", "Assert")):
            findings.note(entry.line, f"{entry.key}= dropped: a machine is chosen by constraints alone")
        elif entry.section == "Unit":
            findings.note(entry.line, f"{entry.key}= dropped: it is between units")
        else:
            findings.note(entry.line, f"{entry.key}= dropped: it is about Docker's client, not about the container")


def translate_lifecycle(read: ReadUnit, draft: Draft) -> None:
    """Add `restart` and `stop`, and refuse a job that ends."""
    unit, findings = read.group.unit, read.findings
    kind = unit.last("Service", "Type")
    stays = unit.last("Service", "RemainAfterExit")
    if (
        kind
        and kind.value == "oneshot"
        and not (read.detached or (stays and stays.value.lower() in ("yes", "true", "1", "on")))
    ):
        findings.refuse(
            kind.line, "Type=oneshot: a job that ends would be started anew for ever: run it where it is needed"
        )
    _restart(unit, draft, findings)
    _limits(unit, draft, findings)
    _stop(read, draft)


def _restart(unit: UnitFile, draft: Draft, findings: Findings) -> None:
    entry = unit.last("Service", "Restart")
    if entry is None:
        if "restart.condition" not in draft.settings:
            findings.note(
                0, "without Restart= it stayed as it ended: here it is started anew (restart: {condition: none} if not)"
            )
    elif entry.value not in RESTART:
        findings.refuse(entry.line, f"Restart={shown(entry.value)}: systemd knows {', '.join(RESTART)}")
    elif not (entry.value == "no" and "restart.condition" in draft.settings):
        if entry.value not in ("no", "always", "on-failure"):
            findings.note(
                entry.line, f"Restart={entry.value}: the nearest is restart: {{condition: {RESTART[entry.value]}}}"
            )
        draft.set("restart.condition", RESTART[entry.value])
    if draft.settings.get("restart.condition") == "any":
        del draft.settings["restart.condition"]
    delay = unit.last("Service", "RestartSec")
    seconds = _seconds(delay, findings)
    if delay and seconds is not None:
        if seconds > LONGEST_DELAY:
            findings.note(delay.line, f"RestartSec={delay.value}: Swarm waits for {LONGEST_DELAY} seconds at most")
        draft.set("restart.delay_seconds", tidy(min(seconds, LONGEST_DELAY)))


def _limits(unit: UnitFile, draft: Draft, findings: Findings) -> None:
    """How often it is started within a time: five times within ten seconds, if only one of the two is said."""
    bursts = [entry for section in ("Service", "Unit") for entry in unit.values(section, "StartLimitBurst")]
    intervals = [
        entry
        for section in ("Service", "Unit")
        for entry in unit.values(section, "StartLimitInterval", "StartLimitIntervalSec")
    ]
    if not bursts and not intervals:
        return
    seconds = _seconds(intervals[-1], findings) if intervals else 10.0
    burst = bursts[-1].value if bursts else "5"
    if seconds is None or not (burst.isascii() and burst.isdecimal() and len(burst) < 6):
        return
    if seconds > 0 and math.isfinite(seconds) and int(burst):
        draft.set("restart.attempts", int(burst))
        draft.set("restart.window_seconds", tidy(seconds))


def _stop(read: ReadUnit, draft: Draft) -> None:
    unit, findings, stopping = read.group.unit, read.findings, read.stopping
    try:
        if stopping.signal:
            draft.set("stop.signal", parse_signal(stopping.signal))
    except ValueError as error:
        findings.refuse(stopping.line, f"docker kill: {error}")
    if stopping.grace_seconds is not None:
        draft.set("stop.grace_seconds", stopping.grace_seconds)
    signal = unit.last("Service", "KillSignal")
    timeouts = unit.values("Service", "TimeoutStopSec", "TimeoutSec")
    if not stopping.by_docker:
        try:
            if signal:
                draft.set("stop.signal", parse_signal(signal.value))
        except ValueError as error:
            findings.refuse(signal.line if signal else 0, f"KillSignal=: {error}")
        seconds = _seconds(timeouts[-1], findings) if timeouts else None
        if seconds and math.isfinite(seconds):
            draft.set("stop.grace_seconds", math.ceil(seconds))
    for path, default in (("stop.signal", "TERM"), ("stop.grace_seconds", 10)):
        if draft.settings.get(path) == default:
            del draft.settings[path]


def _seconds(entry: Assignment | None, findings: Findings) -> float | None:
    """Return the time that an assignment says; what is none is noted, as systemd ignores it."""
    if entry is None:
        return None
    try:
        return parse_time_span(entry.value)
    except ValueError as error:
        findings.note(entry.line, f"{entry.key}= dropped: {error}")
        return None
