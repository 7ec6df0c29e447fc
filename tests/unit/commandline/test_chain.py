from __future__ import annotations

import pytest

from argosy.commandline.chain import Link, disagreement


def link(name: str, *words: str, **flags: str | bool) -> Link:
    return Link(name, (name, *words), flags)


def test_tasks_that_are_given_the_same_agree() -> None:
    chain = [link("build", "--dry-run", dry_run=True, cluster=""), link("push", "--dry-run", dry_run=True, cluster="")]
    assert disagreement(chain, "local") == ""
    assert disagreement([link("build", dry_run=False), link("push", dry_run=False)], "local") == ""


def test_a_task_that_does_not_have_a_flag_does_not_lack_it() -> None:
    chain = [link("build", dry_run=False), link("push", dry_run=False), link("upgrade", yes=True, dry_run=False)]
    assert disagreement(chain, "local") == ""
    assert disagreement([link("versions", cluster=""), link("push", dry_run=True, cluster="")], "local") == ""


@pytest.mark.parametrize("dry", ["build", "push"])
def test_a_dry_run_is_one_of_all_tasks(dry: str) -> None:
    chain = [link(name, *(["--dry-run"] if name == dry else []), dry_run=name == dry) for name in ("build", "push")]
    wrong = disagreement(chain, "")
    assert f"{'push' if dry == 'build' else 'build'} would really run" in wrong
    assert wrong.endswith("inv build --dry-run push --dry-run")


def test_who_would_ask_is_named() -> None:
    chain = [link("stop", yes=False), link("build", dry_run=False), link("unlock", "--yes", yes=True)]
    assert "stop would ask" in disagreement(chain, "")
    assert disagreement(chain, "").endswith("inv stop --yes build unlock --yes")


def test_a_chain_works_on_one_cluster() -> None:
    chain = [link("build", "--only", "a b", cluster=""), link("push", "--cluster", "staging", cluster="staging")]
    wrong = disagreement(chain, "local")
    assert "build on local and push on staging" in wrong
    assert wrong.endswith("inv build --only 'a b' --cluster staging push --cluster staging")


def test_naming_the_cluster_that_is_chosen_anyway_changes_nothing() -> None:
    chain = [link("build", cluster=""), link("push", "--cluster", "staging", cluster="staging")]
    assert disagreement(chain, "staging") == ""


def test_several_clusters_are_several_commands() -> None:
    chain = [link(name, "--cluster", name, cluster=name, dry_run=name == "b") for name in ("a", "b")]
    wrong = disagreement(chain, "")
    assert wrong.endswith("inv a --cluster a --dry-run && inv b --cluster b")
