"""One machine for the tests of this folder, which run in the order of their names: it is made, hurt and removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from lab import START_SECONDS, Lab, cleared
from lanes import suite_of

TEXT = """it's "5 %h" of $HOME, ${REGISTRY}; \\ #1"""


def with_another_service(document: dict[str, Any]) -> None:
    document["services"]["extra"] = {
        "image": "frontend",
        "env": {"PORT": "9000", "TEXT": TEXT},
        "check": {"tcp": {"port": 9000}},
        "requires": ["frontend"],
    }


@pytest.fixture(scope="package")
def solo(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A project whose cluster is not started yet, with a service that needs another."""
    suite = suite_of("one_machine", os.environ)
    with cleared(tmp_path_factory.mktemp("solo"), "bay", "e2e-solo", 57, suite) as lab:
        lab.configure(with_another_service)
        yield lab


@pytest.fixture(scope="package")
def started(solo: Lab) -> Lab:
    """The same, with its machine installed: by the tests before, or by this."""
    solo.inv("local.start", "1", timeout=START_SECONDS)
    return solo
