"""What changes in a machine's secrets folder."""

from __future__ import annotations

import json

import pytest

from argosy.secrets.transfer import MARKER, Action, Change, Entry, Observed, parse_observed, plan_changes, summary
from argosy.secrets.value import Secret

FILES = {"ca.crt": Secret(b"ca"), "token": Secret(b"\x00\xff"), "registry/config.json": Secret(b"{}")}
WANTED: dict[str, str | None] = {name: secret.sha256 for name, secret in FILES.items()}
FOLDER = Entry("d", "700", "0:0")


def there(**changes: Entry | None) -> Observed:
    """Return the folder as wanted, but for `changes` (dots for slashes are not needed: names are given as they are)."""
    entries: dict[str, Entry | None] = {name: Entry("f", "600", "0:0", secret.sha256) for name, secret in FILES.items()}
    entries |= {"registry": FOLDER, MARKER: Entry("f", "600", "0:0")}
    entries |= changes
    return Observed(FOLDER, {name: entry for name, entry in entries.items() if entry})


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(b"hunter2")
    for shown in (repr(secret), str(secret), f"{secret}", repr({"x": secret}), json.dumps([secret], default=str)):
        assert "hunter2" not in shown
    assert secret == Secret(b"hunter2")


class TestPlan:
    def test_a_folder_that_is_as_wanted_needs_nothing(self) -> None:
        assert plan_changes(WANTED, there()) == []

    def test_a_machine_without_the_folder_gets_everything(self) -> None:
        assert plan_changes(WANTED, Observed()) == [Change(Action.WRITE, name) for name in sorted(WANTED)]

    @pytest.mark.parametrize(
        ("difference", "changes"),
        [
            ({"token": None}, [Change(Action.WRITE, "token")]),
            ({"token": Entry("f", "600", "0:0", "other")}, [Change(Action.REPLACE, "token")]),
            ({"token": Entry("f", "644", "0:0", FILES["token"].sha256)}, [Change(Action.REPAIR, "token")]),
            ({"token": Entry("f", "600", "500:0", FILES["token"].sha256)}, [Change(Action.REPAIR, "token")]),
            ({"token": Entry("d", "700", "0:0")}, [Change(Action.REMOVE, "token"), Change(Action.WRITE, "token")]),
            ({"token": Entry("l", "777", "0:0")}, [Change(Action.REMOVE, "token"), Change(Action.WRITE, "token")]),
            ({"registry": Entry("d", "755", "0:0")}, [Change(Action.REPAIR, "registry")]),
            ({"old": Entry("f", "600", "0:0", "x")}, [Change(Action.REMOVE, "old")]),
            ({".stage": FOLDER, ".stage/a": Entry("f", "600", "0:0", "x")}, [Change(Action.REMOVE, ".stage")]),
            ({MARKER: None}, [Change(Action.MARK)]),
        ],
    )
    def test_each_difference_is_one_change(self, difference: dict[str, Entry | None], changes: list[Change]) -> None:
        assert plan_changes(WANTED, there(**difference)) == changes

    def test_a_folder_open_to_others_is_closed(self) -> None:
        observed = Observed(Entry("d", "755", "0:0"), there().entries)
        assert [str(change) for change in plan_changes(WANTED, observed)] == [
            "set owner and mode of the folder of secrets"
        ]

    def test_what_is_not_made_yet_is_written(self) -> None:
        assert plan_changes({**WANTED, "new.key": None}, there()) == [Change(Action.WRITE, "new.key")]

    def test_the_summary_counts(self) -> None:
        assert summary([]) == "unchanged"
        changes = [
            Change(Action.WRITE, "a"),
            Change(Action.REPLACE, "b"),
            Change(Action.REMOVE, "c"),
            Change(Action.REPAIR),
        ]
        assert summary(changes) == "2 written, 1 removed, 1 set right"

    def test_odd_names_on_the_machine_are_read_whole(self) -> None:
        output = f"entry d 700 0:0 \0entry f 644 0:0 a b\n c\0{'0' * 64}  ./a b\n c\0"
        assert parse_observed(output) == Observed(FOLDER, {"a b\n c": Entry("f", "644", "0:0", "0" * 64)})
