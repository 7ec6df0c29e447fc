"""Unit files as systemd reads them: sections, continuations, comments, repeated keys, names, specifiers.

tests/integration/fleet/test_fleet_systemd.py asks systemd itself.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.fleet.unit_file import Remark, UnitFile, parse_unit
from argosy.fleet.words import FLEET, BadLine, UnitName, Word, expand, shown, unescape

WEB = UnitName("web-front", "1", "service")


def parse(text: str) -> UnitFile:
    return parse_unit(text, "units/web.service")


def expanded(text: str, name: UnitName = WEB, only: str = "") -> str:
    return expand(Word(text, 3), name, only).text


def test_values_stand_with_their_sections_and_lines() -> None:
    unit = parse("# first\n[Unit]\nDescription = a = b \n\n[Service]\n  ExecStart=/bin/true\n")
    assert [
        (assignment.section, assignment.key, assignment.value, assignment.line) for assignment in unit.assignments
    ] == [
        ("Unit", "Description", "a = b", 3),
        ("Service", "ExecStart", "/bin/true", 6),
    ]


def test_a_backslash_joins_lines_and_comments_between_them_are_left_out() -> None:
    unit = parse("[Service]\nExecStart=/bin/a \\\n# b\n; c\n  d \\\n  e\nType=simple\n")
    assert [assignment.value.split() for assignment in unit.assignments] == [["/bin/a", "d", "e"], ["simple"]]
    start = unit.assignments[0]
    assert [start.line_at(start.value.index(word)) for word in ("/bin/a", "d", "e")] == [2, 5, 6]


def test_two_backslashes_at_the_end_join_nothing() -> None:
    assert [assignment.value for assignment in parse("[A]\nx=1\\\\\ny=2\n").assignments] == ["1\\\\", "2"]


def test_a_value_may_begin_in_the_next_line() -> None:
    unit = parse("[A]\nx=\\\n  1\n")
    assert [(assignment.value, assignment.line) for assignment in unit.assignments] == [("1", 3)]


def test_the_last_line_may_lack_its_end_and_go_on_into_nothing() -> None:
    assert [assignment.value for assignment in parse("[A]\nx=1\ny=2 \\").assignments] == ["1", "2"]


def test_an_empty_value_forgets_those_before_it() -> None:
    unit = parse("[A]\nx=1\nx=2\nx=\nx=3\nx=4\ny=5\ny=\n")
    assert [assignment.value for assignment in unit.values("A", "x")] == ["3", "4"]
    assert unit.last("A", "x") == unit.values("A", "x")[-1]
    assert unit.last("A", "y") is None


def test_what_systemd_ignores_is_a_warning_with_its_line() -> None:
    unit = parse("x=1\n[A]\nword\n=value\ny=\udcff\nz=2\n")
    assert [(assignment.key, assignment.value) for assignment in unit.assignments] == [("z", "2")]
    assert sorted(unit.notes) == [
        Remark("units/web.service", 1, "before the first section: ignored"),
        Remark("units/web.service", 3, "not KEY=VALUE: ignored"),
        Remark("units/web.service", 4, "not KEY=VALUE: ignored"),
        Remark("units/web.service", 5, "not UTF-8: ignored"),
    ]


@pytest.mark.parametrize("header", ["[Service", "[", "[a\\b]", "[it's]"])
def test_a_header_that_is_none_makes_the_file_unusable(header: str) -> None:
    assert [refusal.line for refusal in parse(f"[A]\nx=1\n{header}\ny=2\n").refusals] == [3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\0"])
def test_lines_end_in_every_way_that_systemd_takes(end: str) -> None:
    assert [assignment.value for assignment in parse(end.join(["\ufeff[A]", "x=1", "y=2"])).assignments] == ["1", "2"]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    unit = parse(text)
    assert all(
        assignment.key and assignment.line <= text.count("\n") + text.count("\r") + text.count("\0") + 1
        for assignment in unit.assignments
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web.service", ("web", None, "service")),
        ("web@.service", ("web", "", "service")),
        ("web@1.service", ("web", "1", "service")),
        ("web@a@b.c.timer", ("web", "a@b.c", "timer")),
    ],
)
def test_names_have_a_prefix_an_instance_and_a_type(text: str, parts: tuple[str, str | None, str]) -> None:
    name = UnitName.parse(text)
    assert (name.prefix, name.instance, name.type) == parts
    assert str(name) == text


@pytest.mark.parametrize("text", ["", "web", "web.exe", "@1.service", ".service"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="its name must be"):
        UnitName.parse(text)


def test_escaping_is_undone() -> None:
    assert unescape("srv-a\\x2db\\xff") == "srv/a-b\ufffd"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("%p", "web-front"),
        ("%P", "web/front"),
        ("%j", "front"),
        ("%n|%N", "web-front@%i.service|web-front@%i"),
        ("%i %I", "%i %I"),
        ("%H %m", "%H %m"),
        ("%% %t %S", "% /run /var/lib"),
        ("100%", "100%"),
        ("% x%-", "% x%-"),
    ],
)
def test_specifiers_are_replaced_by_what_is_known(text: str, result: str) -> None:
    assert shown(expanded(text)) == result


def test_specifiers_of_the_instance_and_the_machine_are_symbols() -> None:
    assert expanded("%i on %H") == "\0%i\0 on \0%H\0"
    assert expanded("<%i>", UnitName("web")) == "<>"


def test_a_specifier_that_systemd_does_not_know_is_refused() -> None:
    with pytest.raises(BadLine, match="%z is not a specifier") as caught:
        expanded("%z")
    assert caught.value.line == 3


def test_fleet_replaces_four_of_them() -> None:
    assert (
        shown(expanded("%p@%i %n %N %H %z %%", only=FLEET)) == "web-front@%i web-front@%i.service web-front@%i %H %z %%"
    )
