"""What may ask has `--yes`, and asks nobody where nobody is."""

from __future__ import annotations

import ast
import getpass
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from raised import raises

from argosy import console, ns
from argosy.errors import ConfigError, Refused
from argosy.membership import removing
from argosy.membership.actions import Planned
from argosy.model import Step
from argosy.tasks import membership

ROOT = Path(__file__).resolve().parents[2]
TASKS = "argosy.tasks."
ASKING = {"console.confirm", "console.agreed", "console.will_ask"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def functions() -> dict[str, set[str]]:
    """Return what each function of fabfile/ calls, both named by module."""
    found = {}
    for path in sorted((ROOT / "fabfile").glob("*.py")):
        body = ast.parse(path.read_text()).body
        others = {
            alias.name: f"{node.module.removeprefix(TASKS)}.{alias.name}"
            for node in body
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(TASKS)
            for alias in node.names
        }
        for node in body:
            if isinstance(node, ast.FunctionDef):
                found[f"{path.stem}.{node.name}"] = set(called(node, path.stem, others))
    return found


def called(function: ast.FunctionDef, module: str, others: Mapping[str, str]) -> Iterator[str]:
    """Yield what a function calls. `others`: what its module imports of others of fabfile/."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield others.get(node.func.id, f"{module}.{node.func.id}")
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def asking() -> set[str]:
    """Return the functions of fabfile/ that may ask, themselves or through others of it."""
    calls, found = functions(), set(ASKING)
    while more := {name for name, names in calls.items() if names & found} - found:
        found |= more
    return found - ASKING


def tasks() -> dict[str, set[str]]:
    """Return the parameters of each task, named by module and function."""
    bodies = [task for space in ns.collections.values() for task in space.tasks.values()]
    return {
        f"{body.body.__module__.rpartition('.')[2]}.{body.body.__name__}": {
            argument.name or "" for argument in body.get_arguments()
        }
        for body in bodies
    }


def test_each_task_that_may_ask_can_be_told_not_to() -> None:
    may_ask = asking()
    assert {
        "registry.stop",
        "membership.remove_machine",
        "rollouts.rolling_upgrade",
        "service_updates.update",
    } < may_ask
    assert {name: "yes" in flags for name, flags in tasks().items()} == {name: name in may_ask for name in tasks()}


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None], ids=["no terminal", "closed"])
def test_without_a_terminal_it_is_refused(monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with raises(Refused, "Wipe it?", "--yes"):
        console.confirm("Wipe it?", yes=False)
    console.confirm("Wipe it?", yes=True)
    assert not console.will_ask(yes=False)


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("Yes\n", True), ("\n", False), ("no\n", False), ("", False)]
)
def test_only_yes_is_yes(monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    if agreed:
        console.confirm("Wipe it?", yes=False)
        return
    with raises(Refused, "Nothing was done"):
        console.confirm("Wipe it?", yes=False)


@pytest.mark.parametrize("stdin", [io.StringIO("typed\n"), None], ids=["no terminal", "closed"])
def test_a_passphrase_is_asked_of_nobody_where_nobody_is(
    monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with raises(ConfigError, "THE_KEY has it", path="Passphrase"):
        console.ask_secret("Passphrase", "THE_KEY has it")


@pytest.mark.parametrize(("typed", "agrees"), [(["a", "a"], True), (["a", "b"], False)])
def test_a_new_passphrase_is_typed_twice(monkeypatch: pytest.MonkeyPatch, typed: list[str], agrees: bool) -> None:
    answers = iter(typed)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(answers))
    if agrees:
        assert console.ask_secret("Passphrase", "", twice=True) == "a"
        return
    with raises(ConfigError, "the two differ", path="Passphrase"):
        console.ask_secret("Passphrase", "", twice=True)


def test_a_plan_is_shown_before_the_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert console.agreed(lambda: [Step("air-01", "remove it")], yes=False, dry_run=False, as_json=False)
    assert capsys.readouterr().out.startswith("air-01")


def test_what_is_asked_for_is_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, dict[str, bool]]] = []

    def noted(name: str) -> Callable[..., Planned]:
        def operation(*_words: object, **risks: bool) -> Planned:
            done.append((name, risks))
            return Planned((), ())

        return operation

    monkeypatch.setattr(removing, "plan", noted("planned"))
    monkeypatch.setattr(removing, "remove", noted("removed"))
    monkeypatch.setattr(membership, "settings_of", lambda *_words: None)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    membership.remove_machine.body(None, "air-01", "air-02", force=True, lose_volumes=True)
    risks = {"force": True, "lose_volumes": True}
    assert done == [("planned", risks), ("removed", risks)]
