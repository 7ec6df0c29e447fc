"""Machines from a pool: a file with a line `NAME ADDRESS` for each machine that clusters may take."""

from __future__ import annotations

from argosy import atomic
from argosy.config.loading import MachineEntry, Settings, own_settings
from argosy.config.types import Section
from argosy.errors import ConfigError
from argosy.model import File, Machine, Unit
from argosy.paths import Names
from argosy.providers import Provider

UNIT = """\
[Unit]
Description=Say where this machine is from

[Service]
Type=oneshot
ExecStart=/bin/cat {file}

[Install]
WantedBy=multi-user.target
"""


class PoolSettings(Section):
    """What stands under `providers:`, `pool:`. `file`: the list, seen from the folder of tasks.py."""

    file: str = "pool.txt"


class Pool(Provider):
    """Machines are known by their names in the list; one that leaves its cluster is struck off."""

    def complete(self, settings: Settings) -> Settings:
        listed = {name: MachineEntry(address=address) for name, address in (line.split() for line in _lines(settings))}
        return settings.model_copy(update={"machines": {**listed, **settings.machines}})

    def extra_files(self, settings: Settings, machine: Machine) -> list[File]:
        return [File(_origin(settings), f"{machine.name} of the pool\n")]

    def extra_units(self, settings: Settings, machine: Machine) -> list[Unit]:
        content = UNIT.format(file=_origin(settings))
        return [Unit(f"{settings.system}-origin.service", content, enabled=True, started=True)]

    def reclaim(self, settings: Settings, machine: Machine) -> None:
        left = [line for line in _lines(settings) if line.split()[0] != machine.name]
        path = settings.root / own_settings(settings, PoolSettings).file
        atomic.write_if_changed(path, "".join(f"{line}\n" for line in left).encode())


def _lines(settings: Settings) -> list[str]:
    file = own_settings(settings, PoolSettings).file
    try:
        lines = (settings.root / file).read_text().splitlines()
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}", "providers.pool.file") from None
    for line in lines:
        if len(line.split()) != 2:
            raise ConfigError(f"{file} has the line {line!r}, which is not NAME ADDRESS", "providers.pool.file")
    return lines


def _origin(settings: Settings) -> str:
    return f"{Names(settings.system).config}/origin"
