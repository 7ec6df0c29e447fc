"""What must not go wrong on a template's way to the disk."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from template_site import Site, only_file

from argosy.agent.templates import commands
from argosy.agent.templates.keeping import Outcome

pytestmark = pytest.mark.integration

NOBODY = 65534


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "machine")


def test_owner_group_and_mode_are_as_the_resource_says(site: Site) -> None:
    path = site.resource("a", "x", f"uid = {NOBODY}", 'group = "nogroup"', 'mode = "0640"')
    assert site.keep()["a"] == Outcome(changed=True)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o640)
    assert site.keep()["a"] == Outcome(), "a second run changes nothing"
    os.chown(path, 0, 0)
    assert site.keep()["a"] == Outcome(changed=True)
    assert path.stat().st_uid == NOBODY
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_an_owner_that_nobody_knows_is_told(site: Site) -> None:
    site.resource("a", "x", 'owner = "nosuchuser"')
    assert "knows no user 'nosuchuser': give its number" in site.keep()["a"].reason


def test_a_file_that_its_check_refuses_leaves_the_old_one(site: Site) -> None:
    reloaded = site.root / "reloaded"
    lines = ('check_cmd = "echo looking; grep -q good {{.src}}"', f'reload_cmd = "echo >> {reloaded}"')
    path = site.resource("a", "{{ getv('/settings/a') }}", *lines)
    assert site.keep(a="good 1")["a"] == Outcome(changed=True, reloaded=True)
    inode = path.stat().st_ino
    outcome = site.keep(a="bad")["a"]
    assert outcome.reason.startswith("conf.d/a.toml: check_cmd `echo looking; grep -q good")
    assert "it ended with 1" in outcome.reason
    assert outcome.reason.endswith(f"{path} stays as it was")
    assert (path.read_text(), path.stat().st_ino) == ("good 1", inode)
    assert only_file(path)
    assert site.pending == []
    assert reloaded.read_text() == "\n"


def test_the_file_is_closed_until_its_owner_is_right(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    change = os.fchown

    def watched(descriptor: int, uid: int, gid: int) -> None:
        seen.append((stat.S_IMODE(os.fstat(descriptor).st_mode), os.fstat(descriptor).st_size))
        change(descriptor, uid, gid)

    monkeypatch.setattr(os, "fchown", watched)
    site.resource("a", "secret", f"uid = {NOBODY}")
    assert site.keep()["a"].changed
    assert seen == [(0o600, 6)]


def test_a_link_in_the_file_s_place_is_replaced_and_not_followed(site: Site) -> None:
    elsewhere = site.root / "elsewhere"
    elsewhere.write_text("not ours")
    path = site.resource("a", "x")
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    staged = path.with_name(".a.conf.argosy-new")
    staged.symlink_to(elsewhere)
    assert site.keep()["a"] == Outcome(changed=True)
    assert not path.is_symlink()
    assert (path.read_text(), elsewhere.read_text()) == ("x", "not ours")
    assert only_file(path)


def test_a_folder_that_is_a_link_leads_nowhere(site: Site) -> None:
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir()
    path = site.resource("a", "x")
    site.files.mkdir(parents=True)
    path.parent.symlink_to(elsewhere)
    assert f"{path} can't be written (a): " in site.keep()["a"].reason
    assert list(elsewhere.iterdir()) == []


def test_folders_that_are_missing_are_made_for_everybody_to_read(site: Site) -> None:
    path = site.resource("a", "x", dest="one/two/three/a.conf")
    umask = os.umask(0o077)
    try:
        assert site.keep()["a"].changed
    finally:
        os.umask(umask)
    folders = [parent for parent in path.parents if parent.is_relative_to(site.files / "one")]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o755] * 3


def test_something_that_is_no_file_is_not_replaced(site: Site) -> None:
    path = site.resource("a", "x")
    path.mkdir(parents=True)
    assert "something that is no file is in its place" in site.keep()["a"].reason
    assert path.is_dir()


def test_a_full_disk_keeps_the_old_file_and_the_next_try_is_whole(site: Site) -> None:
    path = site.resource("a", "{{ getv('/settings/a') * 1000 }}", f'reload_cmd = "echo >> {site.root}/reloaded"')
    path.parent.mkdir(parents=True)
    with tiny_disk(path.parent):
        assert site.keep(a="old ")["a"].changed
        reason = site.keep(a="x" * 500)["a"].reason
        assert f"{path} can't be written" in reason
        assert "No space left on device" in reason
        assert path.read_text() == "old " * 1000
        assert only_file(path)
        assert site.pending == []
        subprocess.run(["mount", "-o", "remount,size=4m", path.parent], check=True)
        assert site.keep(a="x" * 500)["a"] == Outcome(changed=True, reloaded=True)


@contextmanager
def tiny_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of 64 kB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_reload_that_can_t_be_noted_keeps_the_old_file(site: Site) -> None:
    path = site.resource("a", "{{ getv('/settings/a') }}", 'reload_cmd = "true"')
    site.keep(a="1")
    site.state.joinpath("templates.json").unlink()
    with tiny_disk(site.state):
        fill(site.state)
        outcome = site.keep(a="2")["a"]
        assert "No space left on device" in outcome.reason
        assert path.read_text() == "1"
        assert only_file(path)


def fill(folder: Path) -> None:
    """Fill the disk of `folder` to its last byte."""
    subprocess.run(["dd", "if=/dev/zero", f"of={folder}/filling", "bs=4k"], capture_output=True, check=False)


def test_a_command_that_leaves_something_running_or_says_much_is_no_trouble() -> None:
    said: list[str] = []
    assert commands.run("sleep 30 & echo done", said.append) == ""
    assert said == ["done"]
    said.clear()
    assert commands.run("seq 200000; exit 3", said.append) == "it ended with 3"
    assert said[-1] == "200000"
    assert len(said) < 5000
    assert commands.run("kill -TERM $$", said.append) == "it was killed by signal 15"
    assert commands.run("exec sleep 60", said.append, deadline_seconds=0.2).startswith("it did not end")
