"""local.json as it stands on a host, and what is refused of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.local import record
from argosy.local.record import Record
from argosy.model import Image

STORED = """{
  "bip": "172.18.42.1/16",
  "release": {
    "name": "installer",
    "repository": "air/installer",
    "version": "0.1.3",
    "digest": "sha256:aaaa"
  },
  "joining": "air-02",
  "leaving": "",
  "maker": "engine"
}
"""
RECORD = Record(
    "172.18.42.1/16", Image("installer", "air/installer", "0.1.3", "sha256:aaaa"), joining="air-02", maker="engine"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load({"clusters": {"test": {"system": "air", "provider": "vagrant"}}}, root=tmp_path)
    found.state_path.mkdir(parents=True)
    return found


def path(settings: Settings) -> Path:
    return settings.state_path / record.FILE_NAME


def test_without_a_file_nothing_is_remembered(settings: Settings) -> None:
    assert record.load(settings) == Record()


def test_it_is_read_and_written_byte_for_byte(settings: Settings) -> None:
    path(settings).write_text(STORED)
    assert record.load(settings) == RECORD
    path(settings).unlink()
    assert record.save(settings, RECORD)
    assert path(settings).read_text() == STORED
    assert not record.save(settings, RECORD)


def test_what_a_version_without_the_engine_as_maker_wrote_was_vagrant_s(settings: Settings) -> None:
    path(settings).write_text(STORED.replace(',\n  "maker": "engine"', ""))
    assert record.load(settings) == replace(RECORD, maker="vagrant")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"bip": 7}',
        '{"more": ""}',
        '{"release": {"name": "x"}}',
        STORED.replace('"name"', '"more": "", "name"'),
    ],
)
def test_anything_else_is_refused(settings: Settings, text: str) -> None:
    path(settings).write_text(text)
    with pytest.raises(ConfigError, match=r"local\.json"):
        record.load(settings)
