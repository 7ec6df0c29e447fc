"""The small parts of the agent, each by itself."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from argosy.agent import run
from argosy.agent.log import Trouble
from argosy.agent.router.configuration import Configuration


class TestTrouble:
    def test_it_is_told_when_it_begins_changes_and_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        trouble = Trouble(logging.getLogger("x"), "over", starting="not yet")
        assert trouble.reason == "not yet"
        for reason in ("", "", "a", "a", "b", "", "", "b"):
            trouble.set(reason)
        assert [record.message for record in caplog.records] == ["a", "b", "over", "b"]

    def test_what_held_from_the_start_is_told_when_it_is_so(self, caplog: pytest.LogCaptureFixture) -> None:
        trouble = Trouble(logging.getLogger("x"), "over", starting="not yet")
        trouble.set("not yet")
        assert [record.message for record in caplog.records] == ["not yet"]


class TestThreads:
    def test_one_that_fails_ends_the_process(self) -> None:
        program = """if True:
            import threading
            from argosy.agent import log, run
            log.start()
            threading.excepthook = run._end_with
            threading.Thread(target=lambda: [][1], name="router").start()
            threading.Event().wait(20)
        """
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == run.EXIT_FAILED
        assert "thread router failed" in done.stderr
        assert "IndexError" in done.stderr


class TestConfiguration:
    FILES: ClassVar = {
        "haproxy.cfg": "global\n    description structure=one\n    bind :80\n",
        "maps/hosts-one.map": "a b\n",
    }

    def make(self, folder: Path, verdict: str = "") -> tuple[Configuration, list[str]]:
        checked: list[str] = []

        def check(path: Path) -> str:
            checked.append(path.read_text())
            return verdict

        return Configuration(folder, check), checked

    def test_it_is_checked_before_it_is_put_in_place_and_maps_are_there_first(self, tmp_path: Path) -> None:
        made, checked = self.make(tmp_path)
        assert made.text == made.structure == ""
        assert made.put(self.FILES) == ""
        assert checked == [self.FILES["haproxy.cfg"]]
        assert (made.structure, made.ports) == ("one", frozenset({80}))
        assert (tmp_path / "maps/hosts-one.map").read_text() == "a b\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["haproxy.cfg", "maps"]

    def test_the_same_again_is_neither_checked_nor_written(self, tmp_path: Path) -> None:
        made, checked = self.make(tmp_path)
        made.put(self.FILES)
        before = (tmp_path / "haproxy.cfg").stat().st_mtime_ns
        made.put(self.FILES)
        assert (len(checked), (tmp_path / "haproxy.cfg").stat().st_mtime_ns) == (1, before)

    def test_what_is_refused_leaves_no_trace(self, tmp_path: Path) -> None:
        self.make(tmp_path)[0].put(self.FILES)
        made, _ = self.make(tmp_path, "no")
        assert made.put({"haproxy.cfg": "structure=two\n", "maps/hosts-two.map": ""}) == "no"
        assert made.text == self.FILES["haproxy.cfg"]
        assert [path.name for path in (tmp_path / "maps").iterdir()] == ["hosts-one.map"]

    def test_the_one_before_can_be_put_back_as_its_maps_are_there_still(self, tmp_path: Path) -> None:
        made, _ = self.make(tmp_path)
        made.put(self.FILES)
        made.put({"haproxy.cfg": "other\n", "maps/hosts-two.map": ""})
        made.restore()
        assert made.structure == "one"
        made.tidy("one")
        assert [path.name for path in (tmp_path / "maps").iterdir()] == ["hosts-one.map"]
