from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.ssh.shell import PID_LINE, Script, ending, line, shortened, traced


def test_argv_is_quoted_word_by_word() -> None:
    assert line(["echo", "a b", "$HOME", "it's", ""]) == """echo 'a b' '$HOME' 'it'"'"'s' ''"""


def test_a_line_of_shell_stays_as_it_is() -> None:
    assert line("ls | wc -l") == "ls | wc -l"


def test_sudo_never_asks_and_takes_no_word_for_an_option_of_its_own() -> None:
    assert line(["-n", "x"], sudo=True) == "sudo -n -- -n x"
    assert line("a | b", sudo=True) == "sudo -n -- sh -c 'a | b'"


def test_a_traced_command_tells_its_group_and_becomes_the_command() -> None:
    assert traced(["id", "-u"]) == "echo argosy-pid $$ >&2; exec id -u"
    assert traced(["id"], sudo=True) == "echo argosy-pid $$ >&2; exec sudo -n -- id"


def test_a_traced_line_is_not_cut_at_its_first_command() -> None:
    assert traced("a && b") == "echo argosy-pid $$ >&2; a && b"


def test_a_follower_is_limited_on_the_machine_too() -> None:
    assert traced("tail -f x", limit_seconds=12.4) == (
        "echo argosy-pid $$ >&2; exec timeout --foreground -k 5 12 sh -c 'tail -f x'"
    )
    assert "sudo -n -- timeout --foreground" in traced(["tail"], sudo=True, limit_seconds=1)


def test_an_ending_goes_through_sudo_when_the_command_did() -> None:
    assert ending(42, sudo=True).startswith("sudo -n -- sh -c ")
    assert ending(42).endswith(" argosy 42")


def test_messages_show_one_short_line() -> None:
    assert shortened("a\n  b") == "a b"
    assert shortened(["x" * 200]) == "x" * 97 + "..."
    assert shortened(Script("put /etc/x", "set -eu\ncat", "/etc/x")) == "put /etc/x"


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=4))
def test_any_words_arrive_as_they_were(words: list[str]) -> None:
    script = traced(["printf", "%s\\0", *words])
    ended = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert PID_LINE.fullmatch(ended.stderr)
    assert ended.stdout.decode().split("\0")[:-1] == (words or [""])


@pytest.mark.parametrize("stderr", [b"argosy-pid 12\nrest", b"hello from .bashrc\nargosy-pid 12\n"])
def test_the_group_is_found_behind_what_a_login_script_prints(stderr: bytes) -> None:
    found = PID_LINE.search(stderr)
    assert found
    assert found[1] == b"12"
