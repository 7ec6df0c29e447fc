"""Both builders on an engine of today: what each builds, that they agree, and how each ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dockerfile_idioms import BUILDKIT, SHARED, Idiom
from image_project import BASE, Project, image_project
from raised import raises
from roots import Root, root
from waiting import until

from argosy.builds import images
from argosy.builds.versioning import Built
from argosy.engine.connection import connect
from argosy.errors import BuildFailed, ConfigError
from argosy.images.builders import choose_builder
from argosy.images.context import included_paths
from argosy.images.store import push

pytestmark = [pytest.mark.integration, pytest.mark.slow(4)]
IGNORED = """\
*.md,!README.md / **/*.log,!a/b/keep.log / a,!a/b / a/*,!a/b / *,!a/b/x.log,!src / /a/b,./src/ / src/**,!src/**/*.py
**,!**/*.py / # said,,  a   / a/../src / [ab]/* / a/b/*.lo? / !a,* / **/m / \\#x / **/b,!**/b/x.log / src/*/ / */b / ..
*.*,!*.py / a/b/x.log/ / README*,!README.md,README.md"""
"""Ignore files, the lines of each by commas."""
PLUGINS = "/usr/libexec/docker/cli-plugins"


@pytest.fixture(scope="module")
def host() -> Iterator[Root]:
    with root("trixie") as made:
        yield made


@pytest.fixture(scope="module", params=[False, True], ids=["layer store", "containerd store"])
def engine(request: pytest.FixtureRequest, host: Root, tmp_path_factory: pytest.TempPathFactory) -> Iterator[bool]:
    """Let an engine of Debian 13, with buildx, be this process's own. Yield whether containerd keeps its images."""
    with connect() as client:
        if not client.images.list(BASE):
            pytest.skip(f"no image {BASE} here: `make base` makes it")
        base = b"".join(client.images.get(BASE).save(named=True))
    config = tmp_path_factory.mktemp("docker-config")
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(host.path(PLUGINS))]}))
    with host.engine(containerd_store=request.param) as socket, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{socket}")
        patch.setenv("DOCKER_CONFIG", str(config))
        with connect() as client:
            client.images.load(base)
        yield request.param


@pytest.fixture(scope="session")
def contents() -> dict[str, str]:
    """The content of each idiom as an engine before had it."""
    return {}


@pytest.fixture
def project(engine: None, tmp_path: Path) -> Iterator[Project]:
    with image_project(tmp_path, "builders") as made:
        yield made


def build(project: Project, builder: str, *, no_cache: bool = True) -> Built:
    """Build the only image with a builder, whatever its inputs are unless `no_cache` is false."""
    project.options["build"] = {"builder": builder}
    return images.build_images(project.settings, project.report, no_cache=no_cache)[0]


def write(project: Project, idiom: Idiom) -> None:
    project.write(idiom.name, idiom.dockerfile.replace("BASE", BASE), **idiom.files)
    project.images[idiom.name].update(idiom.options)


def read(reference: str, path: str) -> str:
    """Return the text of a file in an image."""
    with connect() as client:
        made = client.api.create_container(reference, ["none"])
        try:
            chunks, _ = client.api.get_archive(made["Id"], path)
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                content = archive.extractfile(archive.getmembers()[0])
                assert content
                return content.read().decode()
        finally:
            client.api.remove_container(made["Id"])


@pytest.mark.parametrize("idiom", SHARED, ids=lambda idiom: idiom.name)
def test_an_idiom_of_always_is_built_by_both_with_one_content_and_one_version(
    project: Project, contents: dict[str, str], idiom: Idiom
) -> None:
    write(project, idiom)
    first = build(project, "buildkit")
    second = build(project, "classic")
    assert (first.version, first.is_new) == ("0.1.0", True)
    assert (second.version, second.is_new, second.content) == ("0.1.0", False, first.content)
    assert second.inputs == first.inputs
    assert contents.setdefault(idiom.name, first.content) == first.content, "another engine's content is another"
    assert read(second.reference, "/out") == "made\n"
    assert project.untagged() == 0
    assert [line.partition(",")[0] for line in project.said if line.startswith("builder:")] == [
        "builder: BuildKit",
        "builder: the classic one",
    ]


@pytest.mark.parametrize("idiom", BUILDKIT, ids=lambda idiom: idiom.name)
def test_an_idiom_of_today_is_built_by_buildkit_and_refused_by_the_classic_builder(
    project: Project, idiom: Idiom
) -> None:
    write(project, idiom)
    with raises(ConfigError, idiom.refused, "needs BuildKit", "leave it at auto"):
        build(project, "classic")
    with raises(ConfigError, idiom.refused):
        images.plan_images(project.settings)
    assert project.tags() == []
    built = build(project, "auto")
    assert read(built.reference, "/out") == "made\n"
    assert project.untagged() == 0
    again = build(project, "auto", no_cache=False)
    assert (again.version, again.is_new, again.content) == ("0.1.0", False, built.content)


def test_an_image_of_ours_is_the_base_of_another_with_either_builder(project: Project) -> None:
    project.write("base", f"FROM {BASE}\nRUN echo made > /out\n")
    project.write("web", "ARG OURS\nFROM ${OURS}\nRUN echo more > /more\n")
    project.images["web"]["needs"] = {"OURS": "base"}
    project.options["build"] = {"builder": "buildkit"}
    first = images.build_images(project.settings, project.report)
    project.options["build"] = {"builder": "classic"}
    second = images.build_images(project.settings, project.report, no_cache=True)
    assert [built.version for built in second] == ["0.1.0", "0.1.0"]
    assert [built.content for built in second] == [built.content for built in first]
    assert read(second[1].reference, "/out") == "made\n"


def test_a_secret_is_in_no_image_and_in_no_command(project: Project, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cr3t-of-a-build")
    (tmp_path / "key").chmod(0o600)
    look = 'tr "\\0" " " < /proc/self/cmdline > /seen; wc -c < /run/secrets/key | tee /out'
    project.write("web", f"FROM {BASE}\nRUN --mount=type=secret,id=key {look}\n")
    project.images["web"]["secrets"] = {"key": {"command": ["cat", "key"]}}
    built = build(project, "auto")
    assert read(built.reference, "/out") == "17\n"
    with connect() as client:
        history = json.dumps(client.api.history(built.reference))  # type: ignore[no-untyped-call]
        saved = b"".join(client.images.get(built.reference).save())
    assert "s3cr3t" not in history
    assert b"s3cr3t" not in saved
    (tmp_path / "key").unlink()
    with raises(ConfigError, path="images.web.secrets.key.command"):
        build(project, "auto")


@pytest.mark.usefixtures("engine")
def test_ignore_files_leave_out_what_docker_s_own_reading_does(tmp_path: Path) -> None:
    files = "README.md x.md a/b/x.log a/b/keep.log a/c.txt src/m.py src/p/q.py src/p/q.pyc src/m/z.js m/y.js #x b/k"
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "Dockerfile.dockerignore").touch()
    command = ["docker", "buildx", "build", "--builder", "default", "--output", "type=tar,dest=-", str(tmp_path)]
    for lines in re.split(r" / |\n", IGNORED):
        (tmp_path / "Dockerfile.dockerignore").write_text("\n".join([*lines.split(","), "Dockerfile*"]))
        with tarfile.open(
            fileobj=io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)
        ) as archive:
            theirs = {member.name for member in archive if member.isfile()}
        ours = {path for path in included_paths(tmp_path) if (tmp_path / path).is_file()}
        assert ours - {"Dockerfile"} == theirs, lines


class TestPlatforms:
    def test_another_one_than_the_engine_s(self, project: Project) -> None:
        project.write("web", data="made")
        project.images["web"]["platforms"] = ["linux/arm64"]
        built = build(project, "auto")
        with connect() as client:
            assert client.images.get(built.reference).attrs["Architecture"] == "arm64"
        assert build(project, "auto").version == "0.1.0"
        assert project.untagged() == 0

    def test_several_are_one_image_where_the_engine_keeps_such(
        self, project: Project, host: Root, engine: bool
    ) -> None:
        project.write("web", "FROM scratch\nARG TARGETARCH\nCOPY data.$TARGETARCH /data\n")
        for architecture in ("amd64", "arm64"):
            project.write("web", (project.root / "web/Dockerfile").read_text(), **{f"data.{architecture}": "made"})
        project.images["web"]["platforms"] = ["linux/amd64", "linux/arm64"]
        if not engine:
            with raises(ConfigError, "containerd-snapshotter", path="images.web.platforms"):
                build(project, "auto")
            return
        first = build(project, "auto")
        assert platforms_pushed(first.reference, host) == ["linux/amd64", "linux/arm64"]
        assert (build(project, "auto").version, project.tags(), project.untagged()) == ("0.1.0", ["web:0.1.0"], 0)
        (project.root / "web/data.arm64").write_text("changed")
        assert (build(project, "auto").version, project.untagged()) == ("0.1.1", 0)


@contextmanager
def registry(host: Root) -> Iterator[None]:
    """Let a registry be at localhost:5000 of the host."""
    settings = "{version: 0.1, storage: {filesystem: {rootdirectory: /var/lib/argosy/registry}}, http: {addr: ':5000'}}"
    host.path("/run/registry.yml").write_text(settings)
    serve = "echo $$ > /run/registry.pid; exec docker-registry serve /run/registry.yml"
    with subprocess.Popen(host.argv(["sh", "-c", serve]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        try:
            until(lambda: host.run(["ss", "-Hltn", "sport = :5000"]).stdout)
            yield
        finally:
            host.run(["sh", "-c", "kill $(cat /run/registry.pid)"])


def platforms_pushed(reference: str, host: Root) -> list[str]:
    """Push an image; return for what it is, as the registry has it."""
    with registry(host), connect() as client:
        client.api.tag(reference, "localhost:5000/web", "1")
        [digest] = push(client, "localhost:5000/web:1", {"username": "x", "password": "x"})
        url = f"http://localhost:5000/v2/web/manifests/{digest}"
        asked = f"urllib.request.Request({url!r}, headers={{'Accept': 'application/vnd.oci.image.index.v1+json'}})"
        program = f"import urllib.request; print(urllib.request.urlopen({asked}).read().decode())"
        index = json.loads(host.run(["python3", "-c", program]).stdout)
        client.images.remove("localhost:5000/web:1")
    return sorted("{os}/{architecture}".format_map(entry["platform"]) for entry in index["manifests"])


def test_another_host_has_from_the_registry_what_steps_have_made(project: Project, host: Root, engine: bool) -> None:
    project.write("web", f"FROM {BASE}\nRUN --network=none head -c 16 /dev/urandom > /out\n")
    project.options["registry"] = {"address": "localhost:5000", "password": {"command": ["echo", "secret"]}}
    project.options["build"] = {"registry_cache": True}
    with registry(host):
        first = images.build_images(project.settings, project.report)[0]
        with connect() as client:
            client.images.remove(first.reference)
            client.api.prune_builds()
        project.said.clear()
        second = images.build_images(project.settings, project.report)[0]
    if engine:
        assert (second.content, [line for line in project.said if "step" in line]) == (first.content, [])
    else:
        assert second.content != first.content
        assert [line for line in project.said if "no cache of builds" in line and "containerd" in line]


class TestFailures:
    def test_name_image_step_and_code_and_leave_nothing(self, project: Project) -> None:
        project.write("bad", f"FROM {BASE}\nRUN <<EOF\necho the reason\nexit 7\nEOF\n")
        with pytest.raises(
            BuildFailed, match=r"^bad: step 2/2 failed \(RUN <<EOF.*\): it ended with exit code 7$"
        ) as caught:
            build(project, "auto")
        assert "the reason" in caught.value.log
        assert (project.tags(), project.untagged()) == ([], 0)

    @pytest.mark.parametrize(
        ("dockerfile", "line"),
        [
            ("FROM scratch\nRUM x\n", r"^bad: the build failed: .*parse error.* line \d: unknown instruction: RUM"),
            ("FROM nowhere.invalid/x:1\n", r"^bad: the image nowhere.invalid/x:1 can't be had: .*; is it here, or"),
            ("FROM scratch\nCOPY nothing /\n", r'^bad: step 1/1 failed \(COPY nothing /\): .*"/nothing".* not found'),
        ],
    )  # fmt: skip
    def test_of_a_dockerfile_say_why(self, project: Project, dockerfile: str, line: str) -> None:
        project.write("bad", dockerfile)
        with pytest.raises(BuildFailed, match=line):
            build(project, "buildkit")

    def test_ctrl_c_ends_the_build_in_the_engine_too(self, project: Project, host: Root) -> None:
        mark = f"3600.{os.getpid()}"
        project.write("slow", f"FROM {BASE}\nRUN --mount=type=tmpfs,target=/t sleep {mark}\n")
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

        def sleeps() -> bool:
            return mark in host.run(["ps", "-A", "-o", "args"]).stdout

        until(sleeps)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
        assert b"KeyboardInterrupt" in said
        until(lambda: not sleeps())
        assert (project.tags(), project.untagged()) == ([], 0)


class TestChoice:
    def test_without_docker_s_program_it_is_the_classic_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        builder = choose_builder("auto")
        assert builder.buildkit is None
        assert "no program `docker`" in builder.told
        with raises(ConfigError, "docker-buildx", path="build.builder"):
            choose_builder("buildkit")

    def test_without_the_plugin_it_is_the_classic_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "docker").write_text("#!/bin/sh\necho \"docker: 'buildx' is not a docker command.\" >&2\nexit 1\n")
        (tmp_path / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        builder = choose_builder("auto")
        assert builder.buildkit is None
        assert "docker has no `buildx`" in builder.told
