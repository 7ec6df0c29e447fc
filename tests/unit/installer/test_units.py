"""Which units are written and which are removed."""

from __future__ import annotations

from pathlib import Path

from installer_examples import machine

from argosy_installer import files
from argosy_installer.units import Changes, plan, present_units

MARKER = "# argosy: a service of the system air"
OURS = f"{MARKER}\n[Service]\nExecStart=/bin/true\n"
FOREIGN = "[Service]\nExecStart=/bin/true\n"


def test_what_is_as_it_should_be_is_left_alone() -> None:
    assert plan({"air-web.service": OURS}, {"air-web.service": OURS}, MARKER) == Changes({}, ())


def test_new_and_changed_units_are_written() -> None:
    wanted = {"air-web.service": OURS, "air-db.service": OURS}
    assert plan({"air-web.service": OURS + "# old\n"}, wanted, MARKER) == Changes(wanted, ())


def test_only_units_with_our_marker_are_removed() -> None:
    present = {"air-gone.service": OURS, "air-etcd.service": FOREIGN, "air-mine.service": f"# {MARKER}\n"}
    assert plan(present, {}, MARKER) == Changes({}, ("air-gone.service",))


def test_a_unit_of_ours_replaces_a_file_of_its_name() -> None:
    assert plan({"air-web.service": FOREIGN}, {"air-web.service": OURS}, MARKER).write == {"air-web.service": OURS}


def test_present_units_are_the_system_s_own_files(tmp_path: Path) -> None:
    (tmp_path / "air-web.service").write_text(OURS)
    (tmp_path / "airport.service").write_text(OURS)
    (tmp_path / "air-web.socket").write_text(OURS)
    (tmp_path / "air-masked.service").symlink_to("/dev/null")
    (tmp_path / ".air-web.service.1234.tmp").write_text("half of")
    assert present_units(tmp_path, "air") == {"air-web.service": OURS}


def test_what_a_killed_installer_left_half_written_goes(tmp_path: Path) -> None:
    here = machine(tmp_path)
    (here.state / "services").mkdir(parents=True)
    here.units.mkdir(parents=True)
    kept = [here.units / ".ours-web.service.1234.tmp", here.state / ".agent.json.1234.tmp"]
    gone = [
        here.units / ".air-web.service.1234.tmp",
        here.state / ".install.json.1234.tmp",
        here.state / "services" / ".web.shell.1234.tmp",
    ]
    for path in (*kept, *gone):
        path.write_text("half of")
    files.remove_leftovers(here)
    assert [path for path in (*kept, *gone) if path.exists()] == kept
