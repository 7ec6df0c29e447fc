"""Ports for containers behind the bridge: who gets which, and what is remembered."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from argosy.agent.registrar.forwards import Forward, Forwards, choose_port
from argosy.model import Endpoint

A, B, C = (Endpoint(f"172.17.0.{number}", 80) for number in (2, 3, 4))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Forwards]:
    def forwards(first: int = 20000, last: int = 20002, taken: tuple[int, ...] = ()) -> Forwards:
        return Forwards(tmp_path / "forwards.json", (first, last), lambda port: port not in taken)

    return forwards


def test_each_container_gets_a_port_and_keeps_it(make: Callable[..., Forwards]) -> None:
    forwards = make()
    assert [forwards.ensure("a", A), forwards.ensure("b", B), forwards.ensure("a", A)] == [20000, 20001, 20000]
    assert forwards.ensure("a", C) == 20000
    assert forwards.mapping() == {20000: C, 20001: B}


def test_it_leads_there_when_the_router_says_so(make: Callable[..., Forwards]) -> None:
    forwards = make()
    forwards.ensure("a", A)
    assert forwards.applied_port("a", A) == 0
    forwards.note_applied(forwards.mapping())
    assert forwards.applied_port("a", A) == 20000
    forwards.ensure("a", B)
    assert forwards.applied_port("a", B) == forwards.applied_port("a", A) == 0
    forwards.note_applied({20000: A})  # a round that began before
    assert forwards.applied_port("a", B) == 0


def test_after_a_stop_the_router_must_say_it_anew(make: Callable[..., Forwards]) -> None:
    forwards = make()
    forwards.ensure("a", A)
    forwards.note_applied({20000: A})
    forwards.keep(set())
    assert forwards.mapping() == {}
    assert forwards.ensure("a", A) == 20000
    assert forwards.applied_port("a", A) == 0
    forwards.note_applied({20000: A})
    assert forwards.applied_port("a", A) == 20000


def test_a_round_that_tells_late_says_nothing_of_what_the_next_takes_away(make: Callable[..., Forwards]) -> None:
    forwards = make()
    forwards.ensure("a", A)
    first = forwards.mapping()
    forwards.keep(set())
    forwards.note_applied(first)
    assert forwards.mapping() == {}, "the router begins to load a configuration without it"
    forwards.ensure("a", A)
    assert forwards.applied_port("a", A) == 0, "nobody listens there until the router has it again"
    forwards.note_applied(forwards.mapping())
    assert forwards.applied_port("a", A) == 20000


def test_everything_is_there_after_a_restart(make: Callable[..., Forwards], tmp_path: Path) -> None:
    before = make()
    before.ensure("a", A)
    before.ensure("b", B)
    before.ensure("c", C)
    before.note_applied({20000: A, 20001: B})
    before.keep({"a", "c"})
    after = make()
    assert after.mapping() == {20000: A, 20002: C}
    assert (after.applied_port("a", A), after.applied_port("c", C)) == (20000, 0)
    assert after.ensure("b", B) == 20001
    assert stat.S_IMODE((tmp_path / "forwards.json").stat().st_mode) == 0o600


def test_ports_outside_the_range_are_forgotten(make: Callable[..., Forwards]) -> None:
    make().ensure("a", A)
    assert make(30000, 30002).mapping() == {}


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]", '[{"container": "a", "port": "x"}]', "[{}]"])
def test_a_broken_file_is_no_obstacle(make: Callable[..., Forwards], tmp_path: Path, content: str) -> None:
    (tmp_path / "forwards.json").write_text(content)
    assert make().ensure("a", A) == 20000


def test_what_can_not_be_written_still_works(tmp_path: Path) -> None:
    forwards = Forwards(tmp_path / "missing" / "forwards.json", (20000, 20002), lambda _: True)
    assert forwards.ensure("a", A) == 20000


def test_ports_that_others_listen_on_are_left_out(make: Callable[..., Forwards]) -> None:
    forwards = make(taken=(20000, 20002))
    assert [forwards.ensure("a", A), forwards.ensure("b", B)] == [20001, 0]


def test_a_name_takes_its_port_along(make: Callable[..., Forwards]) -> None:
    forwards = make()
    forwards.ensure("a", A)
    forwards.note_applied({20000: A})
    forwards.rename("a", "b")
    assert forwards.applied_port("b", A) == 20000
    assert forwards.ensure("a", C) == 20001


def test_those_who_listen_hear_of_every_change_only(make: Callable[..., Forwards]) -> None:
    forwards, heard = make(), []
    forwards.subscribe(lambda: heard.append(forwards.mapping()))
    forwards.ensure("a", A)
    forwards.ensure("a", A)
    forwards.note_applied({20000: A})
    forwards.note_applied({20000: A})
    forwards.keep({"a"})
    forwards.keep(set())
    forwards.keep(set())
    assert heard == [{20000: A}, {20000: A}, {}]


class TestChoosing:
    def test_a_port_that_was_never_used_comes_first(self) -> None:
        assert choose_port({"a": Forward(1, None)}, (1, 3), lambda _: True) == (2, "")

    def test_then_the_one_that_has_rested_longest(self) -> None:
        forwards = {"a": Forward(1, A), "b": Forward(3, None), "c": Forward(2, None)}
        assert choose_port(forwards, (1, 3), lambda _: True) == (3, "b")
        assert choose_port(forwards, (1, 3), lambda port: port != 3) == (2, "c")

    def test_none_is_left(self) -> None:
        assert choose_port({"a": Forward(1, A)}, (1, 1), lambda _: True) == (0, "")

    def test_the_loser_has_none_any_more(self, make: Callable[..., Forwards]) -> None:
        forwards = make(20000, 20000)
        forwards.ensure("a", A)
        forwards.keep(set())
        assert forwards.ensure("b", B) == 20000
        assert forwards.ensure("a", A) == 0
