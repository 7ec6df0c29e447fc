"""Pure. Which version of the Engine API an engine is asked in, by the SDK, the agent, the installer, Swarm.

The oldest that both know, so that answers keep the shape that we read: Docker 20.10's; where the engine has given that
up (Docker 29), its own oldest. Nothing reads what later versions, up to 1.52, have dropped.
https://docs.docker.com/reference/api/engine/version-history/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.errors import EngineError

OURS = "1.41"
"""Docker 20.10's."""


def version_to_ask(told: Mapping[str, Any]) -> str:
    """Return it by what GET /version tells, the one path that is asked without a version.

    Raises EngineError for an engine that is too old, or none.
    """
    newest, oldest = str(told.get("ApiVersion") or ""), str(told.get("MinAPIVersion") or OURS)
    if not newest:
        raise EngineError("what answers is no Docker engine")
    if _numbers(newest) < _numbers(OURS):
        raise EngineError(f"its Docker engine speaks API {newest}, {OURS} is needed: Docker 20.10 or later")
    return max(OURS, oldest, key=_numbers)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(word) for word in version.split(".") if word.isdecimal())
