from __future__ import annotations

import json
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.parser import Parser
from invoke.program import Program
from invoke.tasks import task as invoke_task

from argosy import ns
from argosy.tasking import HELP, task


@task(words="addresses", help={"addresses": "the machines"})
def write(c: Context, addresses: list[str], fmt: str = "", dry_run: bool = False) -> None:
    print(json.dumps(["write", addresses, fmt, dry_run]))


@task(words="number", words_max=1)
def start(c: Context, number: list[str], fast: bool = False) -> None:
    print(json.dumps(["start", number, fast]))


@task
def show(c: Context, only: list[str]) -> None:
    print(json.dumps(["show", only]))


@task
def grow(c: Context, existing: str, new: str) -> None:
    print(json.dumps(["grow", existing, new]))


@task(words="names")
def wait_for(c: Context, names: list[str], times: int = 1, seconds: float = 2.0) -> None:
    print(json.dumps(["wait_for", times, seconds, names]))


@task
def stopped(c: Context) -> None:
    raise KeyboardInterrupt


@task
def build(c: Context, only: str = "", quick: bool = True, cluster: str = "", dry_run: bool = False) -> None:
    print(json.dumps(["build", cluster, dry_run]))


@task(iterable=["part"])
def push(c: Context, name: str, part: list[str], cluster: str = "", dry_run: bool = False) -> None:
    print(json.dumps(["push", cluster, dry_run]))


@invoke_task
def prepare(c: Context) -> None:
    print(json.dumps(["prepare"]))


@invoke_task(pre=[prepare])
def deploy(c: Context, dry_run: bool = False) -> None:
    print(json.dumps(["deploy", dry_run]))


ALL = (write, start, show, grow, wait_for, stopped, build, push, prepare, deploy)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> list[Any]:
    program = Program(namespace=Collection(*ALL))
    program.run(["inv", *argv], exit=False)
    output = capsys.readouterr()
    assert output.err == ""
    return [json.loads(line) for line in output.out.splitlines()]


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    program = Program(namespace=Collection(*ALL))
    with pytest.raises(SystemExit) as caught:
        program.run(["inv", *argv])
    assert caught.value.code
    return f"{caught.value.code} {capsys.readouterr().err.strip()}"


@pytest.mark.parametrize(
    ("argv", "called"),
    [
        (["write"], [["write", [], "", False]]),
        (["show"], [["show", []]]),
        (["show", "--only", "a", "--only", "b"], [["show", ["a", "b"]]]),
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


def test_flags_that_a_chain_must_share_are_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    told = error(capsys, "build", "--only", "a b", "--no-quick", "push", "x", "--part", "p", "--dry-run")
    assert told.startswith("10 ")
    assert told.endswith("inv build --only 'a b' --no-quick --dry-run push x --part p --dry-run")
    assert capsys.readouterr().out == ""


def test_a_chain_works_on_the_cluster_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVOKE_CLUSTER", "staging")
    namespace = Collection(*ALL)
    namespace.configure({"cluster": "", "clusters": {"local": {}, "staging": {}}})
    words = ["inv", "build", "push", "x", "--cluster"]
    Program(namespace=namespace).run([*words, "staging"], exit=False)
    assert capsys.readouterr().out.splitlines() == ['["build", "", false]', '["push", "staging", false]']
    with pytest.raises(SystemExit) as caught:
        Program(namespace=namespace).run([*words, "local"])
    assert caught.value.code == 10
    assert "build on staging and push on local" in capsys.readouterr().err


def test_a_task_runs_as_often_as_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    named = [words[0] for words in run(capsys, "push", "x", "build", "push", "x")]
    assert named == ["push", "build", "push"]


def test_what_is_not_ours_is_left_to_invoke(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "deploy", "prepare", "deploy") == [["prepare"], ["deploy", False]]
    assert run(capsys, "deploy", "deploy", "--dry-run") == [["prepare"], ["deploy", False], ["deploy", True]]


def test_every_task_can_be_asked_for_its_help() -> None:
    core = Program(namespace=ns).initial_context
    for context in ns.to_contexts():
        parsed = Parser(contexts=[context], initial=core).parse_argv([str(context.name), "--help"])
        assert (context.name, parsed[0].args.help.value) == (context.name, context.name)


@pytest.mark.parametrize("words", [("--help", "cluster.ssh"), ("cluster.ssh", "--help"), ("cluster.ssh", "-h")])
def test_help_says_what_a_task_takes(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    Program(namespace=ns).run(["inv", *words], exit=False)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "[--core-opts] cluster.ssh " in shown.out
    assert "--machine" in shown.out


def test_help_is_shown_wherever_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["grow", "a", "--help"], ["write", "a", "b", "-h"], ["start", "--fast", "--help"]):
        Program(namespace=Collection(*ALL)).run(["inv", *words], exit=False)
        assert f"{words[0]} [--options]" in capsys.readouterr().out


def test_a_task_gives_its_help_texts_every_time_it_is_asked() -> None:
    for _ in range(2):
        assert [argument.help for argument in write.get_arguments()] == ["the machines", None, HELP["dry_run"]]


@task(help={"yes": "don't ask before it is gone"})
def remove(c: Context, yes: bool = False, json: bool = False, cluster: str = "") -> None:
    """Say of one flag what the others of its name do not mean."""


def test_common_flags_are_explained_once_and_a_task_may_mean_something_else() -> None:
    texts = {argument.name: argument.help for argument in remove.get_arguments()}
    assert texts == {"yes": "don't ask before it is gone", "json": HELP["json"], "cluster": HELP["cluster"]}
