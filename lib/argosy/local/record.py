"""What a local cluster must remember between two runs: STATE/local.json, written before anything is made.

    {"bip": "172.18.42.1/16", "release": {"name": "installer", "repository": "air/installer", "version": "0.1.3",
     "digest": "sha256:..."}, "joining": "", "leaving": "",
     "maker": "vagrant"}

The machines that are wanted stand in machines.json (argosy.inventory).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from argosy import atomic
from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.local.makers.base import VAGRANT
from argosy.model import Image

FILE_NAME = "local.json"


@dataclass(frozen=True, slots=True)
class Record:
    """`bip`: of the engine inside each machine; `release`: what the machines were made to install, or were upgraded to
    since; `joining`, `leaving`: the name of the machine that is being added or removed, until that is done; `maker`:
    vagrant or engine, whichever made the machines."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    bip: str = ""
    release: Image | None = None
    joining: str = ""
    leaving: str = ""
    maker: str = ""


def load(settings: Settings) -> Record:
    """Return the record; an empty one when there is none. Raises ConfigError for a bad file."""
    path = _path(settings)
    if not path.exists():
        return Record()
    try:
        found = TypeAdapter(dict[str, Any]).validate_json(path.read_bytes())
        # One of before there was a choice names no maker.
        return TypeAdapter(Record).validate_python({"maker": VAGRANT, **found})
    except ValidationError:
        raise ConfigError("not what local.start wrote; `inv local.stop` removes it", str(path)) from None


def save(settings: Settings, record: Record) -> bool:
    """Write the record; return whether it changed."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    return atomic.write_if_changed(_path(settings), (json.dumps(asdict(record), indent=2) + "\n").encode())


def _path(settings: Settings) -> Path:
    return settings.state_path / FILE_NAME
