"""Which containers were taken out on purpose, remembered over a restart of the agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy import atomic
from argosy.agent.journal import log
from argosy.agent.roster import ANY_RUN

_log = log("registrar")


def read_left(path: Path) -> dict[str, str]:
    """Return by id when the run of each container that was taken out was started; none of a broken file.

    A JSON object {"8f3a...": "2026-11-25T14:47:13.93323674Z"}.
    """
    try:
        found: Any = json.loads(path.read_text())
        return {str(container): str(run) for container, run in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        _log.warning("%s can't be used (%s): containers that were taken out may be registered again", path, error)
        return {}


def write_left(path: Path, left: Mapping[str, str]) -> None:
    """Remember them, 0600; not those that were told to end before we knew them."""
    content = json.dumps({container: run for container, run in left.items() if run != ANY_RUN})
    try:
        atomic.write(path, f"{content}\n".encode(), mode=0o600)
    except OSError as error:
        _log.warning("%s can't be written (%s): a restart of the agent may register them again", path, error)
