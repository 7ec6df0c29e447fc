"""Which version of the Engine API is asked in."""

from __future__ import annotations

import pytest

from argosy.engine.versions import version_to_ask
from argosy.errors import EngineError


@pytest.mark.parametrize(
    ("newest", "oldest", "asked"),
    [
        ("1.41", "1.12", "1.41"),  # Docker 20.10
        ("1.45", "1.24", "1.41"),  # 26.1
        ("1.52", "1.44", "1.44"),  # 29
        ("1.100", "1.99", "1.99"),
        ("1.41", "", "1.41"),
    ],
)
def test_the_oldest_that_both_know_is_asked_in(newest: str, oldest: str, asked: str) -> None:
    assert version_to_ask({"ApiVersion": newest, "MinAPIVersion": oldest}) == asked


def test_an_engine_that_is_too_old_is_refused() -> None:
    with pytest.raises(EngineError, match=r"speaks API 1\.40, 1\.41 is needed"):
        version_to_ask({"ApiVersion": "1.40", "MinAPIVersion": "1.12"})


def test_what_tells_no_version_is_no_engine() -> None:
    with pytest.raises(EngineError, match="no Docker engine"):
        version_to_ask({})
