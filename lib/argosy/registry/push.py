"""Upload to the registry what it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from argosy import console
from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.errors import ConfigError, Refused, RegistryError, nearest
from argosy.fanout import fan_out
from argosy.images.repositories import registry_prefix, repository
from argosy.images.store import Streams, stored_images, tag, untag
from argosy.images.store import push as push_image
from argosy.images.versions import INSTALLER, Stored, last_versions, newest_of, of_cluster
from argosy.model import Image, Step
from argosy.registry import access
from argosy.registry.client import Registry
from argosy.registry.trust import trust_registry
from argosy.report import Report

PROGRESS_SECONDS = 2.0
MEGABYTE = 1_000_000


def plan_push(settings: Settings, only: Collection[str] = ()) -> list[Step]:
    """Return what `push` would do, changing nothing."""
    with access.opened(settings) as registry:
        missing = _missing(registry, settings, _candidates(settings, only))
        unfit = {item: _absent_pin(registry, settings, item, missing) for item in missing}
    return [Step(item.name, unfit[item] or f"push {item.version} to {registry.address}") for item in missing]


def push(settings: Settings, report: Report, only: Collection[str] = ()) -> list[Image]:
    """Upload those of the last versions here that the registry lacks, and return them. Idempotent.

    `only`: names of images; all that machines need when empty. A service's image goes before the release that pins it;
    of the releases here, only this cluster's go.
    Raises RegistryError when an upload failed; the others are done.
    """
    with access.opened(settings) as registry:
        registry.check()
        candidates = _candidates(settings, only)
        if not only or INSTALLER in only:
            _tell_others(settings, report)
        missing = _missing(registry, settings, candidates)
        if missing:
            trust_registry(settings, report)
        pushed = _push_all(registry, settings, report, [item for item in missing if item.name != INSTALLER])
        releases = [item for item in missing if item.name == INSTALLER]
        newest = newest_of(candidates).get(INSTALLER)
        pushed += _push_all(registry, settings, report, _fitting(registry, settings, releases, newest, report))
    if not pushed:
        report("registry", "nothing to push: it has every version that is here")
    return pushed


def _candidates(settings: Settings, only: Collection[str]) -> list[Stored]:
    """Return the versions here that belong into the registry: the last ones of each image that machines need."""
    names = access.pushed_names(settings)
    for name in only:
        if name not in names:
            known = nearest(name, dict.fromkeys(names))
            raise ConfigError(f"{name!r} is no image that goes to the registry{known}", "only")
    with connect() as client:
        everything = stored_images(client, settings.system)
    here = of_cluster(everything, settings.cluster)
    last = last_versions(here, settings.build.keep_versions)
    chosen = [item for item in here if item.name in (only or names) and (item.name, item.version) in last]
    for name in only:
        if name == INSTALLER and not any(item.name == name for item in chosen):
            others = ", ".join(sorted({f"{item.cluster or 'nobody'}'s" for item in everything if item.name == name}))
            there = f" ({others} is not pushed)" if others else ""
            raise Refused(f"no release of the cluster {settings.cluster} is here{there}: inv build.installer")
        if not any(item.name == name for item in chosen):
            raise Refused(f"no version of {name} is here: inv build.images --only {name}")
    return sorted(chosen, key=lambda item: (item.name, item.version))


def _tell_others(settings: Settings, report: Report) -> None:
    """Tell which clusters' releases are here, too, where this one has none that is newer."""
    with connect() as client:
        here = [item for item in stored_images(client, settings.system) if item.name == INSTALLER]
    newest = max((item.version for item in here if item.cluster == settings.cluster), default=None)
    for cluster in sorted({item.cluster for item in here if newest is None or item.version > newest}):
        whose = f"of {cluster} (to have one: inv release.promote)" if cluster else "without a cluster"
        report(INSTALLER, f"not pushed: releases {whose}")


def _missing(registry: Registry, settings: Settings, candidates: list[Stored]) -> list[Stored]:
    """Return the candidates that the registry lacks, oldest first."""
    there = {name: access.versions_in(registry, settings, name) for name in {item.name for item in candidates}}
    for item in newest_of(candidates).values():
        if item.version in there[item.name]:
            _refuse_other_content(registry, settings, item)
    return [item for item in candidates if item.version not in there[item.name]]


def _fitting(
    registry: Registry, settings: Settings, releases: list[Stored], newest: Stored | None, report: Report
) -> list[Stored]:
    """Return the releases whose images are all in the registry. Raises RegistryError when `newest` isn't one.

    Older ones than the newest, when that is there already, will never fit, and are no news.
    """
    fitting = []
    for item in releases:
        absent = _absent_pin(registry, settings, item)
        if not absent:
            fitting.append(item)
        elif item == newest:
            raise RegistryError(f"{item.name} {item.version}: {absent}: `inv build.installer` makes one that fits")
        elif newest in releases:
            report(item.name, f"{item.version}: {absent}")
    return fitting


def _refuse_other_content(registry: Registry, settings: Settings, item: Stored) -> None:
    """Two build servers that don't see each other may give one number to two contents: never hide one by the other."""
    found = access.read_version(registry, settings, item.name, item.version)
    if found and item.content != found.content:
        again = "inv build.installer" if item.name == INSTALLER else f"inv build.images --only {item.name}"
        raise RegistryError(
            f"{item.name} {item.version}: the registry has other content under this version: "
            f"`{again}`, now that the registry can be reached, gives yours the next one"
        )


def _absent_pin(registry: Registry, settings: Settings, release: Stored, coming: Collection[Stored] = ()) -> str:
    """Return why a release can't be pushed: an image it pins is not in the registry and not `coming`; or nothing.

    A new registry may give the same image another digest: layers are compressed at each push.
    """
    arriving = {(item.name, str(item.version)) for item in coming}
    for pin in release.pins:
        where = repository(registry_prefix(settings), pin.name)
        if (pin.name, pin.version) not in arriving and not registry.digest(where, pin.digest):
            return f"not pushed: it pins {pin.name} {pin.version} by a digest that this registry lacks"
    return ""


def _push_all(registry: Registry, settings: Settings, report: Report, items: list[Stored]) -> list[Image]:
    if not items:
        return []
    streams = Streams()
    outcomes = fan_out(
        {f"{item.name}:{item.version}": item for item in items},
        lambda item: _push_one(registry, settings, report, streams, item),
        max_parallel=settings.build.max_parallel,
        cancel=streams.end,
    )
    failures = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        reasons = "; ".join(str(error) for error in failures.values())
        raise RegistryError(f"{len(failures)} of {len(items)} images could not be pushed: {reasons}")
    return [outcome.get() for outcome in outcomes.values()]


def _push_one(registry: Registry, settings: Settings, report: Report, streams: Streams, item: Stored) -> Image:
    image = access.as_image(settings, item)
    where = f"{registry.address}/{image.repository}"
    reference = f"{where}:{image.version}"
    credentials = access.own_login(settings).for_engine()
    started = time.monotonic()
    with streams.client() as client:
        tag(client, item.digest, where, image.version)
        try:
            digests = push_image(client, reference, credentials, _progress(report, item.name))
        finally:
            with connect() as clean:  # the stream's own client may just have been cut off
                untag(clean, reference)
    digest = registry.digest(image.repository, image.version)
    if not digest:
        raise RegistryError(f"{reference}: the registry has nothing there after the push: is the engine being stopped?")
    if digest not in digests:
        ours = ", ".join(sorted(digests)) or "nothing that the engine knows of"
        raise RegistryError(f"{reference}: pushed as {ours}, but the registry now has {digest} there")
    report(item.name, f"pushed {image.version} ({time.monotonic() - started:.1f} s)")
    return Image(image.name, image.repository, image.version, digest)


def _progress(report: Report, name: str) -> Callable[[int, int], None]:
    """Return what reports progress: a line in PROGRESS_SECONDS at most, and where nobody watches one in all."""
    last = time.monotonic()
    told = False

    def tell(done: int, total: int) -> None:
        nonlocal last, told
        if time.monotonic() - last >= PROGRESS_SECONDS and (console.watched() or not told):
            last, told = time.monotonic(), True
            report(name, f"pushing {done / MEGABYTE:.0f} of {total / MEGABYTE:.0f} MB")

    return tell
