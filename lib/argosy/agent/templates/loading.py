"""The folder of the resources, conf.d/**/*.toml and templates/, on a machine or in the system's repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from argosy.agent.templates.functions import ResourceTemplate
from argosy.agent.templates.resources import TEMPLATES, Problem, Resource, ResourceSet, is_resource, parse_set

CURRENT = "current"
"""The link in the folder to the files of the release at hand; the installer turns it in one step."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in the folder, ready to render, and what is not and why."""

    resources: tuple[tuple[Resource, ResourceTemplate], ...]
    problems: tuple[Problem, ...]


def load(folder: Path, files: PurePosixPath, facts: Mapping[str, str]) -> Loaded:
    """Return the resources in `folder`, or in its link `current` if it has one. No folder means no resources.

    `files`: the folder of the files; `facts`: see `ResourceTemplate`. What can't be read or understood is a problem.
    """
    try:
        found = parse_set(read_files(_current(folder)), files)
    except OSError as error:
        found = ResourceSet(problems=(Problem("", f"{error.filename or folder} can't be read: {error.strerror}"),))
    sources = found.sources
    return Loaded(
        tuple((resource, ResourceTemplate(resource, sources, facts)) for resource in found.resources), found.problems
    )


def read_files(folder: Path) -> dict[str, bytes]:
    """Return what resources are made of, conf.d/**/*.toml and all below templates/ but hidden files. Raises OSError."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in _paths(folder)}


def fingerprint(folder: Path) -> object:
    """Return something that is another after any change of the files."""
    try:
        found = [(str(path), path.stat()) for path in _paths(_current(folder))]
    except OSError as error:
        return str(error)
    return [(name, one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in found]


def _current(folder: Path) -> Path:
    return folder / CURRENT if (folder / CURRENT).is_dir() else folder


def _paths(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("conf.d/**/*.toml") if is_resource(str(path.relative_to(folder)))]
    found += [path for path in folder.glob(f"{TEMPLATES}**/*") if not _hidden(path.relative_to(folder))]
    return sorted(path for path in found if path.is_file())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith("~") for part in path.parts)
