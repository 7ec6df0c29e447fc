"""The definitions of scheduled services: those of the configuration, and of a file of the same shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from argosy.config import ScheduledSettings, Settings, load_scheduled
from argosy.errors import ConfigError
from argosy.scheduling import chosen


@dataclass(frozen=True, slots=True)
class Definitions:
    """`every`: all that there are, the file's before the configuration's; `names`: those that are meant."""

    every: Mapping[str, ScheduledSettings]
    names: tuple[str, ...]


def read(settings: Settings, names: Sequence[str], *, file: str = "", everything: bool = False) -> Definitions:
    """Return the definitions that a command is about: those named, all with `everything`, and with a file and no names
    all of the file. Raises ConfigError."""
    own = _of_file(settings, file) if file else {}
    every = {**settings.scheduled, **own}
    wanted = list(own) if file and not names and not everything else list(names)
    return Definitions(every, tuple(chosen(wanted, every, everything)))


def _of_file(settings: Settings, file: str) -> dict[str, ScheduledSettings]:
    try:
        document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", file) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"no YAML: {' '.join(str(error).split())}", file) from None
    return load_scheduled(settings, document, file)
