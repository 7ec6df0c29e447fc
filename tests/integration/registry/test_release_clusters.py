"""A release belongs to a cluster, for real: two clusters with one engine and one registry. Whatever way a release of
staging's is offered to production, it is refused and nothing changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from image_project import Project, emptied, registry_project

from argosy.builds import images as image_builds
from argosy.builds import installer, stored
from argosy.builds.versioning import Built
from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.engine.names import CLUSTER_LABEL
from argosy.errors import Refused
from argosy.images.repositories import names_no_cluster
from argosy.images.store import label_instruction, stored_images
from argosy.images.store import push as push_image
from argosy.images.versions import ReleaseInUse
from argosy.registry import access, contents, push
from argosy.rollouts.run import Flags, images_of, release_of, request_of

pytestmark = [pytest.mark.integration, pytest.mark.slow(2)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with registry_project(tmp_path_factory.mktemp("clusters"), "clusters") as project:
        yield project


@pytest.fixture
def project(running: Project) -> Iterator[Project]:
    """One image, and a service that runs it."""
    with emptied(running) as project:
        project.write("installer", "FROM scratch\nCOPY release /release\n")
        project.options["services"] = {"web": {"image": "web"}}
        project.write("web", data="one")
        image_builds.build_images(project.settings, project.report, ["web"])
        yield project


@pytest.fixture
def staging(project: Project) -> Settings:
    return project.of("staging", services={"web": {"env": {"STAGE": "staging"}}})


@pytest.fixture
def production(project: Project) -> Settings:
    return project.of("production", services={"web": {"env": {"STAGE": "production"}}})


def released(project: Project, settings: Settings) -> Built:
    """Build a release and push it."""
    built = installer.build_installer(settings, project.report)
    push.push(settings, project.report)
    return built


def again(project: Project, settings: Settings, content: str) -> Built:
    """Change what the release runs, build and push it."""
    project.write("web", data=content)
    image_builds.build_images(settings, project.report, ["web"])
    return released(project, settings)


def put_in_registry(settings: Settings, image: str, repository: str, version: str) -> None:
    """Push an image of the engine by hand, whatever Argosy thinks of it."""
    where = f"{settings.registry.address}/{repository}"
    with connect() as client:
        client.api.tag(image, where, version)
        try:
            login = {"username": settings.registry.user, "password": access.password(settings)}
            push_image(client, f"{where}:{version}", login)
        finally:
            client.api.remove_image(f"{where}:{version}")


def legacy(project: Project, settings: Settings, version: str) -> str:
    """Make a release as it was made before releases named their cluster, here and in the registry."""
    project.write("before", f"FROM {installer.build_installer(settings, project.report).reference}\n")
    labels = label_instruction({CLUSTER_LABEL: "", "argosy.version": version})
    project.write("before", f"FROM {installer.build_installer(settings, project.report).reference}\n{labels}\n")
    with connect() as client:
        made, _ = client.images.build(path=str(project.root / "before"), rm=True)
        client.api.tag(made.id, f"{project.system}/installer", version)
    put_in_registry(settings, f"{project.system}/installer:{version}", f"{project.system}/installer", version)
    return version


def nobody(subject: str, message: str) -> None:
    pytest.fail(f"{subject}: {message}")


def everything(settings: Settings) -> list[tuple[str, str, str]]:
    return [(row.name, row.cluster, row.version) for row in contents.list_images(settings, nobody)]


class TestWhoseReleaseItIs:
    def test_each_cluster_counts_its_own_and_they_share_images(
        self, project: Project, staging: Settings, production: Settings
    ) -> None:
        assert released(project, staging).version == "0.1.0"
        assert again(project, staging, "two").version == "0.1.1"
        assert released(project, production).version == "0.1.0"
        assert released(project, production).is_new is False
        assert everything(production) == [
            ("installer", "production", "0.1.0"),
            ("installer", "staging", "0.1.1"),
            ("installer", "staging", "0.1.0"),
            ("web", "", "0.1.1"),
            ("web", "", "0.1.0"),
        ]
        rows = {(row.name, row.version): row.releases for row in contents.list_images(production, nobody)}
        assert rows["web", "0.1.1"] == ("0.1.0", "staging:0.1.1")

    def test_it_says_so_in_its_label_and_where_it_lies(self, project: Project, staging: Settings) -> None:
        built = released(project, staging)
        assert built.reference == f"{project.system}/installer/staging:0.1.0"
        with connect() as client:
            assert client.images.get(built.reference).labels[CLUSTER_LABEL] == "staging"
        assert access.current_release(staging).repository == f"{project.system}/installer/staging"

    def test_a_repository_of_one_s_own_holds_images_and_releases(self, project: Project) -> None:
        own = project.of("own", registry={"repository": "team/own"})
        built = released(project, own)
        assert access.current_release(own).repository == "team/own/installer/own"
        assert access.current_images(own)["web"].repository == "team/own/web"
        assert [image.repository for image in access.pinned_images(own, built.version)] == ["team/own/web"]
        assert everything(own) == [("installer", "own", "0.1.0"), ("web", "", "0.1.0")]
        assert everything(project.settings) == []
        assert release_of(own).image.startswith(f"{own.registry.address}/team/own/installer/own@sha256:")
        contents.prune(own, project.report, ())
        assert not installer.build_installer(own, project.report).is_new


class TestStagingsReleaseInProduction:
    """Every way to offer it."""

    def test_pushing_for_production_leaves_it_here(
        self, project: Project, staging: Settings, production: Settings
    ) -> None:
        installer.build_installer(staging, project.report)
        project.said.clear()
        assert [image.name for image in push.push(production, project.report)] == []
        assert "installer: not pushed: releases of staging (to have one: inv release.promote)" in project.said
        with pytest.raises(Refused, match=r"no release of the cluster production is here \(staging's is not pushed\)"):
            push.push(production, project.report, ["installer"])
        assert everything(production) == [("web", "", "0.1.0")]

    def test_tagged_as_production_s_it_is_not_pushed(
        self, project: Project, staging: Settings, production: Settings
    ) -> None:
        built = installer.build_installer(staging, project.report)
        with connect() as client:
            client.api.tag(built.reference, f"{project.system}/installer/production", "0.1.5")
        assert [image.name for image in push.push(production, project.report)] == []
        with pytest.raises(Refused):
            push.push(production, project.report, ["installer"])
        assert released(project, production).version == "0.1.0"

    def test_there_is_no_newest_one_and_the_line_says_how_to_have_it(
        self, project: Project, staging: Settings, production: Settings
    ) -> None:
        released(project, staging)
        with pytest.raises(Refused, match=r"a release of the cluster production: .*; staging has one: inv"):
            release_of(production)
        assert "installer" not in access.current_images(production)

    def test_named_it_is_refused(self, project: Project, staging: Settings, production: Settings) -> None:
        released(project, production)
        version = again(project, staging, "two").version
        version = again(project, staging, "three").version
        with pytest.raises(
            Refused, match=rf"release {version} of the cluster production: .*--from staging --release {version}"
        ) as refused:
            request_of(production, Flags(release=version))
        assert refused.value.code == 11
        with pytest.raises(Refused):
            access.pinned_images(production, version)

    @pytest.mark.parametrize("place", ["installer/production", "installer"])
    def test_put_by_hand_where_production_looks_it_is_neither_newest_nor_taken(
        self, project: Project, staging: Settings, production: Settings, place: str
    ) -> None:
        own = released(project, production)
        theirs = released(project, staging)
        put_in_registry(production, theirs.reference, f"{project.system}/{place}", "0.1.9")
        assert release_of(production).version == own.version
        with pytest.raises(Refused, match="it is a release of the cluster staging, and this is the cluster production"):
            release_of(production, "0.1.9")
        assert again(project, production, "two").version == "0.1.10", "its number stays taken"
        assert release_of(production).version == "0.1.10"

    def test_one_of_another_system_is_not_taken_either(self, project: Project, production: Settings) -> None:
        push.push(production, project.report)
        sea = f"{project.system}-sea"
        other = project.of("production", system=sea, registry={"repository": project.system})
        theirs = installer.build_installer(other, project.report)
        put_in_registry(production, theirs.reference, f"{project.system}/installer/production", "0.1.9")
        with connect() as client:
            client.api.remove_image(theirs.reference)
        with pytest.raises(Refused, match=f"it is a release of the system {sea}"):
            release_of(production, "0.1.9")
        assert released(project, production).version == "0.1.10"


class TestOfBefore:
    def test_the_first_release_of_a_cluster_is_above_and_the_way_back_stays(
        self, project: Project, production: Settings
    ) -> None:
        before = legacy(project, production, "0.1.7")
        assert released(project, production).version == "0.1.8"
        assert release_of(production).version == "0.1.8", "the newest is never one of before"
        back = release_of(production, before)
        assert names_no_cluster(production, back.repository)
        assert not names_no_cluster(production, release_of(production).repository)
        assert images_of(production, back)[1:] == [
            image.reference(production.registry.address) for image in access.pinned_images(production, "0.1.8")
        ]

    def test_it_is_not_the_newest_though_it_is_the_only_one(self, project: Project, production: Settings) -> None:
        legacy(project, production, "0.1.7")
        with pytest.raises(Refused, match="does not have a release of the cluster other"):
            release_of(project.of("other"))

    def test_a_fresh_host_counts_from_the_registry_s(self, project: Project, production: Settings) -> None:
        legacy(project, production, "0.1.7")
        with connect() as client:
            client.api.remove_image(f"{project.system}/installer:0.1.7")
        assert released(project, project.of("other")).version == "0.1.8"


class TestPrune:
    def test_counts_by_cluster_and_keeps_what_another_s_releases_pin(
        self, project: Project, staging: Settings, production: Settings
    ) -> None:
        project.options["build"] = {"keep_versions": 1}
        staging = replace_build(staging)
        production = replace_build(production)
        released(project, staging)
        for content in ("two", "three"):
            again(project, production, content)
        gone = contents.prune(production, project.report, {ReleaseInUse("0.1.1", "production")})
        assert [(item.name, item.cluster, str(item.version)) for item in gone] == [
            ("installer", "production", "0.1.0"),
            ("web", "", "0.1.1"),
        ]
        assert access.current_release(staging).version == "0.1.0"
        here = stored.prune(production, project.report, ())
        assert [(item.name, item.cluster, str(item.version)) for item in here] == [
            ("installer", "production", "0.1.0"),
            ("web", "", "0.1.1"),
        ]
        with connect() as client:
            left = {(item.cluster, str(item.version)) for item in stored_images(client, project.system) if item.cluster}
        assert left == {("staging", "0.1.0"), ("production", "0.1.1")}


def replace_build(settings: Settings) -> Settings:
    return settings.model_copy(update={"build": settings.build.model_copy(update={"keep_versions": 1})})
