"""A bundle in its encryption: who has the key reads it, nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from age_keys import encrypted, new_identity, recipient_of
from raised import raises

from argosy.cluster.operator_record import Rights
from argosy.errors import ConfigError
from argosy.operators.bundle import Bundle, BundledMachine, read, seal, unseal
from argosy.secrets.value import Secret

BUNDLE = Bundle(
    version=1,
    system="air",
    cluster="test",
    name="ci",
    rights=Rights.DEPLOY,
    ssh_key="the ssh key\n",
    ssh_public_key="ssh-ed25519 AAAA air-test-ci",
    certificate="the certificate\n",
    certificate_key="its key\n",
    authority="the CA\n",
    authority_key="",
    registry_address="10.0.0.5:5000",
    registry_user="air",
    registry_password="pa55",
    authorized_keys=(),
    known_hosts={"10.0.0.1": ("ssh-ed25519 AAAA",)},
    machines=(BundledMachine("air-01", "10.0.0.1", "debian", {"tier": "green"}),),
)
PASSPHRASE = Secret(b"correct horse battery staple")


def test_a_passphrase_opens_it() -> None:
    sealed = seal(BUNDLE, [], PASSPHRASE)
    assert sealed.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert b"pa55" not in sealed
    assert unseal(sealed, PASSPHRASE, "ci.age") == BUNDLE
    with raises(ConfigError, "this passphrase does not open it", path="ci.age"):
        unseal(sealed, Secret(b"another"), "ci.age")


def test_an_identity_opens_what_was_made_for_it() -> None:
    mine, other = new_identity(), new_identity()
    for sealed in (seal(BUNDLE, [recipient_of(mine)], None), seal(BUNDLE, [], mine)):
        assert unseal(sealed, mine, "ci.age") == BUNDLE
        with raises(ConfigError, "this identity does not open it", path="ci.age"):
            unseal(sealed, other, "ci.age")


@pytest.mark.parametrize("sealed", [b"", b"something else"])
def test_a_file_that_is_no_bundle(sealed: bytes) -> None:
    with raises(ConfigError, "this passphrase does not open it", path="ci.age"):
        unseal(sealed, Secret(b"another"), "ci.age")


def test_a_file_that_cant_be_read(tmp_path: Path) -> None:
    with raises(ConfigError, "can't be read: No such file", path=str(tmp_path / "ci.age")):
        read(tmp_path / "ci.age")
    with raises(ConfigError, "can't be read: Is a directory", path=str(tmp_path)):
        read(tmp_path)


def test_what_is_no_key_of_age() -> None:
    with raises(ConfigError, "is no recipient of age", path="recipient"):
        seal(BUNDLE, ["ssh-ed25519 AAAA"], None)
    with raises(ConfigError, "and is none", path="bundle"):
        unseal(b"", Secret(b"AGE-SECRET-KEY-1"), "ci.age")


def test_what_is_inside_is_checked() -> None:
    for text, message in ((b"{}", "it lacks"), (replace(BUNDLE, version=2).text().encode(), "another Argosy")):
        mine = new_identity()
        with raises(ConfigError, message, path="ci.age"):
            unseal(encrypted(text, mine), mine, "ci.age")


def test_it_does_not_show_itself() -> None:
    assert "pa55" not in f"{BUNDLE} {BUNDLE!r}"
