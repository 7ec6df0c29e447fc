"""Words, variables and command lines as systemd makes them; the shell's own words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.fleet.commands import Command, commands_of, environment_of, simple_commands
from argosy.fleet.shell import Environment, parse_script
from argosy.fleet.unit_file import UnitFile, parse_unit
from argosy.fleet.words import BadLine, Escapes, shown, split_words, symbols
from argosy.rendering.systemd import command_line

# What argosy.rendering.systemd writes: no control characters.
CONTROL = "".join(map(chr, [*range(32), 127]))
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROL)))


def words(text: str, escapes: Escapes = "lenient") -> list[str]:
    return [word.text for word, _ in split_words(text, escapes, lambda _: 1)]


def commands(text: str) -> tuple[list[Command], UnitFile]:
    unit = parse_unit(f"[Service]\n{text}\n", "web.service")
    return commands_of(unit, "ExecStart", environment_of(unit)), unit


def argv(text: str) -> list[list[str]]:
    found, unit = commands(text)
    assert unit.refusals == set()
    return [[shown(word.text) for word in command.words] for command in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ("a'b c'd\"e\"", ["ab cde"]),
        ("'' \"\"", ["", ""]),
        (r"a\x20b \u00e9 \303\251 \s\t", ["a b", "é", "é", " \t"]),
        (r"'it\'s' \"", ["it's", '"']),
        (r"\q \x4 \000 \ud800", [r"\q", r"\x4", r"\000", r"\ud800"]),
        ("tail\\", ["tail\\"]),
    ],
)
def test_quoting(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("text", ["'a", 'b "c', r"\xff"])
def test_what_is_no_word_is_refused(text: str) -> None:
    with pytest.raises(BadLine):
        words(text)


def test_assignments_take_no_escape_that_is_none_and_values_take_a_backslash_for_the_next_character() -> None:
    with pytest.raises(BadLine, match="is not an escape"):
        words(r"a\q", "strict")
    assert words(r"a\qb 'open", "none") == ["aqb", "open"]


@given(WORDS)
def test_what_argosy_quotes_is_read_as_the_same_words(given_words: list[str]) -> None:
    expected = [word for word in given_words if word is not None]
    assert argv("ExecStart=" + command_line(["/bin/true", *expected])) == [["/bin/true", *expected]]


def test_prefixes_are_taken_off_once_each() -> None:
    assert argv("ExecStart=-@/bin/a b c\nExecStart=!!/bin/d\nExecStart=--x") == [["/bin/a", "c"], ["/bin/d"], ["-x"]]


def test_a_semicolon_begins_another_command_unless_it_is_escaped() -> None:
    assert argv(r"ExecStart=/bin/a b ; /bin/c \; d;e") == [["/bin/a", "b"], ["/bin/c", ";", "d;e"]]


def test_variables_are_replaced_as_a_part_of_a_word_or_by_several_words() -> None:
    lines = "Environment=\"ONE=one\" 'TWO=two two' \"THREE='x y' z\"\nExecStart=/bin/a "
    assert argv(lines + "$ONE $TWO ${TWO}") == [["/bin/a", "one", "two", "two", "two two"]]
    assert argv(lines + "$THREE x${ONE}y $$ONE $NONE ${NONE} a$ONE") == [
        ["/bin/a", "x y", "z", "xoney", "$ONE", "", "a$ONE"]
    ]
    assert argv(lines.replace("ExecStart=", "ExecStart=:") + "$ONE ${TWO} $$") == [["/bin/a", "$ONE", "${TWO}", "$$"]]


def test_later_assignments_win_and_an_empty_one_forgets_all() -> None:
    assert argv("Environment=A=1 B=2\nEnvironment=A=3\nExecStart=/bin/a $A $B") == [["/bin/a", "3", "2"]]
    assert argv("Environment=A=1\nEnvironment=\nExecStart=/bin/a <${A}>") == [["/bin/a", "<>"]]


def test_variables_of_a_file_on_the_machine_are_symbols() -> None:
    (command,), _ = commands("EnvironmentFile=/etc/environment\nExecStart=/bin/a ${COREOS_PRIVATE_IPV4}:80 $X")
    assert [symbols(word.text) for word in command.words] == [[], ["${COREOS_PRIVATE_IPV4}"], ["${X}"]]


def test_words_know_their_lines() -> None:
    (command,), _ = commands("ExecStart=/bin/a \\\n  b \\\n# c\n  d")
    assert [word.line for word in command.words] == [2, 3, 5]


@pytest.mark.parametrize(
    ("text", "line"),
    [("ExecStart=/bin/a \\\n  'b", 3), ("ExecStart=a/b", 2), ("ExecStart=/bin/", 2), ("ExecStart=/bin/a %z", 2)],
)
def test_a_command_that_systemd_would_not_take_is_refused_with_its_line(text: str, line: int) -> None:
    found, unit = commands(text)
    assert found == []
    assert [refusal.line for refusal in unit.refusals] == [line]


def test_assignments_that_are_none_are_noted() -> None:
    unit = parse_unit("[Service]\nEnvironment=A=1 B 1C=2 %z=1 D=4 'x\n", "web.service")
    assert environment_of(unit).values == {"A": "1", "D": "4"}
    assert [note.line for note in unit.notes] == [2, 2, 2, 2]


@given(st.text(), st.text())
def test_any_text_is_a_command_line_or_refused(exec_start: str, environment: str) -> None:
    found, unit = commands(f"Environment={environment}\nExecStart={exec_start}")
    assert all(command.words for command in found)
    assert all(remark.reason for remark in unit.refusals)


def simple(script: str, environment: Environment | None = None) -> list[list[str]]:
    parsed = parse_script(script, environment or Environment({"A": "a b", "B": "b"}))
    assert parsed.broken == ""
    return [[shown(word) for word in command] for command in parsed.commands]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a b; c && d || e", [["a", "b"], ["c"], ["d"], ["e"]]),
        ("a 'b c' \"d $B\" e\\ f # g", [["a", "b c", "d b", "e f"]]),
        ('x $A "$A" \'$A\' $B$B ${B}c $NONE "$NONE"', [["x", "a", "b", "a b", "$A", "bb", "bc", ""]]),
        ("a >/dev/null 2>&1 </dev/zero b", [["a", "b"]]),
        ("N=1 M=2 a\n b \\\n c", [["a"], ["b", "c"]]),
        ("C=x; a $C; export D=y; b $D", [[], ["a", "x"], ["export", "D=y"], ["b", "y"]]),
        ("for i in 1 2; do a; done", [["a"], ["done"]][:1]),
        ("a $(b 'c)' $(d)) `e f`g", [["a", "$(b 'c)' $(d))", "`e f`g"]]),
        ("a $ $1 $?", [["a", "$", "$1", "$?"]]),
        ("a '&&' \\; 'while' \";\"", [["a", "&&", ";", "while", ";"]]),
        ("'while' a; b#c d #e 'f\ng", [["while", "a"], ["b#c", "d"], ["g"]]),
        ('C=$A; a "$C"; b $C', [[], ["a", "a b"], ["b", "a", "b"]]),
        ("a 45 >/dev/null; b 2>c", [["a", "45"], ["b"]]),
        ("a -x <(b | c 'd)') e", [["a", "-x", "<(b | c 'd)')", "e"]]),
        ("if [[ -z $B ]]; then a; fi; [[ x ]]", [["a"]]),
        ('a "$(b -f "{{c d}}" (e))" f', [["a", '$(b -f "{{c d}}" (e))', "f"]]),
    ],
)
def test_scripts_are_taken_apart(script: str, expected: list[list[str]]) -> None:
    assert simple(script) == expected


@pytest.mark.parametrize(
    ("script", "compound"),
    [
        ("a && b; c", False),
        ("exec a > b", False),
        ("while true; do a; done", True),
        ("if a; then b; fi", True),
        ("a | b", True),
        ("a &", True),
        ("(a)", True),
    ],
)
def test_loops_conditions_and_pipes_are_told(script: str, compound: bool) -> None:
    assert parse_script(script, Environment()).compound is compound


@pytest.mark.parametrize("script", ["a 'b", 'a "b', "a $(b", "a `b", "a ${b", "cat <<END\nx\nEND"])
def test_scripts_that_can_not_be_read_say_why(script: str) -> None:
    assert parse_script(script, Environment()).broken


def test_a_sourced_file_brings_variables_that_only_the_machine_knows() -> None:
    assert simple(". /etc/environment; a $IP", Environment()) == [[".", "/etc/environment"], ["a", "${IP}"]]


def test_what_a_command_writes_is_one_word_though_it_holds_blanks() -> None:
    script = "IP=$(hostname -I | cut -d' ' -f1) && a http://$IP:8080 ${IP}"
    (empty, found) = parse_script(script, Environment()).commands
    assert empty == []
    assert [symbols(word) for word in found] == [[], *[["$(hostname -I | cut -d' ' -f1)"]] * 2]


def test_what_systemd_puts_into_a_script_is_not_expanded_again() -> None:
    found, _ = commands("EnvironmentFile=/e\nExecStart=/bin/sh -c \"a ${IP}:1 '$IP' $IP x%Hy\"")
    (inner,) = simple_commands(found[0], Environment(more=True))
    assert [word.text for word in inner.words] == ["a", "\0${IP}\0:1", "$IP", "\0${IP}\0", "x\0%H\0y"]


@given(st.text())
def test_any_text_is_a_script(script: str) -> None:
    parsed = parse_script(script, Environment({"A": "x y"}))
    assert all(isinstance(word, str) for command in parsed.commands for word in command)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/usr/bin/env A=1 docker run x", [["docker", "run", "x"]]),
        ("/usr/bin/sudo /usr/bin/docker ps", [["/usr/bin/docker", "ps"]]),
        ("/usr/bin/sudo -E -u core -- docker ps -a", [["docker", "ps", "-a"]]),
        ("/usr/bin/sudo -nu core nice -n 5 docker ps", [["docker", "ps"]]),
        ("/usr/bin/sudo", []),
        ("/bin/sh -c 'a b; exec docker run \"c d\"'", [["a", "b"], ["docker", "run", "c d"]]),
        ("/bin/bash -e -xc 'a'", [["a"]]),
        ("/usr/bin/flock -n /l -c 'a; b'", [["a"], ["b"]]),
        ("/usr/bin/flock /l docker run x -c y", [["docker", "run", "x", "-c", "y"]]),
        ("/usr/bin/su - core -c 'docker ps -a'", [["docker", "ps", "-a"]]),
        ("/usr/sbin/runuser -u core -- docker ps -a", [["docker", "ps", "-a"]]),
        ("/usr/sbin/runuser -l -c 'docker ps' core", [["docker", "ps"]]),
        ("/bin/bash -c -v 'a'", [["a"]]),
        ("/bin/bash -euo pipefail -c 'a'", [["a"]]),
        ("/bin/sh -c sh", [["sh"]]),
        ("/bin/sh /opt/run.sh -c x", [["/bin/sh", "/opt/run.sh", "-c", "x"]]),
        ("/bin/sh -c", [["/bin/sh", "-c"]]),
    ],
)
def test_wrappers_are_taken_off(line: str, expected: list[list[str]]) -> None:
    (command,), _ = commands(f"ExecStart={line}")
    assert [[word.text for word in it.words] for it in simple_commands(command, Environment())] == expected
