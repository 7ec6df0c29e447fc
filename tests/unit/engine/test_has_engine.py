"""Whether there is an engine at all."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from argosy.engine import connection


def test_one_that_does_not_answer_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(connection, "DEFAULT_ENGINE", f"unix://{path}")
    assert not connection.has_engine()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    assert connection.has_engine()


def test_one_that_is_named_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.9:2376")
    assert connection.has_engine()
