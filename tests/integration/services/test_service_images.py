"""Definitions of scheduled services from a file, and the image of a definition."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from argosy.config import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.model import Image
from argosy.operations.registry import access
from argosy.operations.service import definitions, imaging
from argosy.scheduled_record import ServiceImage
from argosy.versions import Stored, Version, parse_version

DIGESTS = {"0.1.2": "sha256:" + "2" * 64, "0.1.3": "sha256:" + "3" * 64}
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
            ("scheduled: [", "no YAML: while parsing"),
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


class TestImages:
    @pytest.fixture(autouse=True)
    def registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stored = {text: Stored("web", parsed(text), digest) for text, digest in DIGESTS.items()}

        @contextmanager
        def opened(_: Settings) -> Iterator[None]:
            yield

        def pins(_: Settings, version: str) -> tuple[Image, ...]:
            return (Image("web", "air/web", "0.1.2", DIGESTS["0.1.2"]),) if version == "0.2.0" else ()

        monkeypatch.setattr(access, "opened", opened)
        monkeypatch.setattr(access, "read_version", lambda _r, _s, _n, version: stored.get(str(version)))
        monkeypatch.setattr(access, "newest_in", lambda _r, _s, names: dict.fromkeys(names, stored["0.1.3"]))
        monkeypatch.setattr(access, "pinned_images", pins)
        monkeypatch.setattr(access, "password", lambda _: "s3cret")

    def test_ours_is_the_newest_by_its_digest(self, settings: Settings) -> None:
        found = imaging.resolve(settings, settings.scheduled["web"])
        assert found == ServiceImage(f"{REGISTRY}/air/web@{DIGESTS['0.1.3']}", "0.1.3")

    def test_a_version_of_ours(self, settings: Settings) -> None:
        assert imaging.resolve(settings, settings.scheduled["web"], image="0.1.2").version == "0.1.2"
        with pytest.raises(Refused, match=r"the registry does not have web 0.1.9"):
            imaging.resolve(settings, settings.scheduled["web"], image="0.1.9")

    def test_what_a_release_pins(self, settings: Settings) -> None:
        assert imaging.resolve(settings, settings.scheduled["web"], release="0.2.0").version == "0.1.2"
        with pytest.raises(Refused, match=r"release 0.3.0 does not pin web"):
            imaging.resolve(settings, settings.scheduled["web"], release="0.3.0")

    def test_another_s_stands_as_it_is(self, settings: Settings) -> None:
        assert imaging.resolve(settings, settings.scheduled["proxy"]) == ServiceImage("nginx:1.27", "1.27")
        digest = "sha256:" + "a" * 64
        given = imaging.resolve(settings, settings.scheduled["web"], image=f"r.example:5000/x@{digest}")
        assert given == ServiceImage(f"r.example:5000/x@{digest}", "sha256:aaaaaaaaaaaa")
        tagged = imaging.resolve(settings, settings.scheduled["web"], image=f"r.example/x:2@{digest}")
        assert tagged.version == "2"

    @pytest.mark.parametrize("image", ["web", "0.1", "no such", "x:", "-x:1"])
    def test_what_is_neither_is_refused(self, settings: Settings, image: str) -> None:
        with pytest.raises(ConfigError):
            imaging.resolve(settings, settings.scheduled["web"], image=image)

    def test_another_s_has_no_versions_of_ours(self, settings: Settings) -> None:
        for given in ({"image": "0.1.2"}, {"release": "0.2.0"}):
            with pytest.raises(ConfigError, match="not an image of ours"):
                imaging.resolve(settings, settings.scheduled["proxy"], **given)
        with pytest.raises(ConfigError, match="give one of the two"):
            imaging.resolve(settings, settings.scheduled["web"], image="0.1.2", release="0.2.0")

    def test_the_password_goes_with_what_is_in_our_registry_alone(self, settings: Settings) -> None:
        ours = imaging.resolve(settings, settings.scheduled["web"])
        login = json.loads(base64.urlsafe_b64decode(imaging.registry_auth(settings, ours)))
        assert login == {"username": "argosy", "password": "s3cret", "serveraddress": REGISTRY}
        assert imaging.registry_auth(settings, ServiceImage("nginx:1.27")) == ""
        assert imaging.registry_auth(settings, ServiceImage(f"{REGISTRY}0/x:1")) == ""


def parsed(text: str) -> Version:
    version = parse_version(text)
    assert version
    return version
