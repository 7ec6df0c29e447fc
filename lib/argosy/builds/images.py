"""Build the images under `images:`, each after those it needs, independent ones in parallel."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from argosy.builds.own_modules import agent_files
from argosy.builds.plan import installer_image, select_images
from argosy.builds.requests import refuse_unbuildable, tell_builder
from argosy.builds.versioning import (
    Built,
    Known,
    Need,
    build_version,
    building,
    known_versions,
    read_series,
    state_folder,
)
from argosy.config.loading import ImageSettings, Settings
from argosy.engine.connection import connect
from argosy.errors import ArgosyError, BuildFailed, Interrupted, Refused
from argosy.fanout import Outcomes, fan_out
from argosy.images.builders import Builder, choose_builder
from argosy.images.context import WHEELHOUSE, BuildContext
from argosy.images.memo import ContentMemo
from argosy.images.repositories import on_engine
from argosy.images.store import Streams, stored_images
from argosy.images.versions import Stored, newest_of, of_cluster
from argosy.images.wheelhouse import ensure_wheelhouse, refuse_unpinned, wheelhouse_key
from argosy.model import Step
from argosy.providers import provider_of
from argosy.report import Report


def plan_images(settings: Settings, only: Collection[str] = ()) -> list[Step]:
    """Return what `build_images` would build, changing nothing. Whether it makes a version shows only the content."""
    read_series(settings)
    with connect() as client:
        newest = newest_of(of_cluster(stored_images(client, settings.system), settings.cluster))
        names = select_images(settings.images, only, newest)
        _refuse_unpinned(settings, names)
        refuse_unbuildable(client, settings, names, choose_builder(settings.build.builder))
    steps = []
    for name in names:
        needs = sorted(set(settings.images[name].needs.values()))
        after = f", on {', '.join(needs)}" if needs else ""
        now = f"newest is {newest[name].version}" if name in newest else "no version yet"
        steps.append(Step(name, f"build {settings.images[name].context}{after} ({now})"))
    return steps


def build_images(settings: Settings, report: Report, only: Collection[str] = (), no_cache: bool = False) -> list[Built]:
    """Build and version the images, `only` some (and what they need of which there is no version), or all.

    Idempotent: what hasn't changed gets no new version. Raises ConfigError for what the builder can't build, before
    anything is built; BuildFailed when images failed; all others are done, and
    `log` holds the end of each failed build's output.
    """
    read_series(settings)
    with connect() as client, building(settings, client):
        newest = newest_of(of_cluster(stored_images(client, settings.system), settings.cluster))
        names = select_images(settings.images, only, newest)
        _refuse_unpinned(settings, names)
        chosen = tell_builder(client, settings, report)
        refuse_unbuildable(client, settings, names, chosen)
        pushed = [name for name in names if settings.images[name].push]
        builder = _Builder(
            settings,
            report,
            names,
            chosen,
            known=known_versions(client, settings, pushed, report),
            bases={name: need_of(settings, stored) for name, stored in newest.items()},
            no_cache=no_cache,
            fetch=_needed_here(settings, names, only),
        )
        outcomes = fan_out(
            {name: name for name in names},
            builder.build,
            max_parallel=settings.build.max_parallel,
            what="build",
            cancel=builder.cancel,
        )
    return all_built(outcomes)


def _refuse_unpinned(settings: Settings, names: Collection[str]) -> None:
    for name in names:
        if settings.images[name].wheels:
            refuse_unpinned(settings.find(settings.images[name].wheels), name)


@dataclass
class _Builder:
    """Builds images by name, from several threads. An image waits for those it needs, which come before it."""

    settings: Settings
    report: Report
    names: Collection[str]
    builder: Builder
    known: Known
    bases: dict[str, Need]
    no_cache: bool
    fetch: Collection[str]

    def __post_init__(self) -> None:
        self._memo = ContentMemo(state_folder(self.settings))
        self._streams = Streams()
        self._ended = {name: threading.Event() for name in self.names}
        self._failed: set[str] = set()

    def build(self, name: str) -> Built:
        try:
            self._await_needs(name)
            built = self._build(name)
            self.bases[name] = Need(name, built.version, built.reference, built.identity)
        except BaseException:
            self._failed.add(name)
            raise
        finally:
            self._ended[name].set()
        return built

    def cancel(self) -> None:
        """Stop the builds that run; those that wait don't begin."""
        self._streams.end()
        self.builder.end()
        for event in self._ended.values():
            event.set()

    def _await_needs(self, name: str) -> None:
        for need in sorted(set(self.settings.images[name].needs.values())):
            if need in self._ended:
                self._ended[need].wait()
            if need in self._failed:
                raise Refused(f"{name}: not built, since it needs {need}")
        if self._streams.ended:
            raise Interrupted("interrupted")

    def _build(self, name: str) -> Built:
        image = self.settings.images[name]
        with self._streams.client() as client:
            return build_version(
                client,
                self.settings,
                self.report,
                name,
                image_context(self.settings, name, image),
                builder=self.builder,
                needs={argument: self.bases[need] for argument, need in image.needs.items()},
                known=self.known,
                memo=self._memo,
                no_cache=self.no_cache,
                fetch=self.fetch,
            )


def need_of(settings: Settings, stored: Stored) -> Need:
    """Return a version on this engine as something that another image is built on."""
    reference = f"{on_engine(settings, stored.name)}:{stored.version}"
    return Need(stored.name, str(stored.version), reference, stored.identity)


def _needed_here(settings: Settings, names: Collection[str], only: Collection[str]) -> set[str]:
    """Return the images that this host itself uses, or that were asked for by name: they are pulled where the registry
    has them already. The others are only in the way of who builds for machines elsewhere."""
    if provider_of(settings).machines_here:
        return set(names)
    return {*only, *installer_image(settings.images).needs.values()}


def image_context(settings: Settings, name: str, image: ImageSettings) -> BuildContext:
    """Return the build context of an image, with its wheelhouse if it has one (fetched now if it wasn't before)."""
    files: dict[str, bytes | Path] = {}
    packages = ""
    if image.wheels:
        cache = state_folder(settings) / "wheels"
        requirements = settings.find(image.wheels)
        packages = wheelhouse_key(requirements, name, image.wheels_python)
        wheels = ensure_wheelhouse(requirements, cache, name, image.wheels_python)
        files = {f"{WHEELHOUSE}/{wheel.name}": wheel for wheel in wheels}
    if image.agent:
        files |= agent_files()
    return BuildContext(settings.find(image.context), f"images.{name}", image.dockerfile, files, packages)


def all_built(outcomes: Outcomes[Built]) -> list[Built]:
    """Return what was built. Raises BuildFailed, or the error itself when it isn't about one image's build."""
    failures = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    if not failures:
        return [outcome.get() for outcome in outcomes.values()]
    causes = {name: error for name, error in failures.items() if not isinstance(error, Refused)}
    first = next(iter(causes.values()))
    waiting = [name for name in failures if name not in causes]
    skipped = f"; not built, since they need it: {', '.join(waiting)}" if waiting else ""
    if len(causes) == 1 and isinstance(first, ArgosyError):
        if isinstance(first, BuildFailed):
            raise BuildFailed(f"{first}{skipped}", first.log)
        raise first
    if not all(isinstance(error, ArgosyError) for error in causes.values()):
        raise first
    logs = [f"{name}:\n{error.log}" for name, error in causes.items() if isinstance(error, BuildFailed) and error.log]
    reasons = "; ".join(str(error) for error in causes.values())
    raise BuildFailed(f"{len(causes)} of {len(outcomes)} images failed: {reasons}{skipped}", "\n\n".join(logs))
