"""Which containers were taken out on purpose, remembered over a restart of the agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy.agent import remembered
from argosy.agent.log import log
from argosy.agent.registrar.roster import ANY_RUN

_log = log("registrar")


def read_left(path: Path) -> dict[str, str]:
    """Return by id when the run of each container that was taken out was started; none of a broken file.

    A JSON object {"8f3a...": "2026-11-25T14:47:13.93323674Z"}.
    """

    def parse(found: Any) -> dict[str, str]:
        return {str(container): str(run) for container, run in found.items()}

    return remembered.read(path, parse, _log, "registering what was taken out again") or {}


def write_left(path: Path, left: Mapping[str, str]) -> None:
    """Remember them, 0600; not those that were told to end before we knew them."""
    known = {container: run for container, run in left.items() if run != ANY_RUN}
    remembered.write(path, known, _log, "may register what was taken out again")
