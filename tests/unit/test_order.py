"""The order in which services start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import ConfigError
from argosy.order import start_order


def test_what_is_required_comes_first_and_the_rest_keeps_its_order() -> None:
    assert start_order({"router": ["frontend", "backend"], "frontend": ["backend"], "other": [], "backend": []}) == [
        "backend",
        "frontend",
        "router",
        "other",
    ]


def test_a_circle_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigError, match="b -> c -> b") as caught:
        start_order({"a": ["b"], "b": ["c"], "c": ["b"]})
    assert caught.value.path == "services.b.requires"


def test_a_service_that_requires_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="a -> a"):
        start_order({"a": ["a"]})


@given(st.lists(st.lists(st.integers(0, 11), max_size=4), max_size=12))
def test_every_service_comes_once_and_after_all_that_it_requires(edges: list[list[int]]) -> None:
    requires = {str(n): [str(other) for other in others if other < n] for n, others in enumerate(edges)}
    order = start_order(dict(reversed(requires.items())))
    assert sorted(order) == sorted(requires)
    for name, others in requires.items():
        assert all(order.index(other) < order.index(name) for other in others)
