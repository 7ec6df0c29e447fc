from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from argosy.config.loading import ScheduledSettings
from argosy.services.record import Generation, ScheduledRecord, ServiceImage, definition_json

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
IMAGE = ServiceImage("10.0.0.5:5000/air/web@sha256:" + "a" * 64, "0.1.3")
DEFINITION = ScheduledSettings.model_validate(
    {"image": "web", "replicas": 2, "constraints": ["tier=green"], "discovery": {"port": 80, "scheme": "http"}}
)
RECORD = ScheduledRecord("web", Generation(7, DEFINITION, IMAGE), 4, NOW, "alice@build-1")
EVERYWHERE = ScheduledSettings.model_validate({"image": "web", "global": True})


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, stopped=True),
        replace(RECORD, replicas=0),
        replace(RECORD, current=Generation(8, EVERYWHERE, IMAGE), replicas=None),
        replace(RECORD, previous=Generation(6, EVERYWHERE, ServiceImage("nginx:1.27", "1.27"))),
    ],
)
def test_a_record_is_read_as_it_was_written(record: ScheduledRecord) -> None:
    assert ScheduledRecord.parse(record.text()) == record
    assert "\n" not in record.text()


def test_a_record_holds_the_definition_as_it_would_stand_in_the_file() -> None:
    assert RECORD.to_json() == {
        "name": "web",
        "generation": 7,
        "replicas": 4,
        "stopped": False,
        "definition": {
            "image": "web",
            "replicas": 2,
            "constraints": ["tier=green"],
            "discovery": {"port": 80, "scheme": "http"},
        },
        "image": {"reference": IMAGE.reference, "version": "0.1.3"},
        "previous": None,
        "since": "2026-01-31T12:00:00.000Z",
        "by": "alice@build-1",
    }
    assert definition_json(EVERYWHERE) == {"image": "web", "global": True}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"generation": "x"}, "generation: Input should be a valid integer"),
        ({"definition": {"image": "web", "replica": 1}}, "definition.replica"),
        ({"image": {}}, "it lacks 'reference'"),
        ({"since": "yesterday"}, "Invalid isoformat"),
    ],
)
def test_what_is_no_record_is_told_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="not the record of a scheduled service") as caught:
        ScheduledRecord.parse(json.dumps({**RECORD.to_json(), **change}))
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"x"', "7"])
def test_arbitrary_text_is_no_record(text: str) -> None:
    with pytest.raises(ValueError, match="not the record of a scheduled service"):
        ScheduledRecord.parse(text)
