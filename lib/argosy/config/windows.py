"""Pure. When a cluster may be changed: `rollout.windows`, each a line such as `Mon-Fri 22:00-06:00 Europe/Berlin`.

    [DAYS] HH:MM-HH:MM [ZONE]

DAYS: Mon, Mon-Fri, Sat,Sun; every day without them; the day on which the window opens. An end that is not after the
start is on the next day; 24:00 is midnight. ZONE: a name of https://www.iana.org/time-zones, else UTC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LINE = re.compile(r"(?:(?P<days>[A-Za-z,-]+)\s+)?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)(?:\s+(?P<zone>\S+))?")
_MIDNIGHT = time(0)


@dataclass(frozen=True, slots=True)
class Window:
    """`days`: as `datetime.weekday` counts them; `end`: of the next day when it is not after `start`."""

    days: frozenset[int]
    start: time
    end: time
    zone: ZoneInfo

    def opening(self, now: datetime, ahead_days: int = 0) -> tuple[datetime, datetime]:
        """Return from when to when, in UTC, the window would be open that opens `ahead_days` from today."""
        day = now.astimezone(self.zone).date() + timedelta(days=ahead_days)
        last = day if self.end > self.start else day + timedelta(days=1)
        begin = datetime.combine(day, self.start, self.zone).astimezone(UTC)
        return begin, datetime.combine(last, self.end, self.zone).astimezone(UTC)

    def opens(self, now: datetime, ahead_days: int) -> bool:
        """Return whether it opens on that day."""
        return (now.astimezone(self.zone) + timedelta(days=ahead_days)).weekday() in self.days


def parse_window(text: str) -> Window:
    """Return the window of a line. Raises ValueError, which says what is wrong with it."""
    found = _LINE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not written as Mon-Fri 22:00-06:00 Europe/Berlin")
    try:
        zone = ZoneInfo(found["zone"] or "UTC")
    except (KeyError, ValueError, OSError):  # no such file, a path that leads elsewhere, a folder
        raise ValueError(f"no time zone {found['zone']!r} is known here; such as Europe/Berlin") from None
    start, end = _time(found["start"]), _time(found["end"])
    if found["start"] == found["end"]:
        raise ValueError(f"{text!r} is never open; the whole day is 00:00-24:00")
    return Window(_days(found["days"] or "mon-sun"), start, end, zone)


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Return whether `now` lies in one of the windows; without any it is always open."""
    if not windows:
        return True
    return any(
        window.opens(now, ahead) and window.opening(now, ahead)[0] <= now < window.opening(now, ahead)[1]
        for window in windows
        for ahead in (-1, 0)
    )


def next_opening(windows: Sequence[Window], now: datetime) -> datetime:
    """Return when the next window after `now` opens, in UTC; `now` itself while one is open."""
    if is_open(windows, now):
        return now
    openings = [window.opening(now, ahead)[0] for window in windows for ahead in range(9) if window.opens(now, ahead)]
    return min(opening for opening in openings if opening > now)


def _time(text: str) -> time:
    hour, minute = (int(part) for part in text.split(":"))
    if (hour, minute) == (24, 0):
        return _MIDNIGHT
    try:
        return time(hour, minute)
    except ValueError:
        raise ValueError(f"{text} is no time of day") from None


def _days(text: str) -> frozenset[int]:
    """Return the days of `Mon`, `Mon-Fri`, `Fri-Mon`, `Sat,Sun`."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        for word in (first, last) if dash else (first,):
            if word not in DAYS:
                raise ValueError(f"{word!r} is no day; they are {', '.join(day.capitalize() for day in DAYS)}")
        start = DAYS.index(first)
        length = (DAYS.index(last or first) - start) % len(DAYS)
        found |= {(start + step) % len(DAYS) for step in range(length + 1)}
    return frozenset(found)
