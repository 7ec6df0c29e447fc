"""The Engine API as bytes: several streams in one body."""

from __future__ import annotations

from io import BytesIO

import pytest

from argosy.engine.api import frames
from argosy.errors import EngineError

OUT = b"\x01\0\0\0\0\0\0\x02hi"
ERR = b"\x02\0\0\0\0\0\0\x01!"


@pytest.mark.parametrize(
    ("body", "parts"), [(b"", []), (OUT, [("stdout", b"hi")]), (OUT + ERR, [("stdout", b"hi"), ("stderr", b"!")])]
)
def test_streams_in_one_body_are_told_apart(body: bytes, parts: list[tuple[str, bytes]]) -> None:
    assert list(frames(BytesIO(body))) == parts


@pytest.mark.parametrize("cut", [OUT + ERR[:-1], OUT + b"\x07\0\0\0\0\0\0\x01?"])
def test_a_body_that_breaks_off_gives_what_came_before(cut: bytes) -> None:
    parts = frames(BytesIO(cut))
    assert next(parts) == ("stdout", b"hi")
    with pytest.raises(EngineError):
        next(parts)
