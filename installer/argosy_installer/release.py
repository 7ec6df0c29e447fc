"""What the release says: /release/release.json the units and the templates beside it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy_installer.errors import Failed
from argosy_installer.machine import Machine


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
    """`cluster`: empty for one of before releases named theirs. `services`: in start order; `elsewhere`: the names of
    those that only other machines run. `marker`: the first line of every unit of ours. `units`: file name -> content.
    `keys`: what the first machine writes to etcd beside the settings. `templates`: path below templates/ -> content.
    """

    system: str
    cluster: str
    marker: str
    pull_attempts: int
    deadline_seconds: float
    keys: Mapping[str, str]
    images: Mapping[str, Image]
    services: tuple[Service, ...]
    elsewhere: tuple[str, ...]
    units: Mapping[str, str]
    templates: Mapping[str, bytes]


def load_own(machine: Machine) -> Release:
    """Return the release that is to be installed. Raises Failed when it is not one of the machine's own cluster."""
    release = load(machine.release, machine.name)
    if (release.system, release.cluster) != (machine.system, machine.cluster):
        raise Failed.because(
            f"release {machine.version} is of the cluster {release.cluster or 'nobody'} of {release.system}, and this "
            f"machine of the cluster {machine.cluster} of {machine.system}: nothing was changed; see inv release.list"
        )
    return release


def load(folder: Path, machine: str) -> Release:
    """Return the release in `folder`, of it what the machine runs."""
    document = json.loads((folder / "release.json").read_text())
    texts = {path.name: path.read_text() for path in sorted((folder / "units").glob("*.service"))}
    return parse(document, texts, read_tree(folder / "templates"), machine)


def parse(
    document: Mapping[str, Any], units: Mapping[str, str], templates: Mapping[str, bytes], machine: str
) -> Release:
    """Return the release that release.json and the files beside it describe, of it what the machine runs."""
    other = {entry["name"] for entry in document["services"] if machine not in entry.get("machines", (machine,))}
    services = [_service(entry, other) for entry in document["services"] if entry["name"] not in other]
    theirs = {entry["unit"] for entry in document["services"] if entry["name"] in other}
    return Release(
        system=document["system"],
        cluster=document.get("cluster", ""),
        marker=document["marker"],
        pull_attempts=document["pull_attempts"],
        deadline_seconds=document["deadline_seconds"],
        keys=document["keys"],
        images={name: Image(**image) for name, image in document["images"].items()},
        services=tuple(services),
        elsewhere=tuple(sorted(other)),
        units={name: text for name, text in units.items() if name not in theirs},
        templates=templates,
    )


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return the files below `folder` by their paths in it; none when there is no such folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _service(entry: Mapping[str, Any], elsewhere: Collection[str]) -> Service:
    return Service(
        name=entry["name"],
        unit=entry["unit"],
        image=entry["image"],
        revision=entry["revision"],
        requires=tuple(name for name in entry["requires"] if name not in elsewhere),
        check=_check(entry["check"]),
        grace_seconds=entry["stop"]["grace_seconds"],
        console=tuple(entry["console"]),
        shell=tuple(entry["shell"]),
    )


def _check(entry: Mapping[str, Any]) -> Check:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return Check(**values)
