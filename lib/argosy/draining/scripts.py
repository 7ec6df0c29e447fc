"""Pure. What is run on a machine that drains, and what its answers mean."""

from __future__ import annotations

from argosy.paths import Names
from argosy.rendering.service_unit import CURL
from argosy.text import json_object

ANSWER_SECONDS = 10.0
"""For the machine's agent to tell of connections, beyond the time that they have."""


def connections(names: Names, seconds: float) -> list[str]:
    """Return the argv that waits until the machine's router has no connections, at most so long, and tells how many."""
    socket, url = f"/run/{names.system}/agent/agent.sock", f"http://agent/connections?seconds={seconds:g}"
    limit = f"{seconds + ANSWER_SECONDS:g}"
    return [CURL, "--silent", "--show-error", "--max-time", limit, "--unix-socket", socket, url]


def parse_connections(text: str) -> int | None:
    """Return how many `connections` tells; None when it does not."""
    found = (json_object(text) or {}).get("connections")
    return found if isinstance(found, int) else None
