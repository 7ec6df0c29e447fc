"""Two build servers that share a registry, and images that no two builds make alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from image_project import BASE, Project, emptied, registry_project

from argosy.builds import images, installer
from argosy.engine.connection import connect
from argosy.images.repositories import repository
from argosy.images.store import stored_images, untag
from argosy.registry import access, push

pytestmark = pytest.mark.integration

UNLIKE = f"FROM {BASE}\nCOPY data /data\nRUN cat /proc/sys/kernel/random/uuid > /x\n"
ON_BASE = "ARG OWN\nFROM ${OWN}\nCOPY data /own\nRUN cat /proc/sys/kernel/random/uuid > /y\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with registry_project(tmp_path_factory.mktemp("runners"), "runners") as made:
        yield made


@pytest.fixture
def project(running: Project) -> Iterator[Project]:
    with emptied(running) as made:
        made.write("web", UNLIKE, data="one")
        yield made


def build(project: Project, *only: str, no_cache: bool = False) -> dict[str, str]:
    """Build all but the registry, push, and return each image's version, with a plus when it is new."""
    names = only or tuple(name for name in project.images if name != "registry")
    built = images.build_images(project.settings, project.report, names, no_cache)
    push.push(project.settings, project.report, [name for name in names if project.settings.images[name].push])
    return {item.name: item.version + "+" * item.is_new for item in built}


def on_another_host(project: Project) -> None:
    """Leave on the engine what a fresh build server has: nothing but the registry."""
    with connect() as client:
        for item in stored_images(client, project.system):
            if item.name != "registry":
                untag(client, f"{repository(project.system, item.name, item.cluster)}:{item.version}")


def digest(project: Project, version: str) -> str:
    with access.opened(project.settings) as registry:
        return registry.digest(f"{project.system}/web", version)


def test_the_second_makes_no_version_of_the_same_inputs(project: Project) -> None:
    assert build(project) == {"web": "0.1.0+"}
    first = digest(project, "0.1.0")
    on_another_host(project)
    assert build(project) == {"web": "0.1.0"}
    assert digest(project, "0.1.0") == first
    # It was asked for by name, so it is here, as the first has built it.
    assert "web:0.1.0" in project.tags()
    assert project.untagged() == 0


def test_a_changed_input_is_built_and_so_is_what_is_to_be_made_anew(project: Project) -> None:
    assert build(project) == {"web": "0.1.0+"}
    on_another_host(project)
    project.write("web", UNLIKE, data="two")
    assert build(project) == {"web": "0.1.1+"}
    assert build(project, no_cache=True) == {"web": "0.1.2+"}
    on_another_host(project)
    assert build(project) == {"web": "0.1.2"}


def test_a_base_that_stays_on_its_host_is_known_by_its_inputs(project: Project) -> None:
    project.write("base", UNLIKE, data="base")
    project.images["base"]["push"] = False
    project.write("web", ON_BASE, data="one")
    project.images["web"]["needs"] = {"OWN": "base"}
    assert build(project) == {"base": "0.1.0+", "web": "0.1.0+"}
    on_another_host(project)
    assert build(project) == {"base": "0.1.0+", "web": "0.1.0"}
    on_another_host(project)
    project.write("base", UNLIKE, data="another")
    assert build(project) == {"base": "0.1.0+", "web": "0.1.1+"}


def test_a_base_from_the_registry_is_pulled_for_who_is_built_on_it(project: Project) -> None:
    project.write("base", UNLIKE, data="base")
    project.write("web", ON_BASE, data="one")
    project.images["web"]["needs"] = {"OWN": "base"}
    assert build(project) == {"base": "0.1.0+", "web": "0.1.0+"}
    on_another_host(project)
    project.write("web", ON_BASE, data="two")
    built = images.build_images(project.settings, project.report)
    assert [(item.name, item.version, item.is_new) for item in built if item.name != "registry"] == [
        ("base", "0.1.0", False),
        ("web", "0.1.1", True),
    ]
    assert [line for line in project.said if "pulled" in line] == ["base: pulled 0.1.0"]


def test_who_builds_all_pulls_nothing_that_only_machines_need(project: Project) -> None:
    build(project)
    on_another_host(project)
    built = images.build_images(project.settings, project.report)
    assert ("web", "0.1.0", False) in [(item.name, item.version, item.is_new) for item in built]
    assert "web:0.1.0" not in project.tags()


def test_an_image_without_the_label_is_compared_by_its_content(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("argosy.builds.versioning.inputs_digest", lambda *_, **__: "")
        assert build(project) == {"web": "0.1.0+"}
    on_another_host(project)
    assert build(project) == {"web": "0.1.1+"}
    on_another_host(project)
    assert build(project) == {"web": "0.1.1"}


def test_a_release_of_the_same_is_the_registry_s(project: Project) -> None:
    project.write("installer", UNLIKE, data="one")
    project.options["services"] = {"web": {"image": "web"}}
    build(project, "web")
    assert installer.build_installer(project.settings, project.report).version == "0.1.0"
    push.push(project.settings, project.report)
    on_another_host(project)
    again = installer.build_installer(project.settings, project.report, fetch=False)
    assert (again.version, again.is_new) == ("0.1.0", False)
    assert not any(tag.startswith("installer:") for tag in project.tags())
    installer.build_installer(project.settings, project.report)
    assert "installer:0.1.0" in project.tags()
    assert push.push(project.settings, project.report) == []
