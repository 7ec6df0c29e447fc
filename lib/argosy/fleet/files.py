"""Bringing fleet's unit files in: reading them, and writing the definitions that they become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from argosy import atomic
from argosy.config import Settings
from argosy.errors import ConfigError, Refused
from argosy.fleet.endpoints import RouterPorts
from argosy.fleet.grouping import GivenUnit
from argosy.fleet.importing import Known, import_units
from argosy.fleet.outcomes import Imported
from argosy.fleet.report import printable, render_services
from argosy.fleet.unit_name import UnitName
from argosy.model import Step

GOSSIP_PORT, OVERLAY_PORT = 7946, 4789
"""Swarm's own, between machines: https://docs.docker.com/engine/swarm/swarm-tutorial/#open-protocols-and-ports-between-the-hosts"""
SSH_PORT = 22


def import_files(settings: Settings, files: Sequence[str]) -> Imported:
    """Return what the unit files become. An instance whose file lacks is made of its template beside it, as fleetctl
    does it. Raises ConfigError for a file that can't be read."""
    if not files:
        raise ConfigError("give the unit files, such as web@.service web-discovery@.service", "files")
    return import_units([_read(Path(file)) for file in files], known(settings))


def known(settings: Settings) -> Known:
    """Return what an import has to fit to."""
    ports = settings.discovery.ports
    taken = {port for _, port in ports if isinstance(port, int)}
    taken |= {*range(ports.forwards.first, ports.forwards.last + 1)}
    taken |= {settings.etcd.client_port, settings.etcd.peer_port, settings.swarm.port}
    taken |= {GOSSIP_PORT, OVERLAY_PORT, SSH_PORT}
    return Known(
        settings.system,
        RouterPorts(ports.http, frozenset(taken)),
        settings.discovery.domain,
        tuple(settings.services),
        tuple(settings.scheduled),
        {name: machine.metadata for name, machine in settings.machines.items()},
    )


def check_output(output: Path, force: bool) -> None:
    """Refuse to write over a file, or into a folder that is not there."""
    if not output.parent.is_dir():
        raise ConfigError(f"there is no folder {output.parent}", "output")
    if output.exists() and not (force and output.is_file()):
        raise Refused(f"{output} is there already: give --force to write over it, or another --output")


def plan(imported: Imported, output: Path) -> list[Step]:
    """Return what `write` would do."""
    what = f"write {', '.join(imported.services)}" if imported.services else "write no service"
    return [Step(str(output), what)]


def write(imported: Imported, output: Path) -> None:
    """Write the definitions, in one step."""
    atomic.write(output, render_services(imported).encode())


def refusal(imported: Imported, output: Path | None) -> Refused:
    """Return the error for an import with refused units; those that were not stand in `output`."""
    refused = imported.refused
    first = next((it for outcome in refused for it in outcome.refusals), None)
    rest = f"the others are in {output}" if output else "the others are translated"
    message = f"{len(refused)} of {len(imported.outcomes)} unit files refused, {rest}: {first}"
    return Refused(printable(message))


def _read(path: Path) -> GivenUnit:
    source = path
    if not path.exists():
        template = _template(path)
        if template is not None and template.is_file():
            source = template
    try:
        return GivenUnit(str(path), path.name, source.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError as error:
        raise ConfigError(f"{printable(str(path))} can't be read: {error.strerror}", "files") from None


def _template(path: Path) -> Path | None:
    try:
        return path.with_name(str(UnitName.parse(path.name).template))
    except ValueError:
        return None
