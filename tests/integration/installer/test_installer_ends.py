"""How the commands pull and install end, whatever becomes of the work itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from installer_examples import machine, write_release

from argosy_installer import install, pulling, record, release
from argosy_installer.errors import EXIT_FAILED, EXIT_TRY_AGAIN, Failed, Failure, TryAgain
from argosy_installer.files import single_instance

Command = Callable[[Mapping[str, str]], int]

# Pulling alone


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (None, 0, ""),
        (Failed.because("no room"), EXIT_FAILED, "failed: no room\n"),
        (TryAgain("no answer"), EXIT_TRY_AGAIN, "to be tried again: no answer\n"),
    ],
)
def test_the_command_pull_pulls_and_does_nothing_else(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    outcome: Exception | None,
    code: int,
    said: str,
) -> None:
    here = machine(tmp_path)
    write_release(here.release, {"web": {"image": "web"}})
    pulled: list[str] = []

    def pull(_docker: object, _machine: object, wanted: release.Release, _say: object) -> None:
        pulled.extend(wanted.images)
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(pulling, "pull", pull)
    monkeypatch.setattr(pulling, "from_environment", lambda _environment: here)
    assert pulling.run({}) == code
    assert capsys.readouterr().out == said
    assert pulled == ["web"]
    assert not here.state.exists()


# Another cluster's release


@pytest.mark.parametrize("command", [pulling.run, install.run])
def test_a_release_of_another_cluster_is_refused_and_nothing_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """No Docker, no etcd, no systemd is there: whatever touched one of them would fail in another way."""
    here = machine(tmp_path, CLUSTER="production")
    write_release(here.release, {"web": {"image": "web"}})
    here.state.mkdir(parents=True)
    for module in (pulling, install):
        monkeypatch.setattr(module, "from_environment", lambda _environment: here)
    assert command({}) == EXIT_FAILED
    said = capsys.readouterr().out
    assert (
        "is of the cluster test of air, and this machine of the cluster production of air: nothing was changed" in said
    )
    left = {path.name for path in here.state.iterdir()}
    assert left <= {"install.json", "installer.lock"}
    assert not here.units.exists()


# The result


def test_a_failed_install_ends_with_its_result_as_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(tmp_path)
    here.state.mkdir(parents=True)

    def failing(*_: object) -> None:
        raise Failed(Failure("web", "answers 500", ("last line",)))

    monkeypatch.setattr(install, "install", failing)
    write_release(here.release, {"web": {"image": "web"}})
    monkeypatch.setattr(install, "from_environment", lambda _environment: here)
    assert install.run({}) == EXIT_FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == ["failed: web: answers 500", "    last line"]
    result = json.loads(lines[-1].removeprefix("argosy-result "))
    assert result == json.loads(here.install_record.read_text())
    assert result["state"] == "failed"
    assert result["failed"] == [{"service": "web", "reason": "answers 500", "log": ["last line"]}]


def test_a_second_installer_leaves_the_first_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(tmp_path)
    monkeypatch.setattr(install, "from_environment", lambda _environment: here)
    with single_instance(here.state / "installer.lock"):
        assert install.run({}) == EXIT_TRY_AGAIN
    assert "another installer" in capsys.readouterr().out
    assert not here.install_record.exists()


def test_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(tmp_path)
    here.state.mkdir(parents=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/var/lib/air/install.json")

    monkeypatch.setattr(install, "from_environment", lambda _environment: here)
    monkeypatch.setattr(record, "write_result", full)
    assert install.run({}) == EXIT_FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed: no space left on the disk for /var/lib/air/install.json")
    assert lines[-1].startswith("argosy-result ")
    assert len(lines) == 2
