"""Pure. Who operates a cluster, and what each may do.

    /cluster/operators/NAME    {"rights": "deploy", "certificate": "9f2c...", "ssh_key": "ssh-ed25519 AAAA... air-ci",
                                "ssh_fingerprint": "SHA256:...", "added": "2026-01-31T12:00:00.000Z", "by": "ann@desk"}

Who an operator is says the certificate by which its checkout talks to etcd. The checkout that set the cluster up has
one without a name, full rights, and no record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Self

from argosy.cluster.stored import Moment, StoredRecord
from argosy.stamps import stamp

OPERATORS = "/cluster/operators/"


class Rights(StrEnum):
    """`DEPLOY`: releases, services and what routes to them; `FULL`: all, and the CA's key."""

    DEPLOY = "deploy"
    FULL = "full"


DEPLOY_NAMESPACES = ("service.", "discovery.", "release.")
DEPLOY_TASKS = (
    "cluster.rolling-upgrade",
    "cluster.rolling-upgrade --abort",
    "cluster.upgrade-machine",
    "cluster.unlock",
)
"""What operators with the rights `deploy` may change; what is not named here they may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord(StoredRecord):
    """`certificate`: the fingerprint of its key; `ssh_key`: the public key's line; `by`: who added it; `removed`: since
    when it is none any more, and `left_on` the machines that may let its ssh key in still."""

    WHAT: ClassVar[str] = "an operator"

    rights: Rights
    certificate: str
    ssh_key: str
    ssh_fingerprint: str
    added: Moment
    by: str
    removed: Moment | None = None
    removed_by: str = ""
    left_on: tuple[str, ...] = ()

    def revoked(self, now: datetime, by: str, machines: tuple[str, ...]) -> Self:
        """Return the record of one who is removed now; `machines` let it in still."""
        return replace(self, removed=now, removed_by=by, left_on=machines)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this checkout is. `name`: empty for the one that set the cluster up; `certificate`: the fingerprint of its
    key; `signs`: it has the CA's key."""

    name: str
    certificate: str
    signs: bool


def operator_key(name: str) -> str:
    return OPERATORS + name


def present(records: Mapping[str, OperatorRecord]) -> dict[str, OperatorRecord]:
    """Return those who are operators now."""
    return {name: record for name, record in records.items() if record.removed is None}


def refusal(who: Identity, record: OperatorRecord | None, task: str = "") -> str:
    """Return why `who` may not do `task`, or anything when it is empty; an empty string when they may."""
    if record is None:
        return f"{who.name} is no operator of this cluster: ask one to run inv operator.add {who.name}"
    if record.removed is not None:
        return f"operator {who.name} was removed at {stamp(record.removed)} by {record.removed_by}: nothing was done"
    if record.certificate != who.certificate:
        return (
            f"operator {who.name} has another certificate than this checkout, since {stamp(record.added)}: "
            "take its bundle with inv operator.join"
        )
    return "" if not task or may(record.rights, task) else lacking(who.name, record.rights, task)


def may(rights: Rights, task: str) -> bool:
    """Return whether these rights are enough for a task that changes the cluster."""
    return rights is Rights.FULL or task in DEPLOY_TASKS or task.startswith(DEPLOY_NAMESPACES)


def lacking(name: str, rights: Rights, task: str) -> str:
    """Return the refusal of a task that these rights are not enough for."""
    return f"operator {name} has the rights {rights}, and {task} needs full: ask an operator who has them"
