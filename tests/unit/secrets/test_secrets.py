"""Gathering a cluster's secrets on this host: a real folder, real keys, no machine."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.model import Machine
from argosy.pki import authority
from argosy.report import silent
from argosy.secrets import upload
from argosy.secrets.names import COMMON_SECRETS, FINGERPRINT_KEY, MEMBER_SECRETS, required_secrets

AIR = Machine("air-01", "10.0.0.1")


def settings(root: Path, **section: Any) -> Settings:
    registry = {"address": "10.0.0.5:5000"} | section.pop("registry", {})
    return load({"clusters": {"test": {"registry": registry, **section}}}, root=root)


def machine_folder(config: Settings) -> Path:
    folder = config.secrets_path / "machine"
    folder.mkdir(parents=True)
    return folder


def ready(config: Settings) -> Settings:
    upload.ensure_local(config, [AIR])
    return config


def values(config: Settings) -> dict[str, bytes]:
    return {name: secret.reveal() for name, secret in upload.gather(ready(config), [AIR], silent)[AIR.name].items()}


def refusal(config: Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        upload.gather(ready(config), [AIR], silent)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestWhatAMachineGets:
    def test_our_own_files_without_any_configuration(self, tmp_path: Path) -> None:
        assert set(values(settings(tmp_path))) == {*COMMON_SECRETS, *MEMBER_SECRETS, FINGERPRINT_KEY}

    def test_all_that_it_requires_and_the_users_files(self, tmp_path: Path) -> None:
        config = settings(
            tmp_path,
            secrets={"token": {"generate_bytes": 8}, "printed": {"command": ["printf", "a b\n"]}},
            images={"web": {"context": "web"}},
            services={"web": {"image": "web", "secrets": ["key.pem"]}},
        )
        folder = machine_folder(config)
        (folder / "key.pem").write_bytes(b"\x00\n")
        (folder / "other").write_text("x")
        found = values(config)
        assert set(required_secrets(config)) < set(found)
        assert (found["printed"], found["key.pem"], found["other"]) == (b"a b", b"\x00\n", b"x")

    def test_the_registry_login_is_dockers(self, tmp_path: Path) -> None:
        config = settings(tmp_path, registry={"user": "me", "password": {"command": ["printf", "pass:word"]}})
        login = json.loads(values(config)["registry/config.json"])
        assert base64.b64decode(login["auths"]["10.0.0.5:5000"]["auth"]) == b"me:pass:word"

    def test_no_value_shows_in_a_repr(self, tmp_path: Path) -> None:
        config = settings(tmp_path, secrets={"token": {"command": ["printf", "hunter2"]}})
        assert "hunter2" not in repr(upload.gather(ready(config), [AIR], silent)[AIR.name])


class TestRouterKeys:
    def test_certificates_with_their_keys_go_to_every_machine(self, tmp_path: Path) -> None:
        config = settings(tmp_path)
        own = authority.ensure_operator_certificate(ready(config).secrets_path)
        folder = config.secrets_path / "keys"
        folder.mkdir()
        pem = own.certificate.read_bytes() + own.key.read_bytes()
        (folder / "site.pem").write_bytes(pem)
        (folder / "site.pem").chmod(0o600)
        assert values(config)["keys/site.pem"] == pem

    @pytest.mark.parametrize("content", [b"", b"no certificate", b"certificate", b"key", b"encrypted"])
    def test_what_a_router_can_not_use_is_refused(self, tmp_path: Path, content: bytes) -> None:
        config = settings(tmp_path)
        own = authority.ensure_operator_certificate(ready(config).secrets_path)
        folder = config.secrets_path / "keys"
        folder.mkdir()
        key = load_pem_private_key(own.key.read_bytes(), None)
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
        certificate = own.certificate.read_bytes()
        contents = {b"certificate": certificate, b"key": own.key.read_bytes(), b"encrypted": certificate + locked}
        (folder / "site.pem").write_bytes(contents.get(content, content))
        (folder / "site.pem").chmod(0o600)
        assert "site.pem" in refusal(config)

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        config = settings(tmp_path)
        (config.secrets_path / "keys").mkdir(parents=True)
        (config.secrets_path / "keys" / "notes.txt").write_text("x")
        assert "notes.txt" in refusal(config)


class TestGenerated:
    def test_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        config = settings(tmp_path, secrets={"token": {"generate_bytes": 24}})
        first, second = values(config), values(config)
        path = config.secrets_path / "token"
        assert len(first["token"]) == 48
        assert first == second
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(config.secrets_path.stat().st_mode) == 0o700

    def test_where_the_reference_says_without_touching_that_folders_mode(self, tmp_path: Path) -> None:
        keys = tmp_path / "keys"
        keys.mkdir(mode=0o755)
        config = settings(tmp_path, secrets={"token": {"file": "keys/token", "generate_bytes": 4}})
        assert values(config)["token"] == (keys / "token").read_bytes()
        assert stat.S_IMODE(keys.stat().st_mode) == 0o755

    def test_the_registry_password_is_made_unless_configured(self, tmp_path: Path) -> None:
        config = settings(tmp_path)
        password = upload.registry_password(config)
        assert (config.secrets_path / "registry.password").read_bytes() == password.reveal()
        assert upload.registry_password(config) == password

    def test_what_a_container_here_mounts_is_a_file(self, tmp_path: Path) -> None:
        config = settings(
            tmp_path, secrets={"made": {"generate_bytes": 4}, "printed": {"command": ["printf", "hunter2"]}}
        )
        (machine_folder(config) / "own").write_text("mine")
        found = upload.local_files(config, ["made", "printed", "own"])
        assert found["printed"].read_text() == "hunter2"
        assert stat.S_IMODE(found["printed"].stat().st_mode) == 0o600
        assert found["own"].read_text() == "mine"
        with raises(ConfigError, path="secrets.none"):
            upload.local_files(config, ["none"])


class TestRefusals:
    def test_a_missing_file_names_the_reference_and_what_to_do(self, tmp_path: Path) -> None:
        message = refusal(settings(tmp_path, secrets={"token": {"file": "keys/token"}}))
        assert message.startswith(f"secrets.token: no file {tmp_path}/keys/token; write the secret there")

    def test_a_missing_registry_password(self, tmp_path: Path) -> None:
        config = settings(tmp_path, registry={"password": {"file": "nowhere"}})
        assert refusal(config).startswith(f"registry.password: no file {tmp_path}/nowhere")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "token").touch(mode=0o600)
        assert "token is empty" in refusal(settings(tmp_path, secrets={"token": {"file": "token"}}))

    def test_a_file_that_every_user_may_read(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("x")
        (tmp_path / "token").chmod(0o644)
        assert "run: chmod 600" in refusal(settings(tmp_path, secrets={"token": {"file": "token"}}))

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            (["no-such-program"], "secrets.token.command: can't run no-such-program: No such file"),
            (["sh", "-c", "echo some; echo locked >&2; exit 3"], "secrets.token.command: sh ended with 3: locked"),
            (["true"], "secrets.token.command: true printed nothing"),
        ],
    )
    def test_a_command_that_prints_no_secret(self, tmp_path: Path, command: list[str], message: str) -> None:
        assert refusal(settings(tmp_path, secrets={"token": {"command": command}})).startswith(message)

    @pytest.mark.parametrize("name", [".hidden", "a b", "ü"])
    def test_an_odd_name(self, tmp_path: Path, name: str) -> None:
        config = settings(tmp_path)
        (machine_folder(config) / name).write_text("x")
        assert "its name must be made of letters" in refusal(config)

    def test_a_folder_among_the_users_files(self, tmp_path: Path) -> None:
        config = settings(tmp_path)
        (machine_folder(config) / "sub").mkdir()
        assert "not a file" in refusal(config)

    def test_a_users_file_in_the_place_of_ours(self, tmp_path: Path) -> None:
        config = settings(tmp_path)
        (machine_folder(config) / "ca.crt").write_text("x")
        assert "this name is taken by a file of Argosy's own; rename it" in refusal(config)

    @pytest.mark.parametrize("text", ["{", "[]", '{"database/password": 5}'])
    def test_an_overlay_that_is_no_settings_without_showing_it(self, tmp_path: Path, text: str) -> None:
        config = settings(tmp_path)
        (machine_folder(config) / "settings.json").write_text(text)
        assert refusal(config).startswith(f"{config.secrets_path}/machine/settings.json: ")

    def test_what_only_the_configuration_can_repair(self, tmp_path: Path) -> None:
        web: dict[str, Any] = {"images": {"web": {"context": "web"}}}
        cases: list[tuple[dict[str, Any], str]] = [
            ({"registry": {"address": ""}}, "registry.address: give HOST:PORT"),
            ({"secrets": {"ca.crt": {}}}, "secrets.ca.crt: this name is taken"),
            ({**web, "services": {"web": {"image": "web", "secrets": ["x"]}}}, "services.web.secrets: no secret 'x'"),
        ]
        for section, message in cases:
            with pytest.raises(ConfigError) as caught:
                upload.check(settings(tmp_path, **section))
            assert str(caught.value).startswith(message)

    def test_one_name_from_two_places(self, tmp_path: Path) -> None:
        config = settings(tmp_path, secrets={"token": {"generate_bytes": 4}})
        (machine_folder(config) / "token").write_text("x")
        with raises(ConfigError, "/machine/token", path="secrets.token"):
            upload.check(config)
