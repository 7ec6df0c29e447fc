"""A registry's challenges, read; and how long it asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from argosy.registry.auth import Challenge, RegistryAuth, parse_challenges, retry_after_seconds
from argosy.registry.client import Registry

BASIC = Challenge("basic", {"realm": "argosy"})
BEARER = Challenge(
    "bearer", {"realm": "https://a.example/token", "service": "r.example", "scope": "repository:air/web:pull,push"}
)
BASIC_TEXT = 'Basic realm="argosy"'
BEARER_TEXT = 'Bearer realm="https://a.example/token",service="r.example",scope="repository:air/web:pull,push"'


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        ([], []),
        ([""], []),
        ([BASIC_TEXT], [BASIC]),
        ([BEARER_TEXT], [BEARER]),
        ([BASIC_TEXT, BEARER_TEXT], [BASIC, BEARER]),
        ([f"{BASIC_TEXT}, {BEARER_TEXT}"], [BASIC, BEARER]),
        ([f"{BEARER_TEXT},{BASIC_TEXT}"], [BEARER, BASIC]),
        (["Negotiate, BASIC Realm = argosy"], [Challenge("negotiate", {}), BASIC]),
        ([f"Negotiate YII=, {BASIC_TEXT}"], [Challenge("negotiate", {"yii": ""}), BASIC]),
        (["BEARER Realm=x, error=invalid_token"], [Challenge("bearer", {"realm": "x", "error": "invalid_token"})]),
        (
            [r'Basic realm="a \"quoted\" one, with Bearer realm=x"'],
            [Challenge("basic", {"realm": 'a "quoted" one, with Bearer realm=x'})],
        ),
        (['realm="of nobody"'], []),
    ],
)
def test_are_read_as_sent(headers: list[str], challenges: list[Challenge]) -> None:
    assert parse_challenges(headers) == challenges


def test_a_wait_is_asked_for_in_seconds_or_by_a_date() -> None:
    now = datetime(2026, 11, 30, 10, 0, 0, tzinfo=UTC)
    assert retry_after_seconds("120", now) == 120
    assert retry_after_seconds("Mon, 30 Nov 2026 10:00:30 GMT", now) == 30
    assert retry_after_seconds("Mon, 30 Nov 2026 09:00:00 GMT", now) == 0
    for value in ("", "soon", "-5", "1.5"):
        assert retry_after_seconds(value, now) == 0


def test_no_repr_shows_the_password() -> None:
    with Registry("127.0.0.1:1", "me", "hunter2") as registry:
        assert "hunter2" not in repr(registry)
    assert "hunter2" not in repr(RegistryAuth("me", "hunter2"))
