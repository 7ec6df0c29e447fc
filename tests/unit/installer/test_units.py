"""Which units are written and which are removed."""

from __future__ import annotations

from pathlib import Path

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
    (tmp_path / ".air-web.service.argosy-new").write_text("half of")
    assert present_units(tmp_path, "air") == {"air-web.service": OURS}


def test_a_file_is_replaced_in_one_step_even_after_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "air-web.service"
    (tmp_path / ".air-web.service.argosy-new").write_text("half of")
    assert files.write_if_changed(path, OURS)
    assert path.read_text() == OURS
    assert path.stat().st_mode & 0o777 == 0o644
    assert not files.write_if_changed(path, OURS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["air-web.service"]
