"""`gce.auth` and `gce.newest-image`: whether Google lets us in and lets us do it, and what it would boot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from argosy.config.gce import GceImage
from argosy.config.loading import Settings
from argosy.errors import ArgosyError, CloudError, ConfigError, Refused
from argosy.gce.compute.client import Compute
from argosy.gce.compute.rights import credentials_of, missing_rights
from argosy.gce.plan.names import Document, last


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold. `fix`: what to do where it does not."""

    name: str
    ok: bool
    said: str

    def row(self) -> list[str]:
        return [self.name, "ok" if self.ok else "FAILS", self.said]


def check(settings: Settings) -> list[Check]:
    """Return the checks, in order, up to the first that fails: those after it could not be told."""
    done: list[Check] = []
    for name, ask in _checks(settings):
        try:
            done.append(Check(name, True, ask()))
        except ArgosyError as error:
            return [*done, Check(name, False, str(error))]
    return done


def _checks(settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield each check's name, and what says that it holds or raises an error that says why not."""
    gce = settings.gce
    yield "credentials", lambda: credentials_of(settings).who
    yield "gce.project", lambda: gce.project or _refuse(f"not set: give it in invoke.yaml{_hint(settings)}")
    yield "gce.zone", lambda: gce.zone or _refuse("not set: give it in invoke.yaml")
    with Compute.opened(settings) as compute:
        unknown = f"there is no project {gce.project}, or none that you may see"
        yield "project and API", lambda: _name_of(compute.project()) or _refuse(unknown)
        no_zone = f"there is no zone {gce.zone}: gcloud compute zones list"
        yield "zone", lambda: _name_of(compute.zone()) or _refuse(no_zone)
    yield "rights", lambda: _rights(settings)


def _hint(settings: Settings) -> str:
    project = credentials_of(settings).project
    return f" ({project} by the credentials)" if project else ""


def _name_of(found: Document | None) -> str:
    return str(found["name"]) if found else ""


def _rights(settings: Settings) -> str:
    missing = missing_rights(settings, credentials_of(settings))
    if missing:
        _refuse(f"missing: {', '.join(missing)}: ask for roles/compute.admin and roles/iam.serviceAccountUser")
    return "all that the tasks need"


def _refuse(why: str) -> NoReturn:
    raise CloudError(why)


def newest_image(settings: Settings, type_name: str) -> str:
    """Return the name of the image that a new server of the type would boot. Raises Refused when there is none."""
    image: GceImage = settings.gce.type_named(type_name).image
    with Compute.opened(settings) as compute:
        found = (
            compute.image(image.project, image.name)
            if image.name
            else compute.newest_image(image.project, image.family)
        )
    if found is None:
        what = image.name or f"family {image.family}"
        raise Refused(f"{image.project} has no image of {what}: correct gce.types.{type_name}.image")
    return last(str(found["selfLink"]))


def refuse_failing(checks: list[Check]) -> None:
    """Raise the failing check as an error: ConfigError for a missing setting, CloudError for all else."""
    for one in checks:
        if not one.ok and one.name.startswith("gce."):
            raise ConfigError(one.said, one.name)
        if not one.ok:
            raise CloudError(f"{one.name}: {one.said}")
