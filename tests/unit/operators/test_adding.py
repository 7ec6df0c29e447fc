"""What keeps an operator from being added is told before anybody is asked, or any key is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from raised import raises

from argosy.cluster.operator_record import Rights
from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.operators import adding
from argosy.pki import authority


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load({"clusters": {"test": {}}}, root=tmp_path)
    authority.ensure_ca(found.secrets_path)
    return found


def test_full_rights_need_the_key_that_opens_the_machines(settings: Settings, tmp_path: Path) -> None:
    with raises(ConfigError, path="ssh.key"):
        adding.check(settings, adding.Request("ann", Rights.FULL, tmp_path / "ann.age"))
    adding.check(settings, adding.Request("ci", Rights.DEPLOY, tmp_path / "ci.age"))
