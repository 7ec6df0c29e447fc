from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.config.windows import is_open, next_opening, parse_window

NIGHTS = "Mon-Fri 22:00-06:00 Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        # 2026-01-05 is a Monday; Berlin is an hour ahead of UTC in winter, two in summer.
        (NIGHTS, "2026-01-05T20:59", False),
        (NIGHTS, "2026-01-05T21:00", True),
        (NIGHTS, "2026-01-06T04:59", True),
        (NIGHTS, "2026-01-06T05:00", False),
        (NIGHTS, "2026-07-06T20:00", True),
        (NIGHTS, "2026-07-06T19:59", False),
        # The night that begins on Friday ends on Saturday; none begins then, and none on Sunday.
        (NIGHTS, "2026-01-10T04:59", True),
        (NIGHTS, "2026-01-10T21:30", False),
        (NIGHTS, "2026-01-05T04:30", False),
        ("09:00-17:00", "2026-01-04T09:00", True),
        ("09:00-17:00", "2026-01-04T17:00", False),
        ("Sat,Sun 00:00-24:00", "2026-01-04T23:59", True),
        ("Sat,Sun 00:00-24:00", "2026-01-05T00:00", False),
        ("Fri-Mon 10:00-11:00 UTC", "2026-01-04T10:30", True),
        ("Fri-Mon 10:00-11:00 UTC", "2026-01-06T10:30", False),
        ("12:00-24:00", "2026-01-06T23:59", True),
        # The clocks go forward at 02:00 on 2026-03-29: the window is an hour shorter.
        ("01:00-04:00 Europe/Berlin", "2026-03-29T01:59", True),
        ("01:00-04:00 Europe/Berlin", "2026-03-29T02:00", False),
        # ... and back at 03:00 on 2026-10-25: an hour longer.
        ("01:00-04:00 Europe/Berlin", "2026-10-25T02:59", True),
    ],
)
def test_a_window_is_open(window: str, now: str, expected: bool) -> None:
    assert is_open([parse_window(window)], at(now)) is expected


def test_one_of_several_is_enough_and_none_means_always() -> None:
    windows = [parse_window("09:00-10:00"), parse_window("20:00-21:00")]
    assert is_open(windows, at("2026-01-05T20:30"))
    assert not is_open(windows, at("2026-01-05T10:30"))
    assert is_open([], at("2026-01-05T10:30"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not written as"),
        ("Mon", "is not written as"),
        ("Mon 9:00-10:00", "is not written as"),
        ("Mon 09:00-10:00 Europe/Berlin x", "is not written as"),
        ("Moon 09:00-10:00", "'moon' is no day"),
        ("Mon-Funday 09:00-10:00", "'funday' is no day"),
        ("Mon,,Tue 09:00-10:00", "'' is no day"),
        ("25:00-26:00", "25:00 is no time of day"),
        ("09:00-09:00", "never open"),
        ("09:00-10:00 Europe/Atlantis", "no time zone 'Europe/Atlantis'"),
        ("09:00-10:00 ../../etc/passwd", "no time zone"),
        ("09:00-10:00 Europe", "no time zone"),
    ],
)
def test_a_bad_window_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_window(text)


def test_the_next_opening_is_told() -> None:
    windows = [parse_window(NIGHTS)]
    assert next_opening(windows, at("2026-01-10T12:00")) == at("2026-01-12T21:00")
    assert next_opening(windows, at("2026-01-12T23:00")) == at("2026-01-12T23:00")


DAY = st.sampled_from(["", "Mon ", "Tue-Thu ", "Sat,Mon ", "Sun "])
TIME = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
ZONE = st.sampled_from(["", " Europe/Berlin", " America/New_York", " Asia/Kolkata", " Pacific/Kiritimati"])
NOW = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda datetime: datetime.replace(tzinfo=UTC))


@given(DAY, TIME, TIME, ZONE, NOW)
def test_the_next_opening_is_open_and_a_minute_before_it_is_not(
    days: str, start: str, end: str, zone: str, now: datetime
) -> None:
    if start == end:
        return
    windows = [parse_window(f"{days}{start}-{end}{zone}")]
    opening = next_opening(windows, now)
    assert now <= opening <= now + timedelta(days=9)
    # An hour that the clocks skip may swallow a window.
    assert is_open(windows, opening) or opening.month in (3, 10, 11)
    if opening > now:
        assert not is_open(windows, now)
