"""Where images and releases lie, and that no name of a user's lies among releases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.config.loading import NAME_PATTERN, load
from argosy.config.types import IMAGE_PATTERN
from argosy.images.repositories import names_no_cluster, parse_repository, repository
from argosy.images.store import foreign

IMAGE_NAMES = st.from_regex(IMAGE_PATTERN, fullmatch=True)
CLUSTERS = st.from_regex(NAME_PATTERN, fullmatch=True)
COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
"""Of a repository: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests"""


@given(st.sampled_from(["air", "team/air"]), IMAGE_NAMES)
def test_an_image_is_found_by_where_it_lies(prefix: str, name: str) -> None:
    assert parse_repository(prefix, repository(prefix, name)) == (name, "")


@given(st.sampled_from(["air", "team/air"]), CLUSTERS)
def test_a_release_is_found_by_where_it_lies(prefix: str, cluster: str) -> None:
    where = repository(prefix, "installer", cluster)
    assert parse_repository(prefix, where) == ("installer", cluster)
    assert all(COMPONENT.fullmatch(part) for part in where.split("/"))


@given(IMAGE_NAMES, CLUSTERS)
def test_no_image_lies_among_a_cluster_s_releases(name: str, cluster: str) -> None:
    assert repository("air", name, cluster) != repository("air", "installer", cluster) or name == "installer"


@pytest.mark.parametrize(
    "path", ["sea/web", "air", "airs/web", "air/", "air/web/test", "air/installer/test/more", "air/prod/installer/test"]
)
def test_what_lies_elsewhere_is_not_ours(path: str) -> None:
    assert parse_repository("air", path) is None


@pytest.mark.parametrize(
    ("system", "cluster", "path", "none"),
    [
        ("air", "production", "air/installer", True),
        ("air", "production", "air/installer/production", False),
        ("air", "installer", "air/installer/installer", False),
        ("installer", "production", "installer/installer", True),
        ("air", "production", "", False),
    ],
)
def test_a_release_that_names_no_cluster_is_known_by_where_it_lies(
    system: str, cluster: str, path: str, none: bool
) -> None:
    settings = load({"system": system, "clusters": {cluster: {}}}, root=Path("/nowhere"))
    assert names_no_cluster(settings, path) is none
    assert not names_no_cluster(settings, repository(system, "installer", cluster))


OWN = {"argosy.system": "air", "argosy.image": "installer", "argosy.cluster": "production"}


@pytest.mark.parametrize(
    ("labels", "cluster", "why"),
    [
        (OWN, "production", ""),
        ({**OWN, "argosy.cluster": "staging"}, "production", "it is a release of the cluster staging"),
        ({**OWN, "argosy.cluster": ""}, "production", "it is a release of the cluster nobody"),
        ({**OWN, "argosy.system": "sea"}, "production", "it is a release of the system sea"),
        ({}, "production", "it is no release"),
        ({**OWN, "argosy.image": "web"}, "production", "it is no release"),
        (OWN, "", "it is a release of the cluster production"),
        ({**OWN, "argosy.cluster": ""}, "", ""),
    ],
)
def test_a_release_is_whose_its_labels_say(labels: dict[str, str], cluster: str, why: str) -> None:
    assert foreign(labels, "air", "installer", cluster) == why


def test_other_images_are_everybody_s() -> None:
    assert foreign({}, "air", "web", "") == ""
