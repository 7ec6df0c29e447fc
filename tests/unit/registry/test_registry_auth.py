"""A registry's challenge, read."""

from __future__ import annotations

import pytest

from argosy.registry.auth import Challenge, RegistryAuth, parse_challenge
from argosy.registry.client import Registry


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ("", Challenge("", {})),
        ('Basic realm="argosy"', Challenge("basic", {"realm": "argosy"})),
        (
            'Bearer realm="https://a.example/token",service="r.example",scope="repository:air/web:pull,push"',
            Challenge(
                "bearer",
                {"realm": "https://a.example/token", "service": "r.example", "scope": "repository:air/web:pull,push"},
            ),
        ),
        ("BEARER Realm=x, error=invalid_token", Challenge("bearer", {"realm": "x", "error": "invalid_token"})),
    ],
)
def test_is_read_as_sent(header: str, challenge: Challenge) -> None:
    assert parse_challenge(header) == challenge


def test_no_repr_shows_the_password() -> None:
    with Registry("127.0.0.1:1", "me", "hunter2") as registry:
        assert "hunter2" not in repr(registry)
    assert "hunter2" not in repr(RegistryAuth("me", "hunter2"))
