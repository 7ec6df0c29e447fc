"""Words of a unit's command line, by systemd's rules."""

from __future__ import annotations

import pytest

from argosy.rendering.systemd import Expanded, command_line, quote_word


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("plain", "plain"),
        ("/usr/bin/docker", "/usr/bin/docker"),
        ("a=b,c:d", "a=b,c:d"),
        ("", '""'),
        ("two words", '"two words"'),
        (";", '";"'),
        ("#comment", '"#comment"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ("${HOME}", '"$${HOME}"'),
        ("$$", '"$$$$"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ("back\\slash", '"back\\\\slash"'),
        ("-@:!+", '"-@:!+"'),
        ("größe", '"größe"'),
    ],
)
def test_a_word_is_quoted_so_that_systemd_passes_exactly_it(word: str, quoted: str) -> None:
    assert quote_word(word) == quoted


def test_our_own_variables_are_expanded_but_specifiers_are_not() -> None:
    assert quote_word(Expanded("A=${NAME} 5%")) == '"A=${NAME} 5%%"'


@pytest.mark.parametrize("word", ["two\nlines", "nul\0", "tab\t", "\x7f"])
def test_control_characters_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        quote_word(word)


def test_a_short_command_line_stays_on_one_line() -> None:
    assert command_line(["/bin/sh", "-c", "exit 1"], prefix="-") == '-/bin/sh -c "exit 1"'


def test_a_long_command_line_has_an_option_on_each_line() -> None:
    words = ["/usr/bin/docker", "run", "--name", "air-x", "--rm", Expanded("${REGISTRY}/x"), "#a", ";", "--b"]
    assert command_line(words).split(" \\\n") == [
        "/usr/bin/docker run",
        "    --name air-x",
        "    --rm",
        '    "${REGISTRY}/x" "#a" ";"',
        "    --b",
    ]
