"""What the release says: /release/release.json the units and the templates beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Image:
    repository: str
    version: str
    digest: str

    def reference(self, registry: str) -> str:
        return f"{registry}/{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Check:
    """`kind`: http, tcp, command or none. `address`: empty means the container's own."""

    kind: str
    deadline_seconds: float
    timeout_seconds: float
    address: str = ""
    port: int = 0
    path: str = "/"
    status: tuple[int, ...] = (200,)
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """`revision`: the label argosy.revision of a container that runs what the unit says."""

    name: str
    unit: str
    image: str
    revision: str
    requires: tuple[str, ...]
    check: Check
    grace_seconds: float
    console: tuple[str, ...]
    shell: tuple[str, ...]


@dataclass(frozen=True)
class Release:
    """`services`: in start order. `marker`: the first line of every unit of ours. `units`: file name -> content.
    `keys`: what the first machine writes to etcd beside the settings. `templates`: path below templates/ -> content."""

    system: str
    marker: str
    pull_attempts: int
    deadline_seconds: float
    keys: Mapping[str, str]
    images: Mapping[str, Image]
    services: tuple[Service, ...]
    units: Mapping[str, str]
    templates: Mapping[str, bytes]


def load(folder: Path) -> Release:
    """Return the release in `folder`."""
    document = json.loads((folder / "release.json").read_text())
    return Release(
        system=document["system"],
        marker=document["marker"],
        pull_attempts=document["pull_attempts"],
        deadline_seconds=document["deadline_seconds"],
        keys=document["keys"],
        images={name: Image(**image) for name, image in document["images"].items()},
        services=tuple(_service(entry) for entry in document["services"]),
        units={path.name: path.read_text() for path in sorted((folder / "units").glob("*.service"))},
        templates=read_tree(folder / "templates"),
    )


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return the files below `folder` by their paths in it; none when there is no such folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _service(entry: Mapping[str, Any]) -> Service:
    return Service(
        name=entry["name"],
        unit=entry["unit"],
        image=entry["image"],
        revision=entry["revision"],
        requires=tuple(entry["requires"]),
        check=_check(entry["check"]),
        grace_seconds=entry["stop"]["grace_seconds"],
        console=tuple(entry["console"]),
        shell=tuple(entry["shell"]),
    )


def _check(entry: Mapping[str, Any]) -> Check:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return Check(**values)
