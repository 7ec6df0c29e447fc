"""Pure. What operator.list shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.cluster.operator_record import OperatorRecord
from argosy.stamps import stamp

COLUMNS = ["NAME", "RIGHTS", "ADDED", "BY", "SSH KEY", "STATE"]


def rows(records: Mapping[str, OperatorRecord]) -> list[list[str]]:
    return [
        [name, record.rights, stamp(record.added), record.by, record.ssh_fingerprint, _state(record)]
        for name, record in sorted(records.items())
    ]


def to_json(records: Mapping[str, OperatorRecord]) -> list[dict[str, Any]]:
    """Return [{"name", and what stands in its record}]."""
    return [{"name": name, **record.to_json()} for name, record in sorted(records.items())]


def _state(record: OperatorRecord) -> str:
    if record.removed is None:
        return "operator"
    left = f", {', '.join(record.left_on)} may let it in still" if record.left_on else ""
    return f"removed {stamp(record.removed)}{left}"
