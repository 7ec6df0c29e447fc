"""What the tasks show of a cluster's rollouts, its lock and its audit trail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.etcd import Etcd
from argosy.operations import cluster_lock, journal
from argosy.operations.clock import SystemClock
from argosy.operations.cluster_lock import Holder, held
from argosy.operations.journal import HistoryEntry, Journal
from argosy.rollout_record import Progress, Rollout, Step

ROLLOUT_COLUMNS = ["rollout", "release", "state", "machines", "began", "by", "reason"]
MACHINE_COLUMNS = ["machine", "step", "since", "release before", "reason"]
HISTORY_COLUMNS = ["at", "who", "host", "task", "what", "outcome"]
MOST_CHARACTERS = 120


def rollouts(settings: Settings) -> tuple[Rollout | None, list[Rollout]]:
    """Return the rollout in progress or stopped, and those that ended, the newest first."""
    with _store(settings) as store:
        return journal.read_rollout(store), journal.read_rollouts(store)


def rollout_rows(present: Rollout | None, ended: Iterable[Rollout]) -> list[list[object]]:
    """Return the rows under ROLLOUT_COLUMNS."""
    return [
        [it.id, it.release, it.state, _count(it), _utc(it.started), it.by, it.reason]
        for it in [*([present] if present else []), *ended]
    ]


def machine_rows(rollout: Rollout) -> list[list[object]]:
    """Return the rows under MACHINE_COLUMNS of a rollout."""
    return [
        [name, it.step, _utc(it.since), it.origin, it.reason]
        for name, it in ((name, rollout.machines[name]) for name in rollout.names)
    ]


def rollouts_json(present: Rollout | None, ended: Iterable[Rollout]) -> dict[str, Any]:
    """Return `{"present": ROLLOUT or null, "ended": [ROLLOUT]}`, as argosy.rollout_record keeps them."""
    return {"present": present.to_json() if present else None, "ended": [it.to_json() for it in ended]}


def lock_holder(settings: Settings) -> Holder | None:
    """Return who holds the cluster's lock, None when nobody does."""
    with _store(settings) as store:
        return cluster_lock.read(store)


def holder_json(holder: Holder | None) -> dict[str, str] | None:
    """Return `{"id", "holder", "host", "task", "started"}`, or null."""
    return asdict(holder) if holder else None


def unlock(settings: Settings, report: Report) -> Holder | None:
    """Break the lock and note in the audit trail whose it was; return that. None when nobody held it."""
    with _store(settings) as store:
        broken = cluster_lock.break_(store)
        if broken is None:
            return None
        with held(store, "cluster.unlock", ttl_seconds=settings.rollout.lock_ttl_seconds, report=report) as lock:
            Journal(store, lock).note(SystemClock().now(), f"broke the lock of {broken}", "done")
        return broken


def history(settings: Settings, lines: int) -> list[HistoryEntry]:
    """Return the newest `lines` of the audit trail, the newest last."""
    with _store(settings) as store:
        return list(reversed(journal.read_history(store)[:lines]))


def history_rows(entries: Iterable[HistoryEntry]) -> list[list[object]]:
    """Return the rows under HISTORY_COLUMNS, with the beginning of what is long."""
    return [[it.at, it.who, it.host, it.task, _begun(it.what), _begun(it.outcome)] for it in entries]


def _begun(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _count(rollout: Rollout) -> str:
    counted: Iterable[Progress] = rollout.machines.values()
    finished = (Step.ROLLED_BACK,) if rollout.back else (Step.DONE,)
    return f"{sum(it.step in finished for it in counted)} of {len(rollout.machines)}"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def _store(settings: Settings) -> Iterator[Etcd]:
    with etcd.connect(settings, inventory.select(settings)) as store:
        yield store
