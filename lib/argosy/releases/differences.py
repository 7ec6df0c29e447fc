"""Pure. How two releases differ: the images that they pin, and the files that they hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.model import Image


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a release. `title`: how it is called, such as `staging 0.1.7`; `pins`: its images by name; `files`:
    path below /release -> bytes."""

    title: str
    pins: Mapping[str, Image] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageChange:
    """An image that two releases pin differently; None where one has it not at all."""

    name: str
    before: Image | None
    after: Image | None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "before": _told(self.before), "after": _told(self.after)}

    def row(self) -> list[object]:
        return [self.name, *_cells(self.before), *_cells(self.after)]


COLUMNS = ["IMAGE", "FROM", "DIGEST", "TO", "DIGEST"]


@dataclass(frozen=True, slots=True)
class Differences:
    """`images`: those that differ; `diff`: the files that do, as `diff -u` tells them, line by line."""

    before: str
    after: str
    images: tuple[ImageChange, ...]
    diff: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.images or self.diff)

    def to_json(self) -> dict[str, Any]:
        """Return `{"before", "after", "images": [{"name", "before": {"version", "digest"} or null, "after"}],
        "diff": TEXT}`."""
        text = "".join(f"{line}\n" for line in self.diff)
        images = [change.to_json() for change in self.images]
        return {"before": self.before, "after": self.after, "images": images, "diff": text}


def differences(before: Content, after: Content) -> Differences:
    """Return how `after` differs from `before`."""
    names = sorted({*before.pins, *after.pins})
    changes = [ImageChange(name, before.pins.get(name), after.pins.get(name)) for name in names]
    differing = tuple(change for change in changes if _told(change.before) != _told(change.after))
    return Differences(before.title, after.title, differing, tuple(_file_lines(before, after)))


def _file_lines(before: Content, after: Content) -> Iterator[str]:
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if old != new:
            names = f"{before.title}/{path}", f"{after.title}/{path}"
            lines = list(difflib.unified_diff(_lines(old), _lines(new), *names, lineterm=""))
            yield from lines or [f"Files {' and '.join(names)} differ"]


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode(errors="replace").splitlines()


def by_name(images: Iterable[Image]) -> dict[str, Image]:
    return {image.name: image for image in images}


def _told(image: Image | None) -> dict[str, str] | None:
    return {"version": image.version, "digest": image.digest} if image else None


def _cells(image: Image | None) -> list[str]:
    return [image.version, image.digest[:19]] if image else ["", ""]
