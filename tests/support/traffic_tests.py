"""Not a request to a scheduled service is lost while it is scaled, whatever its program does when it is told to end.

In a network of its own: test_service_traffic.py runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_traffic import POST, WEB, Place, service_traffic

from argosy.services import changing

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def place(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with service_traffic(tmp_path_factory.mktemp("traffic"), programs) as made:
        yield made


def test_scaled_up_and_down_under_load(place: Place) -> None:
    place.lab.submit(web=WEB)
    with place.requests("web", 60, {"GET": "/", "POST": POST}) as outcome:
        for count in (8, 2, 6, 1, 4):
            place.lab.make(changing.scale("web", count))
    assert outcome.lost == []
    assert len(outcome.answers) >= 8 + 4
    assert outcome.answers.total() > 300
