"""What the registry holds, who needs it, and taking away what nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import connect, one_line, refusals
from argosy.errors import EngineError
from argosy.model import Step
from argosy.operations.registry import access
from argosy.operations.registry.container import read_only
from argosy.versions import INSTALLER, Stored, plan_prune

CONFIG_IN_IMAGE = "/etc/docker/registry/config.yml"


@dataclass(frozen=True, slots=True)
class Row:
    """One version in the registry. `releases`: the releases that pin it."""

    name: str
    version: str
    digest: str
    size_bytes: int
    releases: tuple[str, ...]


def list_images(settings: Settings) -> list[Row]:
    """Return every version of the system's images in the registry, newest first."""
    with access.opened(settings) as registry:
        stored = access.everything_in(registry, settings)
    return rows_of(stored)


def rows_of(stored: Sequence[Stored]) -> list[Row]:
    """Return the rows for what the registry has. Pure."""
    pinned_by: dict[str, list[str]] = {}
    for release in sorted((item for item in stored if item.name == INSTALLER), key=lambda item: item.version):
        for pin in release.pins:
            pinned_by.setdefault(pin.digest, []).append(str(release.version))
    ordered = sorted(stored, key=lambda item: item.version, reverse=True)
    return [
        Row(item.name, str(item.version), item.digest, item.size_bytes, tuple(pinned_by.get(item.digest, ())))
        for item in sorted(ordered, key=lambda item: item.name)
    ]


def plan(settings: Settings, in_use: Collection[str], running: Collection[str] = ()) -> list[Step]:
    """Return what `prune` would delete."""
    with access.opened(settings) as registry:
        gone = _gone(settings, access.everything_in(registry, settings), in_use, running)
    return [Step(item.name, f"delete {item.version}") for item in gone]


def prune(settings: Settings, report: Report, in_use: Collection[str], running: Collection[str] = ()) -> list[Stored]:
    """Delete the versions that no kept release needs, then collect the garbage. Idempotent; returns what was deleted.

    `in_use`: the releases that machines run; `running`: the digests that scheduled services do. Kept are those, the
    newest `build.keep_versions` of each image (so as many releases to roll back to), what the kept releases pin, and
    every etcd image: machines pin theirs in their own files.
    """
    with access.opened(settings) as registry:
        gone = _gone(settings, access.everything_in(registry, settings), in_use, running)
        for item in gone:
            registry.delete(access.repository(settings, item.name), item.digest)
            report(item.name, f"deleted {item.version}")
    if gone:
        collect_garbage(settings, report)
    else:
        report("registry", "nothing to prune")
    return gone


def _gone(
    settings: Settings, stored: Sequence[Stored], in_use: Collection[str], running: Collection[str]
) -> list[Stored]:
    return plan_prune(stored, settings.build.keep_versions, in_use, never={settings.etcd.image}, running=running)


def collect_garbage(settings: Settings, report: Report) -> None:
    """Free the space of deleted images. Our registry is read-only meanwhile, since an upload could lose layers.

    https://distribution.github.io/distribution/about/garbage-collection/
    """
    with connect() as client, read_only(settings, client) as name:
        if name is None:
            report("registry", "not ours on this host: its own garbage collection frees the space")
            return
        with refusals(name):
            done = client.containers.get(name).exec_run(["docker-registry", "garbage-collect", CONFIG_IN_IMAGE])
        if done.exit_code != 0:
            last = one_line(str(done.output, errors="replace")[-300:]) if isinstance(done.output, bytes) else ""
            raise EngineError(f"{name}: the garbage collection ended with {done.exit_code}: {last}")
    report("registry", "garbage collected")
