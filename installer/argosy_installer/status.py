"""The command `status`: what this machine runs, and whether it passes its checks now. It changes nothing.

The machine's agent answers the same by this code (argosy.agent.machine_status), without a container to be started.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from argosy_installer import checks, systemd, units
from argosy_installer.docker import Docker
from argosy_installer.errors import EXIT_INSTALLED, command
from argosy_installer.machine import Machine, from_environment, read_json
from argosy_installer.observing import Observed, observe
from argosy_installer.progress import say
from argosy_installer.release import Release, Service, load
from argosy_installer.systemd import UnitState

COLUMNS = ("name", "unit", "check", "version", "since", "reason")


@dataclass(frozen=True)
class Known:
    """What is known of a machine before its services are looked at, in the order in which the status has it."""

    machine: str
    address: str
    state: str
    missing_secrets: list[str]
    release: str


@command
def run(environment: Mapping[str, str], as_json: bool) -> int:
    """Print the status, and return 0 when it could be found out."""
    machine = from_environment(environment)
    for line in lines(observe_machine(machine, load(machine.release, machine.name)), as_json):
        say(line)
    return EXIT_INSTALLED


def lines(status: Mapping[str, Any], as_json: bool) -> list[str]:
    """Return the status as it is printed: one line of JSON, or a table."""
    return [json.dumps(status)] if as_json else list(_table(status))


def observe_machine(machine: Machine, release: Release) -> dict[str, Any]:
    """Return the status, by what this machine's own files, systemd and Docker say."""
    missing = missing_secrets(machine)
    known = Known(machine.name, machine.address, state(machine, missing), missing, machine.version)
    states = systemd.states([service.unit for service in release.services])
    present = units.present_units(machine.units, machine.system)
    return machine_status(known, release, states, present, Docker(machine.docker_socket))


def machine_status(
    known: Known, release: Release, states: Mapping[str, UnitState], present: Mapping[str, str], docker: Docker
) -> dict[str, Any]:
    """Return the status as JSON. `states`: by unit; one that is not there is inactive. `present`: the unit files."""

    def one(service: Service) -> dict[str, Any]:
        unit = states.get(service.unit, UnitState())
        return _service(service, observe(service, release.system, docker, unit), release, docker)

    with ThreadPoolExecutor(8, thread_name_prefix="check") as pool:
        services = list(pool.map(one, release.services))
    return {**asdict(known), "services": services, "drifted": drifted(present, release)}


def drifted(present: Mapping[str, str], release: Release) -> list[str]:
    """Return the units that are not, or no more, what the release has: edited by hand, or left by another one."""
    changes = units.plan(present, release.units, release.marker)
    return sorted([*changes.write, *changes.remove])


def missing_secrets(machine: Machine) -> list[str]:
    """Return the names in required-secrets that have no file."""
    try:
        required = (machine.config / "required-secrets").read_text().split()
    except FileNotFoundError:
        return []
    return [name for name in required if not (machine.secrets / name).is_file()]


def state(machine: Machine, missing: list[str]) -> str:
    """Return `waiting` (for secrets), else what the installer of this release has recorded."""
    if missing or not (machine.secrets / ".complete").exists():
        return "waiting"
    return recorded_state(read_json(machine.install_record), machine.version)


def recorded_state(recorded: Mapping[str, Any], version: str) -> str:
    """Return the state in install.json; `installing` while that is of another release, or not there."""
    return str(recorded["state"]) if recorded.get("release") == version else "installing"


def _service(service: Service, seen: Observed, release: Release, docker: Docker) -> dict[str, Any]:
    check, reason = _check(service, seen, docker)
    pinned = release.images[service.image]
    if seen.container and seen.digest != pinned.digest:
        reason = reason or f"runs {seen.version}, the release has {pinned.version}"
    return {
        "name": service.name,
        "unit": seen.unit.active,
        "check": check,
        "reason": reason,
        "version": seen.version,
        "digest": seen.digest,
        "release_version": pinned.version,
        "release_digest": pinned.digest,
        "since": seen.since,
    }


def _check(service: Service, seen: Observed, docker: Docker) -> tuple[str, str]:
    if seen.container is None or not seen.running:
        return "failing", f"its container does not run, {seen.unit}"
    if service.check.kind == "none":
        return "none", ""
    reason = checks.ask(service.check, seen.container, docker, datetime.now(UTC))
    return ("failing" if reason else "passing"), reason


def _table(status: Mapping[str, Any]) -> Iterator[str]:
    yield f"{status['machine']} {status['address']}: {status['state']}, release {status['release']}"
    if status["missing_secrets"]:
        yield f"missing secrets: {', '.join(status['missing_secrets'])}"
    rows = [COLUMNS, *([str(service[column]) for column in COLUMNS] for service in status["services"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
