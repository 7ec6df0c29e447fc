"""A cluster of one machine, and then nothing of it. After the other tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.slow(8), pytest.mark.timeout(900)]


def test_stop_leaves_nothing(started: Lab) -> None:
    assert "stopped" in started.inv("local.stop", "--all").stdout
    assert "nothing to stop" in started.inv("local.stop", "--all").stdout
    for kind in ("container", "network", "volume"):
        assert started.on_engine(kind) == []
    assert not (started.root / "secrets" / started.cluster).exists()
    assert not (started.root / ".argosy" / started.cluster / "machines.json").exists()
    assert not Path(f"/etc/docker/certs.d/{started.host}:{started.registry_port}").exists()
