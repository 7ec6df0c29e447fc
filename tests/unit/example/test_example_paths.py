"""The example's shared web server, as far as it is pure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "example" / "webservice"))

from webservice import own_path  # type: ignore[import-not-found]


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/", "/"),
        ("", "/"),
        ("/frontend", "/"),
        ("/frontend/", "/"),
        ("/frontend/whole", "/whole"),
        ("/frontendx", "/frontendx"),
        ("/whole", "/whole"),
        ("/backend/visits", "/backend/visits"),
    ],
)
def test_a_path_is_taken_with_and_without_the_service_s_name(path: str, own: str) -> None:
    assert own_path(path, "frontend") == own
