"""Definitions of scheduled services, from the configuration or a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.services import definitions

REGISTRY = "10.0.0.5:5000"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        {
            "images": {"web": {"context": "web"}},
            "scheduled": {"web": {"image": "web"}, "proxy": {"image": "nginx:1.27"}},
            "registry": {"address": REGISTRY},
            "clusters": {"test": {}},
        },
        root=tmp_path,
    )


class TestDefinitions:
    def test_are_chosen_from_the_configuration(self, settings: Settings) -> None:
        assert definitions.read(settings, ["web"]).names == ("web",)
        assert definitions.read(settings, [], everything=True).names == ("proxy", "web")
        with pytest.raises(ConfigError, match=r"wbe: no scheduled service \(did you mean 'web'\?\)"):
            definitions.read(settings, ["wbe"])

    def test_a_file_has_the_same_shape(self, settings: Settings, tmp_path: Path) -> None:
        path = tmp_path / "more.yaml"
        path.write_text("scheduled:\n  web: {image: web, replicas: 3}\n  other: {image: nginx:1, conflicts: [proxy]}\n")
        found = definitions.read(settings, [], file=str(path))
        assert sorted(found.names) == ["other", "web"]
        assert found.every["web"].replicas == 3
        assert definitions.read(settings, ["proxy", "other"], file=str(path)).names == ("proxy", "other")
        assert len(definitions.read(settings, [], file=str(path), everything=True).names) == 3

    @pytest.mark.parametrize("text", ["scheduled: [", "scheduled: {web: {image: a, image: b}}", "\xff"])
    def test_a_file_that_is_no_yaml_is_told_by_name(self, settings: Settings, tmp_path: Path, text: str) -> None:
        path = tmp_path / "bad.yaml"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError) as caught:
            definitions.read(settings, [], file=str(path))
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("web: {image: web}", "it must hold the one key scheduled:"),
            ("[]", "it must hold the one key scheduled:"),
            (
                "scheduled: {web: {image: web, globl: true}}",
                "scheduled.web.globl: unknown key (did you mean 'global'?)",
            ),
            ("scheduled: {web: {image: wbe}}", "scheduled.web.image: no image 'wbe'"),
            ("scheduled: {agent: {image: web}}", "scheduled.agent: agent is a system service"),
            ("scheduled: {web: {image: web, ports: ['1:1']}}", "scheduled.web.update.order: a fixed port"),
        ],
    )
    def test_a_file_that_is_wrong_is_told_by_name(
        self, settings: Settings, tmp_path: Path, text: str, reason: str
    ) -> None:
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            definitions.read(settings, [], file=str(path))
        assert str(caught.value).startswith(f"{path}: {reason}")
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there(self, settings: Settings) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml: can't be read: No such file"):
            definitions.read(settings, [], file="nowhere.yaml")
