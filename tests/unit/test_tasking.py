from __future__ import annotations

import json
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.program import Program

from argosy.tasking import task


@task(words="addresses", help={"addresses": "the machines"})
def write(c: Context, addresses: list[str], fmt: str = "", dry_run: bool = False) -> None:
    print(json.dumps(["write", addresses, fmt, dry_run]))


@task(words="number", words_max=1)
def start(c: Context, number: list[str], fast: bool = False) -> None:
    print(json.dumps(["start", number, fast]))


@task
def grow(c: Context, existing: str, new: str) -> None:
    print(json.dumps(["grow", existing, new]))


@task(words="names")
def wait_for(c: Context, names: list[str], times: int = 1, seconds: float = 2.0) -> None:
    print(json.dumps(["wait_for", times, seconds, names]))


@task
def stopped(c: Context) -> None:
    raise KeyboardInterrupt


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> list[Any]:
    program = Program(namespace=Collection(write, start, grow, wait_for, stopped))
    program.run(["inv", *argv], exit=False)
    output = capsys.readouterr()
    assert output.err == ""
    return [json.loads(line) for line in output.out.splitlines()]


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    program = Program(namespace=Collection(write, start, grow, wait_for, stopped))
    with pytest.raises(SystemExit) as caught:
        program.run(["inv", *argv])
    assert caught.value.code
    return f"{caught.value.code} {capsys.readouterr().err.strip()}"


@pytest.mark.parametrize(
    ("argv", "called"),
    [
        (["write"], [["write", [], "", False]]),
        (["write", "10.0.0.1"], [["write", ["10.0.0.1"], "", False]]),
        (["write", "a", "b", "c"], [["write", ["a", "b", "c"], "", False]]),
        (["write", "a", "--dry-run", "b"], [["write", ["a", "b"], "", True]]),
        (["write", "--fmt", "x", "a"], [["write", ["a"], "x", False]]),
        (["write", "--fmt=x", "a", "--addresses", "b"], [["write", ["a", "b"], "x", False]]),
        (["write", "a", "start"], [["write", ["a"], "", False], ["start", [], False]]),
        (
            ["write", "a", "start", "3", "write", "b"],
            [["write", ["a"], "", False], ["start", ["3"], False], ["write", ["b"], "", False]],
        ),
        (["start", "--fast", "3"], [["start", ["3"], True]]),
        (["grow", "a", "b", "write", "c"], [["grow", "a", "b"], ["write", ["c"], "", False]]),
    ],
)
def test_words_go_to_the_task_they_follow(
    capsys: pytest.CaptureFixture[str], argv: list[str], called: list[Any]
) -> None:
    assert run(capsys, *argv) == called


def test_one_word_too_many_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No idea what '4' is" in error(capsys, "start", "3", "4")


def test_a_word_that_no_task_takes_is_still_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No idea what 'nonsense' is" in error(capsys, "nonsense")
    assert "did not receive" in error(capsys, "grow", "a")


@pytest.mark.parametrize(
    ("flag", "value", "kind"), [("--times", "many", "whole number"), ("--seconds", "1s", "number")]
)
def test_a_number_that_is_none_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, kind: str
) -> None:
    assert error(capsys, "wait-for", flag, value) == f"10 {flag}: {value!r} is no {kind}"


def test_numbers_arrive_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "wait-for", "--times", "3", "--seconds", "1.5", "a") == [["wait_for", 3, 1.5, ["a"]]]
    assert run(capsys, "wait-for") == [["wait_for", 1, 2.0, []]]


def test_ctrl_c_is_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "stopped").startswith("130 stopped: interrupted")


def test_a_task_gives_its_help_texts_every_time_it_is_asked() -> None:
    for _ in range(2):
        assert [argument.help for argument in write.get_arguments()] == ["the machines", None, None]
