"""Bringing fleet's unit files in: reading them, and writing the definitions that they become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from argosy import atomic
from argosy.config.loading import Settings
from argosy.config.ports import machine_claims
from argosy.errors import ConfigError, Refused
from argosy.fleet.importing import Imported, import_units
from argosy.fleet.reading import Known
from argosy.fleet.report import printable, render_services
from argosy.model import Step

SSH_PORT = 22


def import_files(settings: Settings, files: Sequence[str]) -> Imported:
    """Return what the unit files become. An instance without a file is made of its template beside it, as fleetctl
    does it. Raises ConfigError for a file that can't be read."""
    if not files:
        raise ConfigError("give the unit files, such as web@.service web-discovery@.service", "files")
    return import_units({file: _read(Path(file)) for file in files}, known(settings))


def known(settings: Settings) -> Known:
    """Return what an import has to fit to. The ports of other services are theirs to change: `service.submit` tells."""
    taken: dict[str, set[int]] = {"tcp": {SSH_PORT}, "udp": set()}
    for claim in machine_claims(settings):
        if not claim.path.startswith(("services.", "scheduled.")):
            taken[claim.protocol].update(range(claim.first, claim.last + 1))
    machines = {name: machine.metadata for name, machine in settings.machines.items()}
    domain, services = settings.discovery.domain, settings.services
    http_port, tcp, udp = settings.discovery.ports.http, taken["tcp"], taken["udp"]
    return Known(settings.system, http_port, tcp, domain, services, settings.scheduled, machines, udp)


def check_output(output: Path, force: bool) -> None:
    """Refuse to write over a file, or into a folder that is not there."""
    if not output.parent.is_dir():
        raise ConfigError(f"there is no folder {output.parent}", "output")
    if output.exists() and not (force and output.is_file()):
        raise Refused(f"{output} is there already: give --force to write over it, or another --output")


def plan(imported: Imported, output: Path) -> list[Step]:
    """Return what `write` would do."""
    return [Step(str(output), f"write {', '.join(imported.services) or 'no service'}")]


def write(imported: Imported, output: Path, drafts: bool) -> None:
    """Write the definitions, in one step."""
    atomic.write(output, render_services(imported, drafts).encode())


def refusal(imported: Imported, output: Path | None) -> Refused:
    """Return the error for an import with refused units; those that were not stand in `output`."""
    refused = imported.refused
    rest = f"the others are in {output}" if output else "the others are translated"
    count = f"{len(refused)} of {len(imported.outcomes)} unit files refused"
    return Refused(printable(f"{count}, {rest}: {refused[0].refusals[0]}"))


def _read(path: Path) -> str:
    source = path if path.exists() else path.with_name(re.sub(r"@.*(\.\w+)$", r"@\1", path.name))
    try:
        return source.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"{printable(str(path))} can't be read: {error.strerror}", "files") from None
