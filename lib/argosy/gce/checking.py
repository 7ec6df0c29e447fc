"""`gce.auth` and `gce.newest-image`: whether Google lets us in and lets us do it, and what it would boot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from argosy.compute import Compute, credentials_of, missing_rights
from argosy.config import Settings
from argosy.errors import ArgosyError, CloudError, ConfigError, Refused
from argosy.gce.names import last
from argosy.gce_settings import GceImage


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
    for one in _checks(settings):
        done.append(one)
        if not one.ok:
            break
    return done


def _checks(settings: Settings) -> Iterator[Check]:
    try:
        credentials = credentials_of(settings)
    except ArgosyError as error:
        yield Check("credentials", False, str(error))
        return
    yield Check("credentials", True, credentials.who)
    for key in ("project", "zone"):
        hint = f" ({credentials.project} by the credentials)" if key == "project" and credentials.project else ""
        value = getattr(settings.gce, key)
        yield Check(f"gce.{key}", bool(value), value or f"not set: give it in invoke.yaml{hint}")
    with Compute.opened(settings) as compute:
        for name, ask, absent in (
            (
                "project and API",
                compute.project,
                f"there is no project {settings.gce.project}, or none that you may see",
            ),
            ("zone", compute.zone, f"there is no zone {settings.gce.zone}: gcloud compute zones list"),
        ):
            try:
                found = ask()
            except CloudError as error:
                yield Check(name, False, str(error))
                return
            yield Check(name, found is not None, str(found["name"]) if found else absent)
    try:
        missing = missing_rights(settings, credentials)
    except CloudError as error:
        yield Check("rights", False, str(error))
        return
    said = f"missing: {', '.join(missing)}: ask for roles/compute.admin and roles/iam.serviceAccountUser"
    yield Check("rights", not missing, said if missing else "all that the tasks need")


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
