"""Which key opens the machines, and what is said where none is named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.ssh import keypair
from argosy.ssh.identity import login, login_key, refuse_without_key


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"clusters": {"test": {}}}, root=tmp_path)


def test_machines_that_are_entered_by_a_key_of_ssh_want_it_named(settings: Settings) -> None:
    with raises(ConfigError, path="ssh.key"):
        refuse_without_key(settings)


def test_a_key_that_is_named_or_made_is_enough(settings: Settings, tmp_path: Path) -> None:
    refuse_without_key(load({"clusters": {"test": {"ssh": {"key": "key"}}}}, root=tmp_path))
    keypair.ensure_own_key(settings)
    refuse_without_key(settings)
    assert login_key(settings) == keypair.key_path(settings)


@pytest.mark.parametrize(
    "line",
    ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-ed25519 AAAA", "ssh-rsa {key}", "{key}", "ssh-ed25519 {key}x= me"],
)
def test_a_public_key_that_is_none_goes_to_no_machine(settings: Settings, line: str) -> None:
    keypair.ensure_own_key(settings)
    path = keypair.key_path(settings).with_suffix(".pub")
    kind, key, comment = path.read_text().split()
    path.write_text(f"{kind} {key}\n")
    assert keypair.authorized_keys(settings) == [f"{kind} {key}"]
    path.write_text(line.format(key=key))
    with raises(ConfigError, "no public key", path="ssh.key"):
        keypair.authorized_keys(settings)
    path.write_text(f"{kind} {key} {comment} of mine\n")
    assert keypair.authorized_keys(settings) == [f"{kind} {key} {comment} of mine"]


def test_a_key_in_pem_stays_the_cluster_s_own(settings: Settings) -> None:
    keypair.ensure_own_key(settings)
    path = keypair.key_path(settings)
    line = path.with_suffix(".pub").read_text()
    private = keypair.load_private(path.read_bytes())
    plain, encoding = serialization.NoEncryption(), serialization.Encoding.PEM
    path.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    path.with_suffix(".pub").unlink()
    keypair.ensure_own_key(settings)
    assert path.with_suffix(".pub").read_text() == line


@pytest.mark.parametrize("made", [x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())])
def test_a_key_of_a_kind_that_ssh_has_not_is_told(settings: Settings, made: Any) -> None:
    keypair.ensure_own_key(settings)
    path = keypair.key_path(settings)
    plain, encoding = serialization.NoEncryption(), serialization.Encoding.PEM
    path.write_bytes(made.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    with raises(ConfigError, "not an ssh key", path=str(path)):
        keypair.ensure_own_key(settings)


def certificate(key: Any, kind: SSHCertificateType = SSHCertificateType.USER, until: int = 2**64 - 1) -> bytes:
    built: Any = SSHCertificateBuilder().public_key(key.public_key()).serial(1).type(kind).key_id(b"x")
    signed = built.valid_for_all_principals().valid_after(0).valid_before(until).sign(Ed25519PrivateKey.generate())
    return bytes(signed.public_bytes())


@pytest.mark.parametrize(
    ("of", "good"),
    [
        (lambda key: certificate(key), True),
        (lambda _key: certificate(Ed25519PrivateKey.generate()), False),
        (lambda key: certificate(key, SSHCertificateType.HOST), False),
        (lambda key: certificate(key, until=1_600_000_000), False),
        (lambda key: key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), False),
    ],
)
def test_a_certificate_is_of_its_key_for_users_and_not_over(
    tmp_path: Path, of: Callable[[Any], bytes], good: bool
) -> None:
    key, private = tmp_path / "key", Ed25519PrivateKey.generate()
    key.write_bytes(keypair.private_bytes(private))
    Path(f"{key}-cert.pub").write_bytes(of(private))
    with nullcontext() if good else raises(ConfigError, "is no certificate of", path="ssh.key"), login(key) as found:
        assert found["pkey"].public_blob


def test_nobody_is_told_to_derive_a_public_key_of_a_key_that_is_not_there(settings: Settings) -> None:
    with raises(ConfigError, path="ssh.key") as caught:
        keypair.authorized_keys(settings)
    assert "ssh-keygen" not in str(caught.value)
    keypair.ensure_own_key(settings)
    keypair.key_path(settings).with_suffix(".pub").unlink()
    with raises(ConfigError, f"ssh-keygen -y -f {keypair.key_path(settings)}", path="ssh.key"):
        keypair.authorized_keys(settings)
