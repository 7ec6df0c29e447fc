"""The command `status`: what this machine runs, and whether it passes its checks now. It changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from argosy_installer import checks, units
from argosy_installer.docker import Docker
from argosy_installer.errors import EXIT_FAILED, EXIT_INSTALLED, EXIT_TRY_AGAIN, Failed, TryAgain
from argosy_installer.machine import Machine, from_environment, read_json
from argosy_installer.observing import Observed, observe_all
from argosy_installer.progress import say
from argosy_installer.release import Release, Service, load

COLUMNS = ("name", "unit", "check", "version", "since", "reason")


def run(environment: Mapping[str, str], as_json: bool) -> int:
    """Print the status, and return 0 when it could be found out."""
    try:
        machine = from_environment(environment)
        status = observe_machine(machine, load(machine.release))
    except (Failed, TryAgain) as error:
        say(f"no status: {error}")
        return EXIT_FAILED if isinstance(error, Failed) else EXIT_TRY_AGAIN
    say(json.dumps(status)) if as_json else _print(status)
    return EXIT_INSTALLED


def observe_machine(machine: Machine, release: Release) -> dict[str, Any]:
    """Return the status as JSON: the machine's state, the secrets that it waits for, each service."""
    docker = Docker(machine.docker_socket)
    seen = observe_all(release.services, machine.system, docker)
    with ThreadPoolExecutor(8, thread_name_prefix="check") as pool:
        services = list(
            pool.map(lambda service: _service(service, seen[service.name], release, docker), release.services)
        )
    missing = missing_secrets(machine)
    return {
        "machine": machine.name,
        "address": machine.address,
        "state": state(machine, missing),
        "missing_secrets": missing,
        "release": machine.version,
        "services": services,
        "drifted": drifted(machine, release),
    }


def drifted(machine: Machine, release: Release) -> list[str]:
    """Return the units that are not, or no more, what the release has: edited by hand, or left by another one."""
    changes = units.plan(units.present_units(machine.units, machine.system), release.units, release.marker)
    return sorted([*changes.write, *changes.remove])


def missing_secrets(machine: Machine) -> list[str]:
    """Return the names in required-secrets that have no file."""
    try:
        required = (machine.config / "required-secrets").read_text().split()
    except FileNotFoundError:
        return []
    return [name for name in required if not (machine.secrets / name).is_file()]


def state(machine: Machine, missing: list[str]) -> str:
    """Return `waiting` (for secrets), else what the installer of this release has recorded, else `installing`."""
    if missing or not (machine.secrets / ".complete").exists():
        return "waiting"
    recorded = read_json(machine.install_record)
    return str(recorded["state"]) if recorded.get("release") == machine.version else "installing"


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
    answer = checks.ask(service.check, seen.container, docker, datetime.now(UTC))
    return ("passing" if answer.passing else "failing"), answer.reason


def _print(status: Mapping[str, Any]) -> None:
    say(f"{status['machine']} {status['address']}: {status['state']}, release {status['release']}")
    if status["missing_secrets"]:
        say(f"missing secrets: {', '.join(status['missing_secrets'])}")
    rows = [COLUMNS, *([str(service[column]) for column in COLUMNS] for service in status["services"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
