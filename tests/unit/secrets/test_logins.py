"""Logins of registries, as Docker's client and the engine have them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.registry import access
from argosy.secrets import upload
from argosy.secrets.logins import HUB_KEY, Login, by_host, docker_config, further, passwords_in
from argosy.secrets.sources import login_source
from argosy.secrets.value import Secret

OWN = "10.0.0.5:5000"


def settings(folder: Path, *places: str, **more: object) -> Settings:
    """Settings with a login `me-of-PLACE` for each of the places, whose password is `of PLACE`."""
    document = {
        "registry": {"address": OWN, "password": {"command": ["printf", "own"]}},
        "registries": {place: {"user": f"me-of-{place.replace(chr(58), chr(95))}"} for place in places},
        "discovery": {"enabled": False},
        "clusters": {"test": {}},
    }
    found = load({**document, **more}, root=folder)
    for place in places:
        path = login_source(found, place).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"of {place}\n")
        path.chmod(0o600)
    return found


def shown(config: bytes) -> dict[str, str]:
    return {name: base64.b64decode(entry["auth"]).decode() for name, entry in json.loads(config)["auths"].items()}


def test_a_password_lies_beside_the_cluster_s_own(tmp_path: Path) -> None:
    here = settings(tmp_path, "ghcr.io", "ghcr.io/team")
    assert further(here, "ghcr.io") == Login("ghcr.io", "me-of-ghcr.io", "of ghcr.io")
    assert further(here, "ghcr.io/team").password == "of ghcr.io/team"
    assert (here.secrets_path / "registries" / "ghcr.io" / "team.password").is_file()
    assert "of ghcr.io" not in repr(further(here, "ghcr.io"))


def test_a_password_that_lacks_or_is_open_to_others_is_told(tmp_path: Path) -> None:
    here = settings(tmp_path, registries={"ghcr.io": {"user": "me", "password": {"file": "token"}}})
    with raises(ConfigError, f"no file {tmp_path}/token", path="registries.ghcr.io.password"):
        further(here, "ghcr.io")
    (tmp_path / "token").write_bytes(b"\xff")
    (tmp_path / "token").chmod(0o644)
    with raises(ConfigError, "every user of this host may read", path="registries.ghcr.io.password"):
        further(here, "ghcr.io")
    (tmp_path / "token").chmod(0o600)
    with raises(ConfigError, "UTF-8", path="registries.ghcr.io.password"):
        further(here, "ghcr.io")


def test_machines_get_them_in_docker_s_own_file_the_cluster_s_first(tmp_path: Path) -> None:
    here = settings(tmp_path, "ghcr.io", "docker.io")
    config = docker_config(here, Secret(b"own\n"), {place: Secret(place.encode()) for place in here.registries})
    found = shown(config.reveal())
    assert next(iter(found)) == OWN
    assert found == {OWN: "argosy:own", "ghcr.io": "me-of-ghcr.io:ghcr.io", HUB_KEY: "me-of-docker.io:docker.io"}
    assert passwords_in(config.reveal()) == {OWN: b"own", "ghcr.io": b"ghcr.io", "docker.io": b"docker.io"}


def test_one_for_a_path_is_the_host_s_where_that_has_no_other(tmp_path: Path) -> None:
    def keys(*places: str) -> dict[str, str]:
        here = settings(tmp_path, *places)
        return shown(docker_config(here, Secret(b"own"), {place: Secret(b"x") for place in places}).reveal())

    assert keys("ghcr.io/a") == {OWN: "argosy:own", "ghcr.io": "me-of-ghcr.io/a:x", "ghcr.io/a": "me-of-ghcr.io/a:x"}
    assert keys("ghcr.io", "ghcr.io/a")["ghcr.io"] == "me-of-ghcr.io:x"
    assert "ghcr.io" not in keys("ghcr.io/a", "ghcr.io/b")
    assert keys(f"{OWN}/other")[OWN] == "argosy:own"


def test_the_upload_brings_them(tmp_path: Path) -> None:
    here = settings(tmp_path, "ghcr.io")
    files = upload.gather(here, [], lambda *_: None)
    assert files == {}
    login = upload._common_files(here)["registry/config.json"]
    assert login is not None
    assert shown(login.reveal()) == {OWN: "argosy:own", "ghcr.io": "me-of-ghcr.io:of ghcr.io"}


def test_the_engine_has_them_by_its_names(tmp_path: Path) -> None:
    assert by_host(settings(tmp_path, "docker.io", "ghcr.io/a")) == {
        HUB_KEY: ("me-of-docker.io", "of docker.io"),
        "ghcr.io": ("me-of-ghcr.io/a", "of ghcr.io/a"),
    }


def test_an_image_is_pulled_by_the_most_specific_one(tmp_path: Path) -> None:
    here = settings(tmp_path, "ghcr.io", "ghcr.io/team", "docker.io", f"{OWN}/other")

    def password(reference: str) -> str:
        login = access.login_for(here, reference)
        return login.password if login else ""

    assert password("ghcr.io/team/web:1") == "of ghcr.io/team"
    assert password("ghcr.io/else/web:1") == "of ghcr.io"
    assert password("nginx:1.27") == "of docker.io"
    assert password("quay.io/team/web:1") == ""
    assert password(f"{OWN}/air/web:1") == "own"
    assert password(f"{OWN}/other/web:1") == f"of {OWN}/other"


@pytest.mark.parametrize("config", [b"{}", b"[]", b"x", b'{"auths": {}}', b'{"auths": {"a": {"auth": "="}}}'])
def test_what_is_no_file_of_docker_s_has_no_passwords(config: bytes) -> None:
    assert passwords_in(config) == {}
