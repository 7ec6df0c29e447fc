"""Pure. What the engine's streams of builds, pulls and pushes say, event by event, from API 1.41 to 1.52.

An event is a JSON object in which everything may be missing. `errorDetail` tells of a failure; `error` has its text
alone and is deprecated; of `progressDetail` either number may be missing (`PushImageInfo` and its like in
https://docs.docker.com/reference/api/engine/version/v1.51/). What a push has made is told only by the classic image
store (`aux`): ask the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def failure(event: Mapping[str, Any]) -> str:
    """Return in one line why what is streamed has failed; empty as long as it has not."""
    detail = event.get("errorDetail")
    text = (detail.get("message") if isinstance(detail, Mapping) else detail) or event.get("error") or ""
    if not text and ("errorDetail" in event or "error" in event):
        return "the engine does not say why"
    return " ".join(str(text).split())


class LayersProgress:
    """How many bytes of all layers are done, and how many there are; layers of unknown size are left out."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def note(self, event: Mapping[str, Any]) -> bool:
        """Take an event; return whether it tells of bytes."""
        progress = event.get("progressDetail") or {}
        total = progress.get("total")
        if not total:
            return False
        self._layers[str(event.get("id", ""))] = (min(int(progress.get("current") or 0), int(total)), int(total))
        return True

    @property
    def done(self) -> int:
        return sum(done for done, _ in self._layers.values())

    @property
    def total(self) -> int:
        return sum(total for _, total in self._layers.values())
