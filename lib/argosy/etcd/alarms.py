"""Pure. The alarms that etcd raises: while one stands, every member answers reads and refuses writes.

https://etcd.io/docs/v3.4/op-guide/maintenance/#space-quota
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NOSPACE, CORRUPT = "NOSPACE", "CORRUPT"
_KINDS = {1: NOSPACE, 2: CORRUPT}
_WORDS = {
    NOSPACE: "its database is full: compact it, defragment every member, then disarm the alarm",
    CORRUPT: "its data is not that of the others: disarm the alarm, and replace that member at once",
}
DOCS = 'docs/members.md, "etcd raises an alarm"'


@dataclass(frozen=True, slots=True)
class Alarm:
    """`member`: the name of the member that raised it, else its id; `kind`: NOSPACE, CORRUPT, or a number."""

    member: str
    kind: str

    @property
    def reason(self) -> str:
        """What is wrong, and the way out, in one line."""
        words = _WORDS.get(self.kind, "disarm the alarm when its cause is gone")
        return f"etcd refuses every write, since {self.member} has raised the alarm {self.kind}: {words} ({DOCS})"


def alarms_of(raised: Iterable[tuple[int, int]], names: Mapping[str, str]) -> list[Alarm]:
    """Return the alarms. `raised`: the member's id and the kind, as numbers of etcd's protocol; `names`: by id in
    hexadecimal."""
    found = ((f"{member:x}", _KINDS.get(kind, str(kind))) for member, kind in raised if kind)
    return sorted(
        (Alarm(names.get(id) or id, kind) for id, kind in found), key=lambda alarm: (alarm.member, alarm.kind)
    )


def reason_of(alarms: Iterable[Alarm]) -> str:
    """Return why etcd takes no changes; empty when it does."""
    return "; ".join(alarm.reason for alarm in alarms)
