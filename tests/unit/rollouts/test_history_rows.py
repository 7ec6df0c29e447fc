"""The audit trail as a table."""

from __future__ import annotations

from argosy.cluster.history import HistoryEntry
from argosy.rollouts.telling import HISTORY_COLUMNS, history_rows


def entry(outcome: str) -> HistoryEntry:
    return HistoryEntry("2026-01-31T12:00:00.000Z", "alice", "here", "service.update", "update of web", outcome)


def test_a_long_reason_is_cut_and_a_short_one_is_not() -> None:
    (short,), (long,) = history_rows([entry("done")]), history_rows([entry("why " * 100)])
    assert dict(zip(HISTORY_COLUMNS, short, strict=True))["outcome"] == "done"
    cut = str(dict(zip(HISTORY_COLUMNS, long, strict=True))["outcome"])
    assert cut.startswith("why why")
    assert cut.endswith("…")
    assert len(cut) == 120
