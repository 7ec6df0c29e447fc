"""The scripts that exchange a machine's secrets folder, run by sh on a folder of this host."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from argosy.secrets.transfer import APPLY, MARKER, OBSERVE, Observed, pack, parse_observed, plan_changes
from argosy.secrets.value import Secret

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="they run as root, as on a machine; the e2e tests run them there"),
]

FILES = {"ca.crt": Secret(b"ca"), "token": Secret(b"\x00\xff"), "registry/config.json": Secret(b"{}")}
NEW = {"ca.crt": Secret(b"ca"), "token": Secret(b"new"), "more": Secret(b"more")}


def observe(folder: Path) -> Observed:
    shown = subprocess.run(["sh", "-c", OBSERVE, "argosy", folder], check=True, capture_output=True)
    return parse_observed(shown.stdout.decode())


def apply(folder: Path, files: dict[str, Secret], script: str = APPLY, cut: int | None = None) -> int:
    changes = plan_changes({name: secret.sha256 for name, secret in files.items()}, observe(folder))
    removed, archive = pack(changes, files)
    shell = ["sh", "-c", script, "argosy", str(folder), *removed]
    return subprocess.run(shell, input=archive[:cut], check=False, capture_output=True).returncode


def as_wanted(folder: Path, files: dict[str, Secret]) -> bool:
    content = {name: (folder / name).read_bytes() for name in files}
    return content == {name: secret.reveal() for name, secret in files.items()} and not plan_changes(
        {name: secret.sha256 for name, secret in files.items()}, observe(folder)
    )


class TestScripts:
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "air" / "secrets"

    def test_the_first_run_makes_it_all_for_root_alone(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        assert apply(folder, FILES) == 0
        assert as_wanted(folder, FILES)
        assert folder.parent.stat().st_mode & 0o777 == 0o755
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
        assert {path.name for path in folder.iterdir()} == {"ca.crt", "token", "registry", MARKER}

    def test_the_next_run_replaces_adds_and_removes(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        apply(folder, FILES)
        kept = (folder / "ca.crt").stat().st_ino
        assert apply(folder, NEW) == 0
        assert as_wanted(folder, NEW)
        assert not (folder / "registry").exists()
        assert (folder / "ca.crt").stat().st_ino == kept

    def test_whatever_stands_in_the_way_is_cleared(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        (folder / "token" / "sub").mkdir(parents=True)
        (folder / "registry").symlink_to("/etc")
        (folder / "a name\nwith lines").write_text("")
        assert apply(folder, FILES) == 0
        assert as_wanted(folder, FILES)

    def test_a_missing_marker_alone_is_set(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        apply(folder, FILES)
        (folder / MARKER).unlink()
        assert apply(folder, FILES) == 0
        assert as_wanted(folder, FILES)

    def test_a_transfer_that_breaks_off_anywhere_changes_nothing(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        apply(folder, FILES)
        _, archive = pack(plan_changes({name: secret.sha256 for name, secret in NEW.items()}, observe(folder)), NEW)
        end = archive.index(NEW["token"].sha256.encode()) + 600
        for cut in range(0, end, 256):
            code = apply(folder, NEW, cut=cut)
            if code == 0:
                pytest.fail(f"accepted {cut} bytes of {len(archive)}")
            assert as_wanted(folder, FILES), cut

    @pytest.mark.parametrize("line", range(1, APPLY.count("\n")))
    def test_after_a_kill_at_any_line_the_marker_tells_the_truth_and_the_next_run_ends_the_same(
        self, tmp_path: Path, line: int
    ) -> None:
        folder = self.folder(tmp_path)
        apply(folder, FILES)
        lines = APPLY.splitlines()
        script = "\n".join([*lines[:line], "kill -9 $$", *lines[line:]])
        assert apply(folder, NEW, script) == -signal.SIGKILL
        if (folder / MARKER).exists():
            content = {
                path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != MARKER
            }
            whole = [{n: s.reveal() for n, s in entry.items() if "/" not in n} for entry in (FILES, NEW)]
            assert content in whole
        assert apply(folder, NEW) == 0
        assert as_wanted(folder, NEW)
