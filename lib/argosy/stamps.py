"""Pure. Moments as the records in etcd write them, 2026-01-31T12:00:00.120Z, and clocks that differ."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """Return a moment as text, in UTC: 2026-01-31T12:00:00.120Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_stamp(text: str) -> datetime:
    """Return the moment of a text. Raises ValueError for one that is none, or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def clock_skew_seconds(now: datetime, asked: datetime, answered: datetime) -> float:
    """Return how far a machine's clock is surely off, when it said `now` somewhere between our own two moments."""
    if now < asked:
        return (now - asked).total_seconds()
    return max(0.0, (now - answered).total_seconds())
