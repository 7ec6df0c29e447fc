"""Follow the installs of machines until each has its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from argosy.config.loading import Settings
from argosy.errors import (
    ArgosyError,
    CommandFailed,
    DeadlineExceeded,
    HostKeyMismatch,
    HostUnreachable,
    LoginRefused,
    Unhealthy,
)
from argosy.fanout import Outcome, joined
from argosy.machine import asking
from argosy.machine.install_progress import (
    FIRST_LINES,
    WATCH,
    State,
    Verdict,
    failures,
    not_up,
    parse_entry,
    parse_state,
)
from argosy.machine.report import MachineReport
from argosy.model import Machine
from argosy.report import Report
from argosy.ssh.host import Host, Hosts
from argosy.ssh.shell import Script

RECONNECT_SECONDS = 1.0
JOURNAL_SECONDS = 30.0
SHOWN_LINES = 10


def follow_install(
    hosts: Hosts, settings: Settings, machines: Sequence[Machine], report: Report, deadline_seconds: float
) -> dict[str, str]:
    """Show the installs of `machines` as they go and return each one's release; of those that were over, at once.

    Changes nothing. When ssh drops, it resumes where it was. Never waits longer than `deadline_seconds`: then it
    reports what is not up and why. All machines are followed to their end before anything is raised: Unhealthy,
    DeadlineExceeded, HostUnreachable for one machine, HostsFailed for several; DeadlineExceeded when time was the only
    failure.
    """
    deadline = time.monotonic() + deadline_seconds

    def one(host: Host) -> str:
        return _Follower(host, settings, report, deadline, deadline_seconds).follow()

    outcomes = hosts.each(one, machines, max_parallel=len(machines), what="Installing")
    _raise_if_only_late(outcomes, deadline_seconds)
    return joined(outcomes)


def _raise_if_only_late(outcomes: Mapping[str, Outcome[str]], deadline_seconds: float) -> None:
    errors = {name: outcome.error for name, outcome in outcomes.items() if outcome.error is not None}
    if len(errors) > 1 and all(isinstance(error, DeadlineExceeded) for error in errors.values()):
        reasons = "; ".join(str(error) for error in errors.values())
        raise DeadlineExceeded(f"not all machines are installed after {deadline_seconds:g} s: {reasons}")


class _Follower:
    """One machine's install. `_seen`: how many times in a row the machine gave the present verdict; `_worked`: it was
    seen at work; `_result_line`: its installer has said its last, and all before it was shown."""

    def __init__(self, host: Host, settings: Settings, report: Report, deadline: float, allowed: float) -> None:
        self._host = host
        self._settings = settings
        self._system = settings.system
        self._report = report
        self._deadline = deadline
        self._allowed = allowed
        self._cursor = ""
        self._state: State | None = None
        self._seen = 0
        self._worked = False
        self._result_line = False
        self._last_text = ""

    def follow(self) -> str:
        while not self._is_decided() and time.monotonic() < self._deadline:
            try:
                self._watch()
            except (HostKeyMismatch, LoginRefused):
                raise
            except HostUnreachable as error:
                self._say(f"{error}; trying again")
            except CommandFailed:
                if self._state is None:
                    raise  # it never worked, for want of sudo say; later, a machine that shuts down ends it
            except DeadlineExceeded:
                break
            if not self._is_decided():
                threading.Event().wait(min(RECONNECT_SECONDS, max(0.0, self._deadline - time.monotonic())))
        return self._conclude()

    def _watch(self) -> None:
        """Read what the machine says until it is decided. Raises HostUnreachable; DeadlineExceeded at the deadline."""
        self._host.stream(
            Script("follow the install", WATCH, self._system, self._cursor, str(FIRST_LINES)),
            sudo=True,
            on_line=self._line,
            deadline_seconds=max(0.1, self._deadline - time.monotonic()),
        )

    def _line(self, line: str) -> bool:
        state = parse_state(line)
        if state:
            self._tick(state)
        elif entry := parse_entry(line, self._system):
            self._cursor = entry.cursor
            if entry.is_result:
                # What we know of the machine is older than this line: the next state counts.
                self._result_line, self._seen = True, 0
            self._last_text = entry.own_text or self._last_text
            if entry.text:
                self._say(entry.text)
        return self._is_decided()

    def _tick(self, state: State) -> None:
        unchanged = self._state is not None and self._state.verdict is state.verdict
        self._seen = self._seen + 1 if unchanged else 1
        self._state = state
        if state.verdict is Verdict.WORKING:
            self._worked = True
            # Its unit takes a moment to end after its last word; one that begins anew records another state.
            self._result_line = self._result_line and state.has_result

    def _is_decided(self) -> bool:
        """Return whether the present verdict counts: seen often enough, or the installer's last line has passed.

        While a machine boots, a result is one of before: the installer comes again.
        """
        if self._state is None or self._state.verdict is Verdict.WORKING:
            return False
        finished = self._state.verdict in (Verdict.INSTALLED, Verdict.FAILED)
        if finished and self._result_line and self._seen:
            return True
        return self._seen >= self._state.verdict.value and (self._worked or not self._state.booting)

    def _conclude(self) -> str:
        seen = self._state.verdict if self._state else Verdict.WORKING
        verdict = seen if self._is_decided() or seen is Verdict.INSTALLED else Verdict.WORKING
        record = self._state.record if self._state else {}
        if verdict is Verdict.INSTALLED:
            self._say(f"release {record['release']} is installed ({record['seconds']:g} s)")
            return str(record["release"])
        if verdict is Verdict.FAILED:
            raise self._failed(record)
        if verdict is Verdict.WORKING:
            raise DeadlineExceeded(f"{self._host.name}: not installed after {self._allowed:g} s: {self._explain()}")
        raise Unhealthy(f"{self._host.name}: it does not install itself: {self._explain()}")

    def _failed(self, record: Mapping[str, Any]) -> ArgosyError:
        """Return the error; report the reasons and last log lines, unless the installer has just told them."""
        found = failures(record)
        for reason, log in [] if self._result_line else found:
            self._say(f"failed: {reason}")
            for line in log:
                self._say(f"    {line}")
        reasons = "; ".join(reason for reason, _ in found)
        return Unhealthy(f"{self._host.name}: the install of release {record.get('release')} failed: {reasons}")

    def _explain(self) -> str:
        """Report what is not up and why, with the last lines of the first unit of those, and return it in short."""
        try:
            answer = asking.ask_status(self._settings, self._host)
            state = answer.report.state if answer.report else f"unknown, {answer.reason}"
            reasons = not_up(answer.report) or [self._own_reason() or f"its state is {state}"]
            for reason in reasons:
                self._say(f"not up: {reason}")
            for line in self._last_lines(self._first_unit(answer.report)):
                self._say(f"    {line}")
        except ArgosyError as error:
            return str(error).removeprefix(f"{self._host.name}: ")
        return "; ".join(reasons)

    def _own_reason(self) -> str:
        """Return why the installer keeps trying: as it recorded, or what its unit said last."""
        recorded = str(self._state.record.get("reason") or "") if self._state else ""
        return recorded or (f"its installer's last line: {self._last_text}" if self._last_text else "")

    def _first_unit(self, status: MachineReport | None) -> str:
        failing = [service.name for service in (status.services if status else ()) if service.check == "failing"]
        if self._state and self._state.verdict is Verdict.LACKING:
            return f"{self._system}-secrets.service"
        return f"{self._system}-{failing[0] if failing else 'installer'}.service"

    def _last_lines(self, unit: str) -> list[str]:
        argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={SHOWN_LINES}", f"--unit={unit}"]
        return self._host.run(argv, sudo=True, check=False, timeout_seconds=JOURNAL_SECONDS).stdout.splitlines()

    def _say(self, text: str) -> None:
        self._report(self._host.name, text)
