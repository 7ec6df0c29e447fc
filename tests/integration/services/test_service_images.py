"""The image of a definition, from a registry that answers from a table."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.images.versions import Stored, Version, parse_version
from argosy.model import Image
from argosy.registry import access
from argosy.services import definitions
from argosy.services.record import ServiceImage

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
        found = definitions.resolve(settings, settings.scheduled["web"])
        assert found == ServiceImage(f"{REGISTRY}/air/web@{DIGESTS['0.1.3']}", "0.1.3")

    def test_a_version_of_ours(self, settings: Settings) -> None:
        assert definitions.resolve(settings, settings.scheduled["web"], image="0.1.2").version == "0.1.2"
        with pytest.raises(Refused, match=r"the registry does not have web 0.1.9"):
            definitions.resolve(settings, settings.scheduled["web"], image="0.1.9")

    def test_what_a_release_pins(self, settings: Settings) -> None:
        assert definitions.resolve(settings, settings.scheduled["web"], release="0.2.0").version == "0.1.2"
        with pytest.raises(Refused, match=r"release 0.3.0 does not pin web"):
            definitions.resolve(settings, settings.scheduled["web"], release="0.3.0")

    def test_another_s_stands_as_it_is(self, settings: Settings) -> None:
        assert definitions.resolve(settings, settings.scheduled["proxy"]) == ServiceImage("nginx:1.27", "1.27")
        digest = "sha256:" + "a" * 64
        given = definitions.resolve(settings, settings.scheduled["web"], image=f"r.example:5000/x@{digest}")
        assert given == ServiceImage(f"r.example:5000/x@{digest}", "sha256:aaaaaaaaaaaa")
        tagged = definitions.resolve(settings, settings.scheduled["web"], image=f"r.example/x:2@{digest}")
        assert tagged.version == "2"

    @pytest.mark.parametrize("image", ["web", "0.1", "no such", "x:", "-x:1"])
    def test_what_is_neither_is_refused(self, settings: Settings, image: str) -> None:
        with pytest.raises(ConfigError):
            definitions.resolve(settings, settings.scheduled["web"], image=image)

    def test_another_s_has_no_versions_of_ours(self, settings: Settings) -> None:
        for given in ({"image": "0.1.2"}, {"release": "0.2.0"}):
            with pytest.raises(ConfigError, match="not an image of ours"):
                definitions.resolve(settings, settings.scheduled["proxy"], **given)
        with pytest.raises(ConfigError, match="give one of the two"):
            definitions.resolve(settings, settings.scheduled["web"], image="0.1.2", release="0.2.0")

    def test_the_password_goes_with_what_is_in_our_registry_alone(self, settings: Settings) -> None:
        ours = definitions.resolve(settings, settings.scheduled["web"])
        login = json.loads(base64.urlsafe_b64decode(definitions.registry_auth(settings, ours)))
        assert login == {"username": "argosy", "password": "s3cret", "serveraddress": REGISTRY}
        assert definitions.registry_auth(settings, ServiceImage("nginx:1.27")) == ""
        assert definitions.registry_auth(settings, ServiceImage(f"{REGISTRY}0/x:1")) == ""


def parsed(text: str) -> Version:
    version = parse_version(text)
    assert version
    return version
