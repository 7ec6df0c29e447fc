"""What of the engine's seam is pure: the specification of a container, the reading of a build's output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from argosy.config.loading import VolumeSettings
from argosy.engine.containers import ContainerSpec, port_bindings
from argosy.engine.names import SYSTEM_LABEL
from argosy.errors import EngineError
from argosy.images.log import BuildLog, failure_line
from argosy.images.store import label_instruction, parse_pinned, parse_pins, render_pinned, render_pins
from argosy.images.versions import PinnedService
from argosy.model import Image

SPEC = ContainerSpec("registry", "air/registry:0.1.0", {SYSTEM_LABEL: "air"}, ports=["127.0.0.1:5000:5000"])


class TestContainerSpec:
    @pytest.mark.parametrize(
        "change",
        [
            {"image": "air/registry:0.1.1"},
            {"command": ["serve"]},
            {"env": {"A": "1"}},
            {"ports": ["5000:5000"]},
            {"volumes": [VolumeSettings(source="data", target="/data")]},
            {"network": "host"},
            {"stop_seconds": 11},
            {"labels": {SYSTEM_LABEL: "other"}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_any_change_shows_in_its_digest(self, change: dict[str, object]) -> None:
        assert replace(SPEC, **change).digest() != SPEC.digest()  # type: ignore[arg-type]

    def test_the_order_of_its_environment_does_not(self) -> None:
        one, other = replace(SPEC, env={"A": "1", "B": "2"}), replace(SPEC, env={"B": "2", "A": "1"})
        assert one.digest() == other.digest()

    def test_a_renewed_file_shows_in_its_digest(self, tmp_path: Path) -> None:
        certificate = tmp_path / "tls.crt"
        certificate.write_text("old")
        spec = replace(SPEC, secrets={"tls.crt": certificate})
        before = spec.digest()
        assert spec.digest() == before
        certificate.write_text("new")
        assert spec.digest() != before

    def test_secrets_are_mounted_where_services_find_theirs(self, tmp_path: Path) -> None:
        spec = replace(SPEC, secrets={"password": tmp_path / "p"}, files={"/etc/x.conf": tmp_path / "x"})
        assert spec.mounted_files() == {"/etc/x.conf": tmp_path / "x", "/run/secrets/password": tmp_path / "p"}

    def test_a_missing_file_is_an_error_that_names_it(self) -> None:
        with pytest.raises(EngineError, match=r"/nowhere/key: it can't be mounted: No such file or directory"):
            replace(SPEC, secrets={"key": Path("/nowhere/key")}).digest()


def test_ports_are_bound_where_they_say() -> None:
    assert port_bindings(["127.0.0.1:5000:80", "10.0.0.1:5000:80", "53:53/udp"]) == {
        "80/tcp": [("127.0.0.1", 5000), ("10.0.0.1", 5000)],
        "53/udp": [("0.0.0.0", 53)],
    }


class TestBuildLog:
    def test_announces_a_step_that_runs_and_not_one_from_the_cache(self) -> None:
        announced: list[str] = []
        log = BuildLog(announced.append)
        for text in (
            *("Step 1/3 : FROM debian:bookworm-slim", "\n", " ---> 153d0757fe16\n"),
            *("Step 2/3 : RUN apt-get update", "\n", " ---> Using cache\n", " ---> 99\n"),
            *("Step 3/3 : RUN make \\\n  all", "\n", " ---> Running in 1a7e\n", "compiling\n"),
        ):
            log.add(text)
        assert announced == ["step 3/3: RUN make \\ all"]
        assert log.tail().endswith("Running in 1a7e\ncompiling")

    def test_keeps_the_end_of_long_output_without_colours(self) -> None:
        log = BuildLog(lambda _step: None)
        for number in range(500):
            log.add(f"\x1b[91mline {number}\x1b[0m\n")
        assert log.tail().splitlines()[-1] == "line 499"
        assert len(log.tail().splitlines()) == 60

    def test_a_failure_is_one_line_with_image_step_and_code(self) -> None:
        log = BuildLog(lambda _step: None)
        log.add(f"Step 2/4 : RUN {'x' * 200}\n")
        event = {"error": "The command '...' returned a non-zero code: 7", "errorDetail": {"code": 7, "message": "..."}}
        line = failure_line("web", log, event)
        assert line.startswith("web: step 2/4 failed (RUN xxx")
        assert line.endswith("...): it ended with exit code 7")
        assert len(line) < 140

    def test_a_base_image_that_can_t_be_had_says_so(self) -> None:
        log = BuildLog(lambda _step: None)
        log.add("Step 1/4 : FROM nowhere:1\n")
        line = failure_line("web", log, {"errorDetail": {"message": "pull access\n denied"}})
        assert line == (
            "web: step 1/4 failed (FROM nowhere:1): pull access denied; is the base image here, or can it be pulled?"
        )


def test_labels_are_one_instruction_whatever_they_hold() -> None:
    labels = {"a": "", "b": '{"x": "1"}', "c": "\\ $HOME"}
    assert label_instruction(labels) == r'''LABEL a="" b="{\"x\": \"1\"}" c="\\ \$HOME"'''


class TestPins:
    IMAGES: ClassVar = {
        "web": Image("web", "air/web", "0.1.3", f"sha256:{'1' * 64}"),
        "api": Image("api", "air/api", "0.1.0", f"sha256:{'2' * 64}"),
    }

    def test_are_read_as_they_were_written(self) -> None:
        assert parse_pins(render_pins(self.IMAGES), "air") == (self.IMAGES["api"], self.IMAGES["web"])

    def test_are_the_same_text_in_any_order(self) -> None:
        assert render_pins(dict(reversed(self.IMAGES.items()))) == render_pins(self.IMAGES)

    @pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"web": {}}', '{"web": 1}'])
    def test_a_label_that_is_not_ours_pins_nothing(self, text: str) -> None:
        assert parse_pins(text, "air") == ()


def test_the_services_of_some_machines_stand_in_the_labels_of_a_release() -> None:
    pinned = {"db": PinnedService(("air-01", "air-02"), "1a2b", 30.0)}
    assert parse_pinned(render_pinned(pinned)) == pinned
    for text in ("", "[]", '{"db": {}}', '{"db": 1}'):
        assert parse_pinned(text) == {}
