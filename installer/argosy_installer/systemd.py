"""The host's systemd, by systemctl and journalctl of this image.

systemctl reaches the host's systemd by /run/systemd/private. It asks the kernel for the pid at the other end, so the
container must share the host's pids; no capability is needed. Source: bus_connect_system_systemd() and
bus_check_peercred() in systemd's src/shared/bus-util.c.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy_installer.errors import Failed

SYSTEMCTL_SECONDS = 600
"""Stopping a service takes its grace period."""
PROPERTIES = ("Id", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "NRestarts")


@dataclass(frozen=True)
class UnitState:
    """As in `systemctl show`: `active` is active, activating, inactive, ...; `sub` is running, auto-restart, ...

    `restarts`: how often systemd has started it again by itself.
    """

    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    needs_reload: bool = False
    restarts: int = 0

    def __str__(self) -> str:
        again = f", restarted {self.restarts} times" if self.restarts else ""
        return f"its unit is {self.active} ({self.sub}{again})"


def states(units: Sequence[str]) -> dict[str, UnitState]:
    """Return the state of each unit; one that systemd does not know is inactive."""
    if not units:
        return {}
    found = parse_states(_systemctl("show", f"--property={','.join(PROPERTIES)}", "--", *units))
    return {unit: found.get(unit, UnitState()) for unit in units}


def parse_states(output: str) -> dict[str, UnitState]:
    """Return the states in the output of `systemctl show`: a block of NAME=VALUE lines for each unit."""
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in output.split("\n\n")]
    return {block["Id"]: _state(block) for block in blocks if "Id" in block}


def _state(block: Mapping[str, str]) -> UnitState:
    return UnitState(
        active=block.get("ActiveState", ""),
        sub=block.get("SubState", ""),
        enabled=block.get("UnitFileState") == "enabled",
        needs_reload=block.get("NeedDaemonReload") == "yes",
        restarts=int(block.get("NRestarts") or 0),
    )


def daemon_reload() -> None:
    _systemctl("daemon-reload")


def enable(units: Sequence[str]) -> None:
    _systemctl("enable", "--quiet", "--", *units)


def restart(unit: str) -> None:
    """Queue a stop and start of `unit`, or only the start; whether it succeeds is for its check to say."""
    _systemctl("restart", "--no-block", "--", unit)


def stop_and_disable(units: Sequence[str]) -> None:
    """Stop the units politely, in the reverse order of their dependencies, and wait for it."""
    _systemctl("disable", "--quiet", "--now", "--", *units)


def journal(unit: str, lines: int, folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the last lines that the unit and what it ran wrote; empty when the journal can't be read."""
    for folder in folders:
        options = ["--quiet", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit}"]
        argv = ["journalctl", f"--directory={folder}", *options]
        result = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if result.returncode == 0 and result.stdout.strip():
            return tuple(result.stdout.rstrip("\n").split("\n"))
    return ()


def _systemctl(*words: str) -> str:
    argv = ["systemctl", "--no-ask-password", "--no-pager", *words]
    try:
        result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SYSTEMCTL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed.because(f"systemctl {words[0]} did not end in {SYSTEMCTL_SECONDS} s") from None
    if result.returncode != 0:
        reason = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise Failed.because(f"systemctl {' '.join(words)}: {reason}")
    return result.stdout
