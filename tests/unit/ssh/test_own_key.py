"""Which key opens the machines, and what is said where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.ssh import keypair
from argosy.ssh.identity import login_key, refuse_without_key


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


def test_nobody_is_told_to_derive_a_public_key_of_a_key_that_is_not_there(settings: Settings) -> None:
    with raises(ConfigError, path="ssh.key") as caught:
        keypair.authorized_keys(settings)
    assert "ssh-keygen" not in str(caught.value)
    keypair.ensure_own_key(settings)
    keypair.key_path(settings).with_suffix(".pub").unlink()
    with raises(ConfigError, f"ssh-keygen -y -f {keypair.key_path(settings)}", path="ssh.key"):
        keypair.authorized_keys(settings)
