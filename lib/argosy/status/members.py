"""The members of a cluster's etcd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from argosy import etcd
from argosy.config.loading import Settings
from argosy.model import Machine, Member
from argosy.status.report import role

COLUMNS = ["id", "name", "etcd", "healthy", "version", "peer urls", "client urls"]


def observe(settings: Settings, machines: Sequence[Machine]) -> list[Member]:
    """Return the members, sorted by name; also without a quorum. Raises EtcdError when none answers."""
    with etcd.connect(settings, machines) as store:
        return store.members()


def rows(members: Iterable[Member]) -> list[list[object]]:
    """Return the rows of the table under COLUMNS."""
    return [
        [
            member.id,
            member.name or "(not started)",
            role(member),
            "yes" if member.healthy else "no",
            member.version,
            " ".join(member.peer_urls),
            " ".join(member.client_urls),
        ]
        for member in members
    ]


def to_json(members: Iterable[Member]) -> list[dict[str, Any]]:
    """Return [{"id", "name", "leader", "learner", "healthy", "version", "peer_urls": [], "client_urls": []}]."""
    return [asdict(member) for member in members]
