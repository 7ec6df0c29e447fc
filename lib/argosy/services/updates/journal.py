"""The records of a scheduled service's updates in etcd."""

from __future__ import annotations

from argosy.cluster.journal import Place
from argosy.services.updates.record import UPDATES, Update

UPDATE_HISTORY = "/cluster/update-history/"


KEPT_UPDATES = 10


def of_updates(name: str) -> Place[Update]:
    """Return where the records of a scheduled service's updates stand."""
    return Place(UPDATES + name, f"{UPDATE_HISTORY}{name}/", KEPT_UPDATES, Update.parse)
