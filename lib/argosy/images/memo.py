"""Which content an image's layers and configuration stand for, remembered: reading an image costs seconds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from argosy import atomic

FILE_NAME = "content.json"
LIMIT = 1000


class ContentMemo:
    """`content.memo_key` -> digest of the content, in `folder`/content.json. A damaged file is like none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._known = _read(self._path)

    def content(self, key: str, read: Callable[[], str]) -> str:
        """Return the content of the image with this key, by `read` if it isn't known yet."""
        known = self._known.get(key)
        if known:
            return known
        found = read()
        with self._lock:
            self._known[key] = found
            newest = dict(list(self._known.items())[-LIMIT:])
            atomic.write(self._path, json.dumps(newest, indent=1).encode())
        return found


def _read(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in document.items()} if isinstance(document, dict) else {}
