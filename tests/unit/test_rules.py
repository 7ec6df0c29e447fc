"""What docs/testing.md says of tests, as far as it can be read off them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(TESTS.rglob("test_*.py"))
ELAPSED = re.compile(r"assert .*(?:monotonic|perf_counter|time)\(\) - \w+ <")


def test_unit_tests_have_no_fakes_of_hosts_daemons_or_clocks() -> None:
    found = {
        (path.name, fake)
        for path in FILES
        if path.is_relative_to(TESTS / "unit")
        for node in ast.walk(ast.parse(path.read_text()))
        if (fake := _fake(node))
    }
    assert found == set()


def _fake(node: ast.AST) -> str:
    """Return the name of a fake that is made or imported here."""
    if isinstance(node, ast.ClassDef) and re.match(r"Fake|StandIn|Killed", node.name):
        return node.name
    return "fake_host" if isinstance(node, ast.ImportFrom) and node.module == "fake_host" else ""


def test_no_test_fails_because_something_took_long() -> None:
    assert [path.name for path in FILES if ELAPSED.search(path.read_text())] == []


def test_no_test_sleeps_to_wait() -> None:
    assert [path.name for path in FILES if re.search(r"^\s*time\.sleep\(", path.read_text(), re.MULTILINE)] == []
