"""What the tasks show of a cluster's rollouts, its lock and its audit trail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from argosy.cluster import lock as cluster_lock
from argosy.cluster.history import HistoryEntry, Trail, read_history
from argosy.cluster.lock import Holder
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.report import Report
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.record import Rollout, RolloutStep

ROLLOUT_COLUMNS = ["rollout", "release", "state", "machines", "began", "by", "reason"]
MACHINE_COLUMNS = ["machine", "step", "since", "release before", "reason"]
HISTORY_COLUMNS = ["at", "who", "host", "task", "what", "outcome"]
MOST_CHARACTERS = 120


def rollouts(settings: Settings) -> tuple[Rollout | None, list[Rollout]]:
    """Return the rollout in progress or stopped, and those that ended, the newest first."""
    with OpenCluster(settings) as cluster:
        return OF_ROLLOUTS.present(cluster.store), OF_ROLLOUTS.past(cluster.store)


def rollout_rows(present: Rollout | None, ended: Iterable[Rollout]) -> list[list[object]]:
    """Return the rows under ROLLOUT_COLUMNS."""
    return [
        [rollout.id, rollout.release, rollout.state, _count(rollout), _utc(rollout.started), rollout.by, rollout.reason]
        for rollout in [*([present] if present else []), *ended]
    ]


def machine_rows(rollout: Rollout) -> list[list[object]]:
    """Return the rows under MACHINE_COLUMNS of a rollout."""
    return [
        [name, progress.step, _utc(progress.since), progress.origin, progress.reason]
        for name, progress in ((name, rollout.machines[name]) for name in rollout.names)
    ]


def rollouts_json(present: Rollout | None, ended: Iterable[Rollout]) -> dict[str, Any]:
    """Return `{"present": ROLLOUT or null, "ended": [ROLLOUT]}`, as argosy.rollouts.record keeps them."""
    return {"present": present.to_json() if present else None, "ended": [rollout.to_json() for rollout in ended]}


def lock_holder(settings: Settings) -> Holder | None:
    """Return who holds the cluster's lock, None when nobody does."""
    with OpenCluster(settings) as cluster:
        return cluster_lock.read(cluster.store)


def unlock(settings: Settings, report: Report) -> Holder | None:
    """Break the lock and note in the audit trail whose it was; return that. None when nobody held it."""
    with OpenCluster(settings, report) as cluster:
        broken = cluster_lock.break_(cluster.store)
        if broken is None:
            return None
        with cluster.locked("cluster.unlock") as lock:
            Trail(cluster.store, lock).note(cluster.clock.now(), f"broke the lock of {broken}", "done")
        return broken


def history(settings: Settings, lines: int) -> list[HistoryEntry]:
    """Return the newest `lines` of the audit trail, the newest last."""
    with OpenCluster(settings) as cluster:
        return list(reversed(read_history(cluster.store)[:lines]))


def history_rows(entries: Iterable[HistoryEntry]) -> list[list[object]]:
    """Return the rows under HISTORY_COLUMNS, with the beginning of what is long."""
    return [
        [entry.at, entry.who, entry.host, entry.task, _begun(entry.what), _begun(entry.outcome)] for entry in entries
    ]


def _begun(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _count(rollout: Rollout) -> str:
    finished = (RolloutStep.ROLLED_BACK,) if rollout.back else (RolloutStep.DONE,)
    return f"{sum(progress.step in finished for progress in rollout.machines.values())} of {len(rollout.machines)}"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
