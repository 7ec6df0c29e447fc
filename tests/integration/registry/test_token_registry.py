"""Images in a registry of many users, for real: below a path, by tokens, without a list of all repositories.

With the engine of this host, and with one that keeps images as Docker 29 does, in containerd's store.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from image_project import BASE, Project, image_project
from raised import raises
from roots import Root, root
from token_registry import TokenRegistry, token_registry

from argosy.builds import images as image_builds
from argosy.builds import installer
from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.errors import BuildFailed, RegistryError
from argosy.images.store import pull, untag
from argosy.images.versions import ReleaseInUse
from argosy.pki import authority
from argosy.registry import access, contents, push
from argosy.releases import promotion
from argosy_installer.docker import Credentials, Docker

pytestmark = [pytest.mark.integration, pytest.mark.slow(2)]

PASSWORD = "correct horse"
LISTS_NONE = "registry: it lists no repositories: looked for the images of here and releases of "
CLONE_NEWNET = 0x40000000


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of secrets with the CA of all that runs here: an engine reads those that it trusts once."""
    folder = tmp_path_factory.mktemp("authorities")
    authority.ensure_registry_certificate(folder, ["127.0.0.1"])
    return folder


@pytest.fixture(scope="module", params=["here", "containerd"])
def engine(request: pytest.FixtureRequest, authorities: Path) -> Iterator[Root | None]:
    """This host's engine, or in a root of sid Docker 28.5 that acts as 29; the root's, if any."""
    if request.param == "here":
        yield None
        return
    with ExitStack() as stack:
        host = stack.enter_context(root("sid", cgroup="v2"))
        # It trusts token services by the system's CAs alone.
        host.path("/etc/ssl/certs/test.pem").write_bytes(authority.authority_path(authorities).read_bytes())
        address = stack.enter_context(host.engine(containerd_store=True, minimum_api="1.44"))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DOCKER_HOST", f"unix://{address}")
        with connect() as client:
            client.api.import_image_from_data(b"\0" * 1024, *BASE.split(":"))
        yield host


@dataclass
class Place:
    """`staging` has its images in team/app of the registry, and a release of `web` 0.1.0."""

    project: Project
    registry: TokenRegistry
    staging: Settings

    def of(self, cluster: str, path: str, user: str = "app") -> Settings:
        settings = self.project.of(cluster, registry={"address": f"{self.registry.address}/{path}", "user": user})
        (settings.secrets_path / "registry.password").write_text(PASSWORD)
        return settings

    def build(self, content: str) -> None:
        self.project.write("web", data=content)
        image_builds.build_images(self.staging, self.project.report, ["web"])

    def release(self, content: str) -> str:
        self.build(content)
        built = installer.build_installer(self.staging, self.project.report)
        push.push(self.staging, self.project.report)
        return built.version

    def there(self, settings: Settings) -> list[str]:
        rows = contents.list_images(settings, self.project.report, ["staging"])
        return [f"{row.name} {row.version}" for row in rows]


@pytest.fixture
def place(
    engine: Root | None, authorities: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    cache = tmp_path_factory.getbasetemp().parent / "docker-registry"
    with image_project(tmp_path, "tokens") as project, ExitStack() as stack:
        project.write("installer", "FROM scratch\nCOPY release /release\n")
        project.write("web", data="one")
        project.options["services"] = {"web": {"image": "web"}}
        folder = project.settings.secrets_path
        shutil.copytree(authorities, folder)
        registry = stack.enter_context(token_registry(folder, cache))
        project.options["registry"] = {"address": registry.address}
        registry.users = {"app": PASSWORD, "nobody": PASSWORD}
        registry.places = {"app": ("team/app/", "team/next/")}
        if engine:
            for address in (registry.address, registry.service):
                stack.enter_context(seen_in(engine, int(address.rpartition(":")[2])))
        made = Place(project, registry, project.settings)
        made.staging = made.of("staging", "team/app")
        yield made


@contextmanager
def seen_in(host: Root, port: int) -> Iterator[None]:
    """Let the root reach what listens on this port of this host's loopback, on its own."""
    with _listening_in(host, port) as listening:
        thread = threading.Thread(target=_relay, args=(listening, port))
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _listening_in(host: Root, port: int) -> socket.socket:
    """Return a socket that listens in the network of the root: that of a thread is its own."""
    made: list[socket.socket] = []

    def listen() -> None:
        with Path(f"/proc/{host.pid}/ns/net").open() as network:
            assert ctypes.CDLL(None).setns(network.fileno(), CLONE_NEWNET) == 0
        made.append(socket.create_server(("127.0.0.1", port)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    return made[0]


def _relay(listening: socket.socket, port: int) -> None:
    while True:
        try:
            inside, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(inside, port), daemon=True).start()


def _join(inside: socket.socket, port: int) -> None:
    with inside, socket.create_connection(("127.0.0.1", port)) as outside:
        back = threading.Thread(target=_copy, args=(outside, inside))
        back.start()
        _copy(inside, outside)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_images_are_pushed_listed_and_pulled(place: Place) -> None:
    place.release("one")
    assert place.there(place.staging) == ["installer 0.1.0", "web 0.1.0"]
    assert f"{LISTS_NONE}staging" in place.project.said
    assert push.push(place.staging, place.project.report) == []
    newest = access.current_images(place.staging)["web"]
    where = f"{place.registry.address}/team/app/web"
    assert newest.reference(place.staging.registry.address) == f"{where}@{newest.digest}"
    with connect() as client:
        for tag in place.project.tags():
            untag(client, f"{place.project.system}/{tag}")
        pulled = pull(client, where, newest.digest, access.own_login(place.staging).for_engine())
        untag(client, f"{where}@{newest.digest}")
    assert pulled.startswith("sha256:")
    assert {user for user, _ in place.registry.asked} == {"app"}


def test_a_release_is_promoted_to_another_path(place: Place) -> None:
    version = place.release("one")
    production = place.of("production", "team/next")
    done = promotion.promote(promotion.plan(production, place.staging, version), place.project.report)
    assert [image.name for image in done.promotion.copies] == ["web"]
    assert place.there(production) == ["installer 0.1.0", "web 0.1.0"]
    (pin,) = access.pinned_images(production, "0.1.0")
    assert pin == access.current_images(production)["web"]
    assert pin.digest == access.current_images(place.staging)["web"].digest
    again = promotion.plan(production, place.staging, version)
    assert again.copies == ()


def test_what_nobody_needs_is_pruned_and_other_clusters_keep_theirs(place: Place) -> None:
    place.project.options["build"] = {"keep_versions": 1}
    place.staging = place.of("staging", "team/app")
    production = place.of("production", "team/app")
    version = place.release("one")
    promotion.promote(promotion.plan(production, place.staging, version), place.project.report)
    for content in ("two", "three"):
        place.build(content)
        push.push(place.staging, place.project.report)
    clusters, used = ["staging", "production"], [ReleaseInUse("0.1.0", "production")]
    planned = contents.plan(place.staging, place.project.report, used, (), clusters)
    assert [str(step) for step in planned] == ["web: delete 0.1.1"]
    gone = contents.prune(place.staging, place.project.report, used, (), clusters)
    assert [str(item.version) for item in gone] == ["0.1.1"]
    assert place.there(place.staging) == ["installer 0.1.0", "web 0.1.2", "web 0.1.0"]
    assert contents.prune(place.staging, place.project.report, used, (), clusters) == []


def test_who_has_no_right_is_told_so(place: Place) -> None:
    place.build("one")
    stranger = place.of("stranger", "team/app", user="nobody")
    with raises(RegistryError, "refused user nobody"):
        push.push(stranger, place.project.report)
    wrong = place.of("wrong", "team/app")
    (wrong.secrets_path / "registry.password").write_text("wrong")
    with raises(RegistryError, "token service refused user app or the password"):
        contents.list_images(wrong, place.project.report)


def test_a_build_stands_on_an_image_that_takes_a_login(place: Place) -> None:
    place.build("one")
    push.push(place.staging, place.project.report)
    with connect() as client:
        for tag in place.project.tags():
            untag(client, f"{place.project.system}/{tag}")
    place.project.write("top", f"FROM {place.registry.address}/team/app/web:0.1.0\nCOPY data /more\n", data="more")
    place.project.options["build"] = {"builder": "classic"}  # BuildKit's client asks the token service itself
    with pytest.raises(BuildFailed):
        image_builds.build_images(place.of("without", "team/next"), place.project.report, ["top"])
    login = {"user": "app", "password": {"command": ["printf", PASSWORD]}}
    place.project.options["registries"] = {f"{place.registry.address}/team": login}
    settings = place.of("with", "team/next")
    (built,) = image_builds.build_images(settings, place.project.report, ["top"])
    assert (built.version, built.is_new, built.inputs[:7]) == ("0.1.0", True, "sha256:")


def test_machines_tell_a_wrong_password_from_what_may_pass(place: Place) -> None:
    place.build("one")
    push.push(place.staging, place.project.report)
    address = place.registry.address
    reference = access.current_images(place.staging)["web"].reference(address)
    socket_path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    docker = Docker(Path(socket_path))

    def status(user: str, password: str, image: str = reference) -> int:
        return docker.ask_registry(image, Credentials(address, user, password))[0]

    assert status("app", PASSWORD) == 200
    assert status("app", "wrong") == 401
    assert status("nobody", PASSWORD) in (401, 403)
    assert status("app", PASSWORD, f"{address}/team/app/web@sha256:{'a' * 64}") == 404
