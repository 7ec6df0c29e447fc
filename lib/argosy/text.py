"""Pure. Text as it is shown to people, and as it comes from others."""

from __future__ import annotations

import json
from typing import Any


def printable(text: str) -> str:
    """Return `text` as a terminal may have it: names and values in etcd are any bytes."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that `text` is; None when it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
