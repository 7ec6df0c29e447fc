"""What the registry holds, who needs it, and taking away what nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from argosy.cluster import operators
from argosy.config.loading import Settings
from argosy.engine.connection import connect, one_line, refusals
from argosy.errors import EngineError
from argosy.images.versions import INSTALLER, ReleaseInUse, Stored, plan_prune
from argosy.model import Step
from argosy.registry import access
from argosy.registry.container import read_only
from argosy.report import Report

TASK = "registry.prune"
CONFIG_IN_IMAGE = "/etc/docker/registry/config.yml"


@dataclass(frozen=True, slots=True)
class Row:
    """One version in the registry. `releases`: the releases that pin it, another cluster's as CLUSTER:VERSION;
    `cluster`: whose release it is itself."""

    name: str
    version: str
    digest: str
    size_bytes: int
    releases: tuple[str, ...]
    cluster: str = ""


def list_images(settings: Settings, report: Report, clusters: Collection[str] = ()) -> list[Row]:
    """Return every version of the system's images in the registry, newest first. `clusters`: others that use it."""
    with access.opened(settings) as registry:
        stored = access.everything_in(registry, settings, report, clusters)
    return rows_of(stored, settings.cluster)


def rows_of(stored: Sequence[Stored], cluster: str = "") -> list[Row]:
    """Return the rows for what the registry has, as `cluster` sees it. Pure."""
    pinned_by: dict[str, list[str]] = {}
    releases = [item for item in stored if item.name == INSTALLER]
    for release in sorted(releases, key=lambda item: (item.cluster, item.version)):
        others = f"{release.cluster}:" if release.cluster not in ("", cluster) else ""
        for pin in release.pins:
            pinned_by.setdefault(pin.digest, []).append(f"{others}{release.version}")
    ordered = sorted(stored, key=lambda item: item.version, reverse=True)
    return [
        Row(
            item.name,
            str(item.version),
            item.digest,
            item.size_bytes,
            tuple(pinned_by.get(item.digest, ())),
            item.cluster,
        )
        for item in sorted(ordered, key=lambda item: (item.name, item.cluster))
    ]


def plan(
    settings: Settings,
    report: Report,
    in_use: Collection[ReleaseInUse],
    running: Collection[str] = (),
    clusters: Collection[str] = (),
) -> list[Step]:
    """Return what `prune` would delete."""
    with access.opened(settings) as registry:
        gone = _gone(settings, access.everything_in(registry, settings, report, clusters), in_use, running)
    return [Step(item.name, f"delete {item.version}") for item in gone]


def prune(
    settings: Settings,
    report: Report,
    in_use: Collection[ReleaseInUse],
    running: Collection[str] = (),
    clusters: Collection[str] = (),
) -> list[Stored]:
    """Delete the versions that no kept release needs, then collect the garbage. Idempotent; returns what was deleted.

    `in_use`: the releases that machines run; `running`: the digests that scheduled services do; `clusters`: those that
    use the registry, whose releases are looked for where it does not list them. Kept are those, the
    newest `build.keep_versions` of each image (so as many releases to roll back to), all releases of other clusters,
    what the kept releases pin, and every etcd image: machines pin theirs in their own files. Raises Refused for an
    operator who has not the right to it.
    """
    operators.refuse_here(settings, TASK)
    with access.opened(settings) as registry:
        gone = _gone(settings, access.everything_in(registry, settings, report, clusters), in_use, running)
        for item in gone:
            registry.delete(access.as_image(settings, item).repository, item.digest)
            report(item.name, f"deleted {item.version}")
    if gone:
        collect_garbage(settings, report)
    else:
        report("registry", "nothing to prune")
    return gone


def _gone(
    settings: Settings, stored: Sequence[Stored], in_use: Collection[ReleaseInUse], running: Collection[str]
) -> list[Stored]:
    never, keep = {settings.etcd.image}, settings.build.keep_versions
    return plan_prune(stored, keep, in_use, never=never, running=running, cluster=settings.cluster)


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
