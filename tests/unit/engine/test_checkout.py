"""Whose something is: a checkout's identity through moves and copies, and the names and labels made of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from raised import raises

from argosy.config.loading import Settings, load
from argosy.engine.checkout import Choice, HostRecord, checkout_of, host_record, keep, path_of_original, save_record
from argosy.engine.names import CHECKOUT_LABEL, container_name, is_own, labels_of, refuse_foreign, role_labels
from argosy.errors import ConfigError, Refused

CHOSEN = {"local.subnet": Choice("192.168.55.0/24", "192.168.56.0/24")}


def settings(root: Path, cluster: str = "here") -> Settings:
    root.mkdir(exist_ok=True)
    return load({"clusters": {cluster: {}}}, root=root)


def moved(root: Path, to: Path) -> Settings:
    root.rename(to)
    return settings(to)


def test_the_identity_is_made_once_and_tells_folders_apart(tmp_path: Path) -> None:
    here = settings(tmp_path / "a")
    before = checkout_of(here)
    assert not (tmp_path / "a" / ".argosy").exists(), "to ask writes nothing"
    assert keep(here) == keep(here) == before
    assert before.path == str(tmp_path / "a")
    assert checkout_of(settings(tmp_path / "b")).id != before.id


def test_a_checkout_that_moved_keeps_its_identity_and_what_its_clusters_have(tmp_path: Path) -> None:
    here = settings(tmp_path / "a")
    save_record(here, chosen=CHOSEN)
    there = moved(tmp_path / "a", tmp_path / "b")
    assert checkout_of(there).id == keep(there).id == host_record(there).checkout
    assert checkout_of(there).path == str(tmp_path / "b")
    assert host_record(there).chosen == CHOSEN
    assert path_of_original(there) == ""
    assert checkout_of(settings(tmp_path / "a")).id != checkout_of(there).id, "a new one where it was"


def test_a_copy_gets_an_identity_of_its_own_and_has_nothing_of_the_original_s(tmp_path: Path) -> None:
    original = settings(tmp_path / "a")
    save_record(original, stem="argosy-here")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = settings(tmp_path / "b")
    assert checkout_of(copy).id != checkout_of(original).id
    assert host_record(copy) == HostRecord()
    assert path_of_original(copy) == str(tmp_path / "a")
    assert container_name(original, "x") == "argosy-here-x"
    assert container_name(copy, "x") != "argosy-here-x"


def test_one_folder_by_two_names_is_one_checkout(tmp_path: Path) -> None:
    here = settings(tmp_path / "a")
    keep(here)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert checkout_of(settings(tmp_path / "link")) == checkout_of(here)


def test_a_file_that_is_not_ours_is_an_error_and_not_another_identity(tmp_path: Path) -> None:
    here = settings(tmp_path / "a")
    keep(here)
    path = tmp_path / "a" / ".argosy" / "checkout.json"
    path.write_text("{}")
    with raises(ConfigError, path=str(path)):
        checkout_of(here)


def test_names_hold_the_identity_and_labels_tell_the_path(tmp_path: Path) -> None:
    here = settings(tmp_path / "a")
    identity = checkout_of(here).id
    assert container_name(here, "air-01") == f"argosy-here-{identity[:6]}-air-01"
    assert labels_of(here, "machine") == {
        "argosy.system": "air",
        "argosy.cluster": "here",
        "argosy.role": "machine",
        "argosy.checkout": identity,
        "argosy.path": str(tmp_path / "a"),
    }


def test_own_is_what_bears_the_identity_and_what_is_older_once_it_is_adopted(tmp_path: Path) -> None:
    here, there = settings(tmp_path / "a"), settings(tmp_path / "b")
    older = role_labels(here, "registry")
    assert is_own(here, labels_of(here, "registry"))
    assert not is_own(there, labels_of(here, "registry"))
    assert not is_own(settings(tmp_path / "a", "other"), labels_of(here, "registry"))
    assert not is_own(here, older)
    save_record(here, stem="argosy-here")
    assert is_own(here, older)
    assert is_own(here, labels_of(here, "registry"))
    assert not is_own(there, older)


def test_another_s_is_refused_with_where_it_comes_from(tmp_path: Path) -> None:
    here, there = settings(tmp_path / "a"), settings(tmp_path / "b")
    wanted = labels_of(here, "registry")
    refuse_foreign("container x", wanted, wanted)
    refuse_foreign("container x", {**wanted, "argosy.path": "/where/it/was"}, wanted)
    refuse_foreign("container x", role_labels(here, "registry"), wanted)
    with raises(Refused, str(tmp_path / "b")) as caught:
        refuse_foreign("container x", labels_of(there, "registry"), wanted)
    assert caught.value.code == 11
    with pytest.raises(Refused, match="not known"):
        refuse_foreign("container x", {CHECKOUT_LABEL: "another"}, wanted)
