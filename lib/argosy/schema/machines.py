"""Pure. What stands under /machines/NAME."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.etcd.values import Entry
from argosy.model import MachineState
from argosy.schema.keys import MACHINES
from argosy.schema.services import Problem
from argosy.schema.values import parse_address, parse_id, shown


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """What stands under /machines/NAME. `address`: empty when it is not told. `staying`: the services whose instances
    stay registered while it drains. `os` and `host_keys` (`TYPE BASE64`, of its sshd): from an operator who has them
    verified."""

    name: str
    address: str = ""
    role: str = ""
    release: str = ""
    state: str = str(MachineState.ACTIVE)
    metadata: Mapping[str, str] = field(default_factory=dict)
    staying: tuple[str, ...] = ()
    os: str = ""
    host_keys: tuple[str, ...] = ()


def parse_machine(entry: Entry) -> MachineRecord | Problem:
    """Return what /machines/NAME says, a JSON object; values that are no text are kept as JSON."""
    name = entry.key.removeprefix(MACHINES)
    try:
        parse_id(name)
        found = json.loads(entry.value)
        if not isinstance(found, dict):
            return Problem("", entry.key, "not a JSON object")
        metadata = found.get("metadata")
        return MachineRecord(
            name,
            address=parse_address(_text(found["address"])) if found.get("address") else "",
            role=_text(found.get("role", "")),
            release=_text(found.get("release", "")),
            state=_state(_text(found.get("state", MachineState.ACTIVE))),
            metadata={key: _text(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {},
            staying=_texts(found.get("staying")),
            os=_text(found.get("os", "")),
            host_keys=_texts(found.get("host_keys")),
        )
    except (ValueError, RecursionError) as error:
        return Problem("", entry.key, f"not used: {error}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, value)) if isinstance(value, list) else ()


def _state(text: str) -> str:
    known = (MachineState.ACTIVE, MachineState.DRAINING, MachineState.DOWN)
    if text not in known:
        raise ValueError(f"state {shown(text)} is none of {', '.join(known)}")
    return text
