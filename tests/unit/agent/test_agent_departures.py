"""Requests to take an instance out: who has yet to follow, and what is remembered of those who left."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from argosy.agent.registrar.deregistered import read_left, write_left
from argosy.agent.registrar.deregistration import behind, parse_seconds
from argosy.etcd import Entry


def test_routers_are_behind_until_they_tell_the_revision() -> None:
    told = {
        "/routers/air-01": "81",
        "/routers/air-02": "80",
        "/routers/air-03": "9",
        "/routers/air-04": "no number",
        "/routers/air-05": "100",
        "/routers/air-05/problems": "[]",
    }
    entries = [Entry(key, value, 1, 1) for key, value in told.items()]
    assert behind(entries, 81) == ["air-02", "air-03", "air-04"]
    assert behind([], 81) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 5), ("0", 0), ("2.5", 2.5), ("600", 600), ("601", None), ("-1", None), ("nan", None), ("soon", None)],
)
def test_how_long_one_may_wait(text: str, seconds: float | None) -> None:
    assert parse_seconds(text) == seconds


class TestMemory:
    def test_of_those_who_left(self, tmp_path: Path) -> None:
        path = tmp_path / "left.json"
        assert read_left(path) == {}
        write_left(path, {"8f": "2026-11-25T14:47:13Z", "9a": ""})
        assert read_left(path) == {"8f": "2026-11-25T14:47:13Z"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("content", ["", "[", "[]", '"x"'])
    def test_that_is_broken_is_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "left.json").write_text(content)
        assert read_left(tmp_path / "left.json") == {}

    def test_that_can_not_be_kept_is_no_obstacle(self, tmp_path: Path) -> None:
        write_left(tmp_path / "missing" / "left.json", {})
