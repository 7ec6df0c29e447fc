"""The registry, for real: our own image in a container, pushes by the engine, pruning with garbage collection."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest
from image_project import BASE, Project, emptied, free_port, registry_project
from raised import raises

from argosy.builds import images as image_builds
from argosy.builds import installer
from argosy.engine.connection import connect
from argosy.engine.containers import find_container
from argosy.errors import ConfigError, EngineError, Refused, RegistryError
from argosy.images.store import push as push_image
from argosy.images.store import untag
from argosy.pki import authority
from argosy.registry import access, contents, push
from argosy.registry import access as registry_access
from argosy.registry import client as registry_client
from argosy.registry import container as registry_container
from argosy.registry.client import Registry
from argosy.registry.container import name_of, read_only
from argosy.registry.contents import collect_garbage

pytestmark = pytest.mark.integration

SERVICE = {"image": "web"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose registry runs; each test uses images of its own."""
    with registry_project(tmp_path_factory.mktemp("registry"), "registry") as project:
        yield project


@pytest.fixture
def project(running: Project) -> Iterator[Project]:
    """The same with no image but the registry's, here and there."""
    with emptied(running) as project:
        yield project


def make(project: Project, name: str, content: str) -> None:
    project.write(name, data=content)
    image_builds.build_images(project.settings, project.report, [name])


def pushed(project: Project, *only: str) -> list[str]:
    return [f"{image.name} {image.version}" for image in push.push(project.settings, project.report, only)]


def there(project: Project) -> list[str]:
    return [f"{row.name} {row.version}" for row in contents.list_images(project.settings, project.report)]


def trusting(project: Project) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.authority_path(project.settings.secrets_path))


def blob_status(project: Project, name: str, digest: str) -> int:
    settings = project.settings
    response = httpx.head(
        f"https://{settings.registry.address}/v2/{project.system}/{name}/blobs/{digest}",
        auth=(settings.registry.user, access.password(settings)),
        verify=trusting(project),
    )
    return response.status_code


class TestRunning:
    def test_a_second_start_changes_nothing(self, project: Project) -> None:
        assert registry_container.plan_start(project.settings) == []
        assert registry_container.start(project.settings, project.report) == "unchanged"
        assert project.said == [f"registry: already running: https://{project.settings.registry.address}"]

    def test_it_asks_for_the_password_over_tls(self, project: Project) -> None:
        address = project.settings.registry.address
        assert httpx.get(f"https://{address}/v2/", verify=trusting(project)).status_code == 401
        assert httpx.get(f"http://{address}/v2/").status_code == 400
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://{address}/v2/")

    def test_it_follows_another_ca_and_stays_as_it_is_otherwise(self, project: Project) -> None:
        path, address = project.settings.secrets_path, project.settings.registry.address
        assert not registry_container.renew(project.settings, project.report)
        old = trusting(project)
        authority.add_authority(path)
        assert not registry_container.renew(project.settings, project.report), "the old CA signs still"
        authority.switch_authority(path)
        assert registry_container.renew(project.settings, project.report)
        assert not registry_container.renew(project.settings, project.report)
        authority.drop_authorities(path)
        assert httpx.get(f"https://{address}/v2/", verify=trusting(project)).status_code == 401
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://{address}/v2/", verify=old)
        registry_container.renew(project.settings, project.report)
        make(project, "web", "pushed to one who is trusted by another CA")
        assert pushed(project) != []

    def test_no_secret_is_in_the_container_s_settings(self, project: Project) -> None:
        with connect() as client:
            container = find_container(client, name_of(project.settings))
        assert container is not None
        assert access.password(project.settings) not in str(container.attrs)

    def test_stopped_it_keeps_its_images(self, project: Project) -> None:
        make(project, "web", "stay")
        pushed(project)
        assert registry_container.stop(project.settings, project.report)
        assert not registry_container.stop(project.settings, project.report)
        seen = registry_container.status(project.settings)
        assert (seen.container, seen.answers) == ("absent", False)
        assert "start it with `inv registry.start`" in seen.reason
        assert [str(step) for step in registry_container.plan_start(project.settings)] == [
            f"registry: run {project.system}/registry:0.1.0 on 127.0.0.1"
        ]
        assert registry_container.start(project.settings, project.report) == "created"
        assert there(project) == ["web 0.1.0"]

    def test_a_changed_password_holds_after_the_next_start(self, project: Project) -> None:
        path = project.settings.secrets_path / "registry.password"
        path.write_text("another")
        with pytest.raises(RegistryError, match=r"the registry refused user argosy or the password: compare"):
            there(project)
        assert registry_container.start(project.settings, project.report) == "replaced"
        assert registry_container.status(project.settings).answers

    def test_an_image_never_built_is_refused(self, project: Project) -> None:
        project.options["local"] = {"registry_image": "other"}
        project.images["other"] = {"context": "other"}
        with pytest.raises(Refused, match=r"image other was not built yet: inv build.images --only other"):
            registry_container.start(project.settings, project.report)


class TestPush:
    def test_uploads_what_lacks_and_then_nothing(self, project: Project) -> None:
        make(project, "web", "one")
        make(project, "api", "one")
        assert [str(step) for step in push.plan_push(project.settings)] == [
            f"api: push 0.1.0 to {project.settings.registry.address}",
            f"web: push 0.1.0 to {project.settings.registry.address}",
        ]
        assert pushed(project) == ["api 0.1.0", "web 0.1.0"]
        assert pushed(project) == []
        make(project, "web", "two")
        assert pushed(project) == ["web 0.1.1"]
        assert there(project) == ["api 0.1.0", "web 0.1.1", "web 0.1.0"]
        assert registry_access.current_images(project.settings)["web"].version == "0.1.1"

    def test_the_image_of_etcd_tells_there_which_etcd_it_holds(self, project: Project) -> None:
        dockerfile = f"FROM {BASE}\nCOPY etcd /usr/bin/etcd\nRUN chmod 755 /usr/bin/etcd\n"
        for version in ("3.4.23", "3.5.16"):
            project.write("etcd", dockerfile, etcd=f"#!/bin/sh\necho etcd Version: {version}\n")
            image_builds.build_images(project.settings, project.report, ["etcd"])
            assert len(pushed(project, "etcd")) == 1
        assert registry_access.etcd_image(project.settings).etcd == "3.5.16"
        assert registry_access.etcd_image(project.settings, "0.1.0").etcd == "3.4.23"
        with pytest.raises(Refused, match=r"image etcd 0\.1\.7 is not in the registry: inv build\.all"):
            registry_access.etcd_image(project.settings, "0.1.7")
        with pytest.raises(ConfigError, match="'newest' is not a version"):
            registry_access.etcd_image(project.settings, "newest")

    def test_leaves_no_tag_of_the_registry_behind(self, project: Project) -> None:
        make(project, "web", "tagged")
        pushed(project)
        with connect() as client:
            assert not client.images.list(f"{project.settings.registry.address}/{project.system}/web")

    def test_only_some_and_never_what_machines_don_t_need(self, project: Project) -> None:
        make(project, "web", "some")
        make(project, "api", "some")
        assert pushed(project, "api") == ["api 0.1.0"]
        with raises(ConfigError, "'registry'", path="only"):
            pushed(project, "registry")

    def test_an_error_inside_the_stream_is_an_error(self, project: Project) -> None:
        make(project, "web", "denied")
        where = f"{project.settings.registry.address}/{project.system}/web"
        with connect() as client:
            client.api.tag(f"{project.system}/web:0.1.0", where, "0.1.0")
            try:
                with pytest.raises(RegistryError, match=rf"^{where}:0.1.0: the push failed: .+"):
                    push_image(client, f"{where}:0.1.0", {"username": "argosy", "password": "wrong"})
            finally:
                untag(client, f"{where}:0.1.0")

    def test_what_somebody_else_pushed_meanwhile_is_not_taken_for_ours(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(project, "web", "ours")

        def push_theirs(client: docker.DockerClient, reference: str, *rest: object) -> frozenset[str]:
            ours = push_image(client, reference, *rest)  # type: ignore[arg-type]
            assert len(ours) == 1
            return frozenset({f"sha256:{'0' * 64}"})

        monkeypatch.setattr(push, "push_image", push_theirs)
        with pytest.raises(RegistryError, match=r"web:0.1.0: pushed as sha256:0+, but the registry now has sha256:"):
            pushed(project)

    def test_other_content_under_the_same_version_is_refused_until_it_gets_the_next(self, project: Project) -> None:
        make(project, "web", "theirs")
        pushed(project)
        with connect() as client:
            untag(client, f"{project.system}/web:0.1.0")
        address = project.options["registry"]["address"]
        project.options["registry"]["address"] = ""
        make(project, "web", "ours")  # a build server that doesn't see the registry
        project.options["registry"]["address"] = address
        with pytest.raises(RegistryError, match=r"web 0.1.0: the registry has other content under this version"):
            pushed(project)
        make(project, "web", "ours")
        assert pushed(project) == ["web 0.1.1"]

    def test_a_fresh_host_gives_the_same_content_the_registry_s_number(self, project: Project) -> None:
        for content in ("one", "two"):
            make(project, "web", content)
        pushed(project)
        with connect() as client:
            for version in ("0.1.0", "0.1.1"):
                untag(client, f"{project.system}/web:{version}")
        built = image_builds.build_images(project.settings, project.report, ["web"])
        assert [(item.version, item.is_new) for item in built] == [("0.1.1", False)]
        assert pushed(project) == []


class TestClient:
    def test_an_unreachable_registry_names_the_task(self, project: Project) -> None:
        project.options["registry"] = {"address": f"127.0.0.1:{free_port()}"}
        with pytest.raises(
            RegistryError, match=r"no registry can be reached there .*: start it with `inv registry.start`"
        ):
            pushed(project)
        make(project, "web", "offline")
        assert any("not asked for its versions" in line for line in project.said)

    def test_a_certificate_of_another_ca_is_told_apart(self, project: Project, tmp_path: Path) -> None:
        authority.ensure_ca(tmp_path)
        address = project.settings.registry.address
        with (
            Registry(address, "argosy", "x", ca=authority.authority_path(tmp_path)) as registry_there,
            pytest.raises(RegistryError, match=r"certificate is not from this cluster's CA"),
        ):
            registry_there.check()

    def test_listings_come_page_by_page(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry_client, "PAGE", 1)
        for name in ("web", "api"):
            for content in ("one", "two"):
                make(project, name, content)
        pushed(project)
        with access.opened(project.settings) as client:
            assert {f"{project.system}/{name}" for name in ("api", "web")} <= set(client.repositories() or ())
            assert client.tags(f"{project.system}/web") == ["0.1.0", "0.1.1"]

    def test_what_is_not_there_is_nothing(self, project: Project) -> None:
        with access.opened(project.settings) as client:
            assert client.tags("nobody/nothing") == []
            assert client.digest("nobody/nothing", "1.0.0") == ""
            assert client.manifest("nobody/nothing", "1.0.0") is None
            client.delete("nobody/nothing", f"sha256:{'0' * 64}")


class TestRelease:
    def test_the_installer_pins_what_the_registry_has_and_follows_it(self, project: Project) -> None:
        self.with_release(project)
        built = installer.build_installer(project.settings, project.report)
        assert (built.version, built.is_new) == ("0.1.0", True)
        assert there(project) == ["web 0.1.0"], "what it pins was pushed first"
        assert pushed(project) == ["installer 0.1.0"]
        rows = {row.name: row for row in contents.list_images(project.settings, project.report)}
        assert rows["web"].releases == ("0.1.0",)
        assert registry_access.current_release(project.settings).version == "0.1.0"
        assert registry_access.current_release(project.settings, "0.1.0").digest == rows["installer"].digest

    def test_either_order_ends_in_the_same(self, project: Project) -> None:
        self.with_release(project)
        assert pushed(project) == ["web 0.1.0"]
        assert installer.build_installer(project.settings, project.report).is_new
        assert pushed(project) == ["installer 0.1.0"]
        assert not installer.build_installer(project.settings, project.report).is_new
        assert pushed(project) == []

    def test_a_new_image_makes_a_new_release(self, project: Project) -> None:
        self.with_release(project)
        installer.build_installer(project.settings, project.report)
        project.write("web", data="two")
        assert [item.is_new for item in installer.build_all(project.settings, project.report)] == [False, True, True]
        assert pushed(project) == ["installer 0.1.0", "installer 0.1.1"]

    def test_without_an_image_it_says_what_to_build(self, project: Project) -> None:
        self.with_release(project)
        with connect() as client:
            untag(client, f"{project.system}/web:0.1.0")
        with pytest.raises(Refused, match=r"web: no version of it was built yet: inv build.images"):
            installer.build_installer(project.settings, project.report)

    def test_an_unknown_release_is_refused(self, project: Project) -> None:
        with pytest.raises(
            Refused, match=r"does not have release 9.9.9 of the cluster .*: inv build.all registry.push"
        ):
            registry_access.current_release(project.settings, "9.9.9")

    def test_a_release_whose_images_are_gone_is_not_pushed(self, project: Project) -> None:
        self.with_release(project)
        installer.build_installer(project.settings, project.report)
        with access.opened(project.settings) as client:
            web = registry_access.current_images(project.settings)["web"]
            client.delete(web.repository, web.digest)
        with connect() as client_here:
            untag(client_here, f"{project.system}/web:0.1.0")
        with pytest.raises(
            RegistryError, match=r"installer 0.1.0: not pushed: it pins web 0.1.0 by a digest that this"
        ):
            pushed(project)

    def with_release(self, project: Project) -> None:
        project.write("installer", "FROM scratch\nCOPY release /release\n")
        project.options["services"] = {"web": SERVICE}
        make(project, "web", "one")


class TestPrune:
    def test_deletes_what_nobody_needs_and_frees_its_space(self, project: Project) -> None:
        project.options["build"] = {"keep_versions": 2}
        for content in ("one", "two", "three"):
            make(project, "web", content)
            pushed(project)
        with access.opened(project.settings) as client:
            manifest = client.manifest(f"{project.system}/web", "0.1.0")
        assert manifest is not None
        assert blob_status(project, "web", manifest.blobs[0].digest) == 200
        assert [str(step) for step in contents.plan(project.settings, project.report, ())] == ["web: delete 0.1.0"]
        assert [str(item.version) for item in contents.prune(project.settings, project.report, ())] == ["0.1.0"]
        assert there(project) == ["web 0.1.2", "web 0.1.1"]
        assert blob_status(project, "web", manifest.blobs[0].digest) == 404
        assert contents.prune(project.settings, project.report, ()) == []

    def test_takes_the_same_image_again_afterwards(self, project: Project) -> None:
        """A registry that remembers deleted layers would skip their upload and keep a broken image."""
        project.options["build"] = {"keep_versions": 1}
        for content in ("again", "other"):
            make(project, "web", content)
            pushed(project)
        contents.prune(project.settings, project.report, ())
        make(project, "web", "again")
        assert pushed(project) == ["web 0.1.2"]
        with connect() as client:
            where = f"{project.settings.registry.address}/{project.system}/web"
            untag(client, f"{project.system}/web:0.1.2")
            auth = {"username": "argosy", "password": access.password(project.settings)}
            pulled = client.images.pull(where, tag="0.1.2", auth_config=auth)
            assert pulled.labels["argosy.version"] == "0.1.2"
            untag(client, f"{where}:0.1.2")

    def test_takes_no_upload_while_it_collects(self, project: Project) -> None:
        make(project, "web", "before")
        pushed(project)
        make(project, "web", "meanwhile")
        with connect() as client, read_only(project.settings, client) as name:
            assert name == name_of(project.settings)
            assert there(project) == ["web 0.1.0"]
            with pytest.raises(RegistryError, match=r"web:0.1.1: the push failed"):
                pushed(project)
        assert pushed(project) == ["web 0.1.1"]

    def test_takes_uploads_after_a_collection_that_failed(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "CONFIG_IN_IMAGE", "/nowhere.yml")
        with pytest.raises(EngineError, match=r"the garbage collection ended with 1"):
            collect_garbage(project.settings, project.report)
        assert registry_container.start(project.settings, project.report) == "unchanged"
        make(project, "web", "later")
        assert pushed(project) == ["web 0.1.0"]
