"""Errors by their type and fields: what they say may change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

E = TypeVar("E", bound=BaseException)


@contextmanager
def raises(kind: type[E], *told: str, **fields: object) -> Iterator[pytest.ExceptionInfo[E]]:
    """Expect an error of this type with these fields: `raises(ConfigError, "id_ed25519.pub", path="ssh.key")`.

    `told`: names, values and commands that its message must hold, in whatever words.
    """
    with pytest.raises(kind) as caught:
        yield caught
    assert [text for text in told if text not in str(caught.value)] == []
    assert {name: getattr(caught.value, name) for name in fields} == fields
