"""Build the images under `images:`, each after those it needs, independent ones in parallel."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from argosy.agent_package import agent_files
from argosy.build_context import WHEELHOUSE, BuildContext
from argosy.build_plan import select_images
from argosy.config import ImageSettings, Settings
from argosy.console import Report
from argosy.content_memo import ContentMemo
from argosy.engine_connection import connect
from argosy.engine_images import Streams, stored_images
from argosy.errors import ArgosyError, BuildFailed, Interrupted, Refused
from argosy.fanout import Outcomes, fan_out
from argosy.model import Step
from argosy.operations.build.versioning import (
    Built,
    Known,
    build_version,
    building,
    known_versions,
    read_series,
    state_folder,
)
from argosy.operations.registry.access import repository
from argosy.versions import newest_of
from argosy.wheelhouse import ensure_wheelhouse


def plan_images(settings: Settings, only: Collection[str] = ()) -> list[Step]:
    """Return what `build_images` would build, changing nothing. Whether it makes a version shows only the content."""
    read_series(settings)
    with connect() as client:
        newest = newest_of(stored_images(client, settings.system))
    steps = []
    for name in select_images(settings.images, only, newest):
        needs = sorted(set(settings.images[name].needs.values()))
        after = f", on {', '.join(needs)}" if needs else ""
        now = f"newest is {newest[name].version}" if name in newest else "no version yet"
        steps.append(Step(name, f"build {settings.images[name].context}{after} ({now})"))
    return steps


def build_images(settings: Settings, report: Report, only: Collection[str] = (), no_cache: bool = False) -> list[Built]:
    """Build and version the images, `only` some (and what they need of which there is no version), or all.

    Idempotent: what hasn't changed gets no new version. Raises BuildFailed when images failed; all others are done, and
    `log` holds the end of each failed build's output.
    """
    read_series(settings)
    with connect() as client, building(settings, client):
        newest = newest_of(stored_images(client, settings.system))
        names = select_images(settings.images, only, newest)
        pushed = [name for name in names if settings.images[name].push]
        builder = _Builder(
            settings,
            report,
            names,
            known=known_versions(client, settings, pushed, report),
            bases={name: f"{repository(settings, name)}:{stored.version}" for name, stored in newest.items()},
            no_cache=no_cache,
        )
        outcomes = fan_out(
            {name: name for name in names},
            builder.build,
            max_parallel=settings.build.max_parallel,
            what="build",
            cancel=builder.cancel,
        )
    return all_built(outcomes)


class _Builder:
    """Builds images by name, from several threads. An image waits for those it needs, which come before it."""

    def __init__(
        self,
        settings: Settings,
        report: Report,
        names: Collection[str],
        *,
        known: Known,
        bases: Mapping[str, str],
        no_cache: bool,
    ) -> None:
        self._settings = settings
        self._report = report
        self._known = known
        self._bases = dict(bases)
        self._no_cache = no_cache
        self._memo = ContentMemo(state_folder(settings))
        self._streams = Streams()
        self._ended = {name: threading.Event() for name in names}
        self._failed: set[str] = set()

    def build(self, name: str) -> Built:
        try:
            self._await_needs(name)
            built = self._build(name)
            self._bases[name] = built.reference
        except BaseException:
            self._failed.add(name)
            raise
        finally:
            self._ended[name].set()
        return built

    def cancel(self) -> None:
        """Stop the builds that run; those that wait don't begin."""
        self._streams.end()
        for event in self._ended.values():
            event.set()

    def _await_needs(self, name: str) -> None:
        for need in sorted(set(self._settings.images[name].needs.values())):
            if need in self._ended:
                self._ended[need].wait()
            if need in self._failed:
                raise Refused(f"{name}: not built, since it needs {need}")
        if self._streams.ended:
            raise Interrupted("interrupted")

    def _build(self, name: str) -> Built:
        image = self._settings.images[name]
        with self._streams.client() as client:
            return build_version(
                client,
                self._settings,
                self._report,
                name,
                image_context(self._settings, name, image),
                arguments={argument: self._bases[need] for argument, need in image.needs.items()},
                known=self._known.get(name, {}),
                memo=self._memo,
                no_cache=self._no_cache,
            )


def image_context(settings: Settings, name: str, image: ImageSettings) -> BuildContext:
    """Return the build context of an image, with its wheelhouse if it has one (fetched now if it wasn't before)."""
    files: dict[str, bytes | Path] = {}
    if image.wheels:
        cache = state_folder(settings) / "wheels"
        wheels = ensure_wheelhouse(settings.find(image.wheels), cache, name, image.wheels_python)
        files = {f"{WHEELHOUSE}/{wheel.name}": wheel for wheel in wheels}
    if image.agent:
        files |= agent_files()
    return BuildContext(settings.find(image.context), f"images.{name}", image.dockerfile, files)


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
