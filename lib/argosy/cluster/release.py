"""The release that is wanted everywhere, in etcd under /cluster/release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from argosy.cluster.stored import StoredRecord
from argosy.etcd.values import Reader


@dataclass(frozen=True, slots=True)
class Release(StoredRecord):
    """A version of the installer image; `image`: the reference by which machines pull it, empty when not known."""

    WHAT: ClassVar[str] = "a release"

    version: str
    image: str = ""

    def __str__(self) -> str:
        return self.version or "nothing"

    @property
    def repository(self) -> str:
        return self.image.partition("@")[0].partition("/")[2]

    @property
    def digest(self) -> str:
        return self.image.partition("@")[2]


RELEASE = "/cluster/release"


def read_release(store: Reader) -> Release | None:
    """Return the release that is wanted everywhere; None before the first rollout."""
    entry = store.get(RELEASE)
    return Release.parse(entry.value) if entry else None
