"""Images built and versioned on the real engine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_project import BASE, Project, image_project
from raised import raises
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from argosy.builds import images, stored
from argosy.engine.connection import connect
from argosy.engine.containers import ContainerSpec, ensure_container
from argosy.engine.names import labels_of
from argosy.errors import BuildFailed, ConfigError, EngineError
from argosy.images.store import stored_images

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with image_project(tmp_path, "build") as made:
        yield made


def versions(project: Project, *only: str, no_cache: bool = False) -> dict[str, str]:
    """Build, and return each image's version, with a plus when it is new."""
    built = images.build_images(project.settings, project.report, only, no_cache)
    return {item.name: item.version + "+" * item.is_new for item in built}


def image_id(project: Project, reference: str) -> str:
    with connect() as client:
        return str(client.images.get(f"{project.system}/{reference}").id)


class TestVersions:
    def test_grow_only_when_the_content_changes(self, project: Project) -> None:
        project.write("web", data="one")
        assert versions(project) == {"web": "0.1.0+"}
        assert versions(project) == {"web": "0.1.0"}
        project.write("web", data="two")
        assert versions(project) == {"web": "0.1.1+"}
        project.write("web", data="one")
        assert versions(project) == {"web": "0.1.2+"}
        assert project.tags() == ["web:0.1.0", "web:0.1.1", "web:0.1.2"]

    def test_times_permissions_and_ignored_files_are_no_change(self, project: Project) -> None:
        project.write("web", "FROM scratch\nCOPY . /all\n", data="one", **{".dockerignore": "*.log\n"})
        versions(project)
        before = image_id(project, "web:0.1.0")
        os.utime(project.root / "web" / "data", (1, 1))
        (project.root / "web" / "data").chmod(0o600)
        project.write("web", "FROM scratch\nCOPY . /all\n", **{"noise.log": "x"})
        assert versions(project) == {"web": "0.1.0"}
        assert image_id(project, "web:0.1.0") == before

    def test_the_image_of_etcd_says_which_etcd_it_holds(self, project: Project) -> None:
        dockerfile = f"FROM {BASE}\nCOPY etcd /usr/bin/etcd\nRUN chmod 755 /usr/bin/etcd\n"
        project.write("etcd", dockerfile, etcd="#!/bin/sh\n[ $1 = --version ] && echo etcd Version: 3.5.16\n")
        project.write("web", dockerfile, etcd="#!/bin/sh\necho etcd Version: 3.5.16\n")
        versions(project)
        with connect() as client:
            told = {image.name: image.etcd for image in stored_images(client, project.system)}
        assert told == {"etcd": "3.5.16", "web": ""}
        project.write("etcd", dockerfile, etcd="#!/bin/sh\necho no; exit 3\n")
        assert versions(project, "etcd") == {"etcd": "0.1.1+"}
        assert any("which version of etcd it holds is not known: " in line for line in project.said)

    def test_the_same_content_made_anew_keeps_its_version_and_leaves_nothing_behind(self, project: Project) -> None:
        project.write("web", f"FROM {BASE}\nRUN echo hello > /hello && rm -rf /tmp/*\n")
        assert versions(project) == {"web": "0.1.0+"}
        before = image_id(project, "web:0.1.0")
        assert versions(project, no_cache=True) == {"web": "0.1.0"}
        assert image_id(project, "web:0.1.0") != before
        assert project.untagged() == 0
        assert versions(project) == {"web": "0.1.0"}

    def test_a_raised_version_file_begins_anew_and_a_lowered_one_is_an_error(self, project: Project) -> None:
        project.write("web", data="one")
        versions(project)
        (project.root / "VERSION").write_text("1.0\n")
        assert versions(project) == {"web": "1.0.0+"}
        (project.root / "VERSION").write_text("0.1\n")
        with raises(ConfigError, "web 1.0.0", path="version_file"):
            versions(project)

    def test_an_image_says_in_its_labels_what_it_is(self, project: Project) -> None:
        project.write("web", data="one")
        built = images.build_images(project.settings, project.report)[0]
        with connect() as client:
            labels = client.images.get(built.reference).labels
        assert labels == {
            "argosy.system": project.system,
            "argosy.image": "web",
            "argosy.candidate": "",
            "argosy.version": "0.1.0",
            "argosy.content": built.content,
            "argosy.inputs": built.inputs,
        }
        assert built.inputs.startswith("sha256:")

    def test_a_dry_run_tells_the_order_and_builds_nothing(self, project: Project) -> None:
        self.with_base(project)
        assert [str(step) for step in images.plan_images(project.settings)] == [
            "base: build base (no version yet)",
            "web: build web, on base (no version yet)",
        ]
        assert project.tags() == []

    def test_what_an_image_needs_is_built_first_and_its_change_is_one_of_the_image(self, project: Project) -> None:
        self.with_base(project)
        assert versions(project, "web") == {"base": "0.1.0+", "web": "0.1.0+"}
        project.write("base", data="two")
        assert versions(project) == {"base": "0.1.1+", "web": "0.1.1+"}
        assert versions(project, "web") == {"web": "0.1.1"}

    def with_base(self, project: Project) -> None:
        project.write("web", "ARG BASE\nFROM ${BASE}\nCOPY own /own\n", own="mine")
        project.images["web"]["needs"] = {"BASE": "base"}
        project.write("base", data="one")


def test_what_a_build_in_stages_made_is_not_made_again(project: Project) -> None:
    """A stage on an image of ours has its labels and no tag: it is the builder's memory, not a leftover of ours."""
    project.write("base", f"FROM {BASE}\nRUN echo base > /base\n")
    stages = "ARG BASE\nFROM ${BASE} AS stage\nRUN echo made > /made\nFROM ${BASE}\nCOPY --from=stage /made /made\n"
    project.write("web", stages)
    project.images["web"]["needs"] = {"BASE": "base"}
    versions(project)
    project.said.clear()
    assert versions(project) == {"base": "0.1.0", "web": "0.1.0"}
    assert not [line for line in project.said if "step" in line]


class TestFailures:
    def test_of_one_leaves_the_others_done_and_tags_nothing(self, project: Project) -> None:
        project.write("bad", f"FROM {BASE}\nRUN echo the reason; exit 7\n")
        project.write("child", "ARG BASE\nFROM ${BASE}\n")
        project.images["child"]["needs"] = {"BASE": "bad"}
        project.write("good", data="one")
        with pytest.raises(BuildFailed) as caught:
            versions(project)
        line = str(caught.value)
        assert line.startswith("bad: step 2/")
        assert line.endswith(
            " failed (RUN echo the reason; exit 7): it ended with exit code 7; not built, since they need it: child"
        )
        assert "the reason" in caught.value.log
        assert project.tags() == ["good:0.1.0"]
        assert project.untagged() == 0

    def test_of_a_dockerfile_s_syntax_name_the_image(self, project: Project) -> None:
        project.write("bad", "FROM scratch\nRUM x\n")
        with pytest.raises(BuildFailed, match=r"^bad: .*unknown instruction: RUM"):
            versions(project)

    def test_of_a_missing_folder_name_the_key(self, project: Project) -> None:
        project.images["web"] = {"context": "nowhere"}
        with raises(ConfigError, "/nowhere", path="images.web.context"):
            versions(project)

    def test_no_engine_is_one_line(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        project.write("web", data="one")
        with pytest.raises(EngineError, match=r"^no Docker engine answers at unix:///nowhere/docker.sock: start it"):
            versions(project)

    def test_ctrl_c_ends_the_build_in_the_engine_too(self, project: Project) -> None:
        mark = f"sleep 3600.{os.getpid()}"
        project.write("slow", f"FROM {BASE}\nRUN {mark}\n")
        project.options["build"] = {"builder": "classic"}  # BuildKit's steps are no containers: see test_builders
        program = (
            "from pathlib import Path; from argosy.config.loading import load; from argosy.builds import images\n"
            f"images.build_images(load({project.document!r}, root=Path({str(project.root)!r})), print)\n"
        )
        running = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert self.becomes(mark, running=True), "the build did not begin"
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
        assert b"KeyboardInterrupt" in said
        assert self.becomes(mark, running=False), "the build continues"
        assert project.tags() == []
        assert project.untagged() == 0

    def becomes(self, mark: str, *, running: bool) -> bool:
        def differs() -> bool:
            with connect() as client:
                commands = [container["Command"] for container in client.api.containers()]
            return any(mark in command for command in commands) != running

        waiting = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(60),
            wait=wait_fixed(0.2),
            retry_error_callback=lambda _state: True,
        )
        return not waiting(differs)


class TestWheelhouse:
    def test_is_fetched_once_and_is_in_the_context(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(tmp_path / "index", monkeypatch)
        assert versions(project) == {"web": "0.1.0+"}
        (tmp_path / "index" / "tiny-1.0-py3-none-any.whl").unlink()
        assert versions(project) == {"web": "0.1.0"}
        assert not (project.root / "web" / "wheelhouse").exists()

    def test_a_package_without_its_hash_is_refused_before_anything_is_built(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(tmp_path / "index", monkeypatch)
        project.write("first", data="one")
        (project.root / "web" / "requirements.txt").write_text("tiny==1.0\n")
        for build in (versions, lambda project: images.plan_images(project.settings)):
            with raises(ConfigError, "tiny==1.0", "--hash", path="images.web.wheels"):
                build(project)
        assert project.tags() == []

    def test_a_package_with_another_hash_is_refused_with_pip_s_words(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(tmp_path / "index", monkeypatch)
        (project.root / "web" / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
        with pytest.raises(
            BuildFailed, match=r"^web: the wheels of .*requirements.txt can't be had: pip ended"
        ) as caught:
            versions(project)
        assert "DO NOT MATCH THE HASHES" in caught.value.log
        assert project.tags() == []

    @pytest.fixture(autouse=True)
    def image(self, project: Project) -> None:
        project.write("web", "FROM scratch\nCOPY wheelhouse/*.whl /wheels/\n", **{".dockerignore": "*\n"})
        project.images["web"]["wheels"] = "web/requirements.txt"

    def offer(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the package `tiny` and let pip find that alone."""
        index.mkdir()
        wheel = index / "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny.py", "")
            archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
            archive.writestr(
                "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr("tiny-1.0.dist-info/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        requirements = index.parent / "web" / "requirements.txt"
        requirements.write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(index))


class TestUnpushed:
    def test_a_newer_version_here_than_in_the_registry_is_told(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert stored.unpushed(project.settings, "web", "0.1.0") == ""
        project.write("web", data="one")
        versions(project)
        assert stored.unpushed(project.settings, "web", "0.1.0") == ""
        project.write("web", data="two")
        versions(project)
        told = stored.unpushed(project.settings, "web", "0.1.0")
        assert [word in told for word in ("0.1.1 of web", "inv registry.push")] == [True, True]
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
        assert stored.unpushed(project.settings, "web", "0.1.0") == ""


class TestPrune:
    def test_drops_all_but_the_last_versions_and_then_nothing(self, project: Project) -> None:
        project.options["build"] = {"keep_versions": 2}
        self.build_versions(project, 4, "scratch")
        assert [str(step) for step in stored.plan(project.settings)] == ["web: drop 0.1.0", "web: drop 0.1.1"]
        assert len(stored.prune(project.settings, project.report)) == 2
        assert project.tags() == ["web:0.1.2", "web:0.1.3"]
        assert stored.prune(project.settings, project.report) == []

    def test_keeps_what_a_container_here_runs(self, project: Project) -> None:
        project.options["build"] = {"keep_versions": 1}
        self.build_versions(project, 2, BASE)
        spec = ContainerSpec(
            name=project.system,
            image=f"{project.system}/web:0.1.0",
            labels=labels_of(project.settings, "test"),
            command=["/bin/sleep", "3600"],
            stop_seconds=1,
        )
        with connect() as client:
            ensure_container(client, spec)
        stored.prune(project.settings, project.report)
        assert project.tags() == ["web:0.1.0", "web:0.1.1"]
        assert "web: kept 0.1.0: a container runs it" in project.said

    def build_versions(self, project: Project, count: int, base: str) -> None:
        for number in range(count):
            project.write("web", f"FROM {base}\nCOPY data /data\n", data=str(number))
            versions(project)
