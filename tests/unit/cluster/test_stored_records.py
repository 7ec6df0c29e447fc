"""Records as the etcd of a running cluster may hold them: they are read, and written again byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from argosy.cluster.change import State
from argosy.cluster.release import Release
from argosy.rollouts import record as rollouts
from argosy.rollouts.record import Progress, parse_rollout
from argosy.services.record import Generation, ScheduledRecord
from argosy.services.updates import record as updates
from argosy.services.updates.record import Update

OLD_IMAGE, NEW_IMAGE = "10.0.0.5:5000/air/installer@sha256:aaaa", "10.0.0.5:5000/air/installer@sha256:bbbb"
AT = datetime(2026, 1, 31, 12, 0, 5, 120000, UTC)

ROLLOUT = (
    r'{"id":"20260131T120000.000Z-1f3a","state":"rolling-back","back":true,'
    r'"reason":"interrupted by zo\u00eb@build-1","started":"2026-01-31T12:00:00.000Z","by":"zo\u00eb@build-1",'
    r'"release":{"version":"0.1.3","image":"10.0.0.5:5000/air/installer@sha256:bbbb"},"whole":false,'
    r'"options":{"batch":"25%","canary":true,"soak_seconds":30.0,"rollback":true},'
    r'"order":[["air-01"],["air-02","air-03"]],'
    r'"machines":{"air-01":{"step":"failed","since":"2026-01-31T12:00:05.120Z",'
    r'"from":{"version":"0.1.2","image":"10.0.0.5:5000/air/installer@sha256:aaaa"},"touched":true,'
    r'"reason":"checking: \u201cweb\u201d does not pass",'
    r'"seconds":{"preparing":3.1,"draining":5.0,"installing":0.0}},'
    r'"air-02":{"step":"prepared","since":"2026-01-31T12:00:05.120Z","from":{"version":"","image":""},'
    r'"touched":false,"reason":"","seconds":{}},'
    r'"air-03":{"step":"rolled-back","since":"2026-01-31T12:00:05.120Z",'
    r'"from":{"version":"0.1.2","image":""},"touched":true,"reason":"","seconds":{"undraining":0.25}}}}'
)
ENDED_ROLLOUT = (
    r'{"id":"20260131T120000.000Z-1f3a","state":"aborted","back":false,"reason":"",'
    r'"started":"2026-01-31T12:00:00.000Z","by":"alice@build-1",'
    r'"release":{"version":"0.1.3","image":""},"whole":true,"options":{"batch":"1","canary":false,"soak_seconds":2.5,"rollback":false},'
    r'"order":[],"machines":{}}'
)
WEB = (
    r'"definition":{"image":"web","replicas":2,"constraints":["tier=green"],"discovery":{"port":80,"scheme":"http"},'
    r'"check":{"http":{"port":80}},"update":{"canary":"10%","soak_seconds":30.0}},'
    r'"image":{"reference":"10.0.0.5:5000/air/web@sha256:cccc","version":"0.1.3"}'
)
NGINX = (
    r'{"generation":6,"definition":{"image":"nginx:1.27","global":true},'
    r'"image":{"reference":"nginx:1.27","version":"1.27"}}'
)
SERVICE = (
    rf'{{"name":"web","generation":7,"replicas":4,"stopped":true,{WEB},"previous":{NGINX},'
    r'"since":"2026-01-31T12:00:05.120Z","by":"zo\u00eb@build-1"}'
)
GLOBAL_SERVICE = (
    r'{"name":"nginx","generation":6,"replicas":null,"stopped":false,'
    r'"definition":{"image":"nginx:1.27","global":true},"image":{"reference":"nginx:1.27","version":""},'
    r'"previous":null,"since":"2026-01-31T12:00:05.120Z","by":"alice@build-1"}'
)
UPDATE = (
    r'{"id":"20260131T120000.000Z-1f3a","state":"stopped","back":true,"reason":"interrupted by zo\u00eb@build-1",'
    r'"started":"2026-01-31T12:00:00.000Z","by":"zo\u00eb@build-1","name":"web","step":"withdrawing",'
    r'"reached":"closing","trouble":"withdrawing: \u201cweb\u201d is ill",'
    rf'"old":{NGINX},"new":{{"generation":7,{WEB}}},"replicas":4,"before":null,"stopped":true,'
    r'"options":{"order":"stop-first","share":0.1,"soak_seconds":30.0,"rollback":true},'
    r'"since":"2026-01-31T12:00:05.120Z","seconds":{"starting":3.1,"closing":0.0}}'
)
NEW_UPDATE = (
    r'{"id":"20260131T120000.000Z-1f3a","state":"going-back","back":false,"reason":"",'
    r'"started":"2026-01-31T12:00:00.000Z","by":"alice@build-1","name":"web","step":"starting","reached":"starting",'
    rf'"trouble":"","old":{NGINX},"new":{NGINX},"replicas":null,"before":3,"stopped":false,'
    r'"options":{"order":"start-first","share":0.0,"soak_seconds":0.0,"rollback":false},'
    r'"since":"2026-01-31T12:00:05.120Z","seconds":{}}'
)
STORED: list[tuple[Callable[[str], Any], str]] = [
    (parse_rollout, ROLLOUT),
    (parse_rollout, ENDED_ROLLOUT),
    (ScheduledRecord.parse, SERVICE),
    (ScheduledRecord.parse, GLOBAL_SERVICE),
    (Update.parse, UPDATE),
    (Update.parse, NEW_UPDATE),
]


@pytest.mark.parametrize(("parse", "text"), STORED)
class TestEveryRecord:
    def test_is_written_as_it_was_read(self, parse: Callable[[str], Any], text: str) -> None:
        record = parse(text)
        assert record.text() == text
        assert json.dumps(record.to_json(), separators=(",", ":")) == text

    def test_may_have_keys_that_are_not_known(self, parse: Callable[[str], Any], text: str) -> None:
        found = json.loads(text)
        more = json.loads(
            text, object_hook=lambda entry: entry if "global" in entry or "port" in entry else {**entry, "_more": [1]}
        )
        for key in ("definition", "machines", "seconds", "check", "update"):
            _strip(more, key)
        assert more != found
        assert parse(json.dumps(more)) == parse(text)


def _strip(found: Any, key: str) -> None:
    """Take the unknown keys from what is under `key`: a definition may have none, and elsewhere keys are names."""
    if isinstance(found, dict):
        if isinstance(inner := found.get(key), dict):
            inner.pop("_more", None)
        for one in found.values():
            _strip(one, key)


def test_a_rollout_is_read_whole() -> None:
    read = parse_rollout(ROLLOUT)
    assert read == rollouts.Rollout(
        id="20260131T120000.000Z-1f3a",
        release=Release("0.1.3", NEW_IMAGE),
        state=State.ROLLING_BACK,
        options=rollouts.Options("25%", canary=True, soak_seconds=30, rollback=True),
        machines={
            "air-01": Progress(
                rollouts.RolloutStep.FAILED,
                AT,
                Release("0.1.2", OLD_IMAGE),
                touched=True,
                reason="checking: “web” does not pass",
                seconds={"preparing": 3.1, "draining": 5.0, "installing": 0.0},
            ),
            "air-02": Progress(rollouts.RolloutStep.PREPARED, AT, Release("")),
            "air-03": Progress(
                rollouts.RolloutStep.ROLLED_BACK, AT, Release("0.1.2"), touched=True, seconds={"undraining": 0.25}
            ),
        },
        order=(("air-01",), ("air-02", "air-03")),
        started=AT.replace(second=0, microsecond=0),
        by="zoë@build-1",
        back=True,
        whole=False,
        reason="interrupted by zoë@build-1",
    )
    assert rollouts.RolloutStep.INSTALLING in read.machines["air-01"].seconds
    assert (type(read.options.soak_seconds), read.started.tzinfo) == (float, UTC)


def test_a_rollout_may_lack_what_has_a_default_and_be_written_elsewhere() -> None:
    found = json.loads(ROLLOUT)
    for key in ("back", "whole", "reason"):
        del found[key]
    for machine in found["machines"].values():
        del machine["reason"], machine["seconds"]
    found["options"]["soak_seconds"] = 30
    found["started"] = "2026-01-31T13:00:00+01:00"
    read = parse_rollout(json.dumps(found))
    assert (read.back, read.whole, read.reason) == (False, True, "")
    assert (read.machines["air-01"].reason, read.machines["air-01"].seconds) == ("", {})
    assert read.options == parse_rollout(ROLLOUT).options
    assert read.started == parse_rollout(ROLLOUT).started


def test_the_machines_of_a_rollout_are_read_in_the_order_of_its_batches() -> None:
    found = json.loads(ROLLOUT)
    found["order"] = [["air-03", "air-01"], ["air-02"]]
    assert list(parse_rollout(json.dumps(found)).machines) == ["air-03", "air-01", "air-02"]


def test_a_service_is_read_whole() -> None:
    read = ScheduledRecord.parse(SERVICE)
    assert (read.name, read.generation, read.replicas, read.stopped) == ("web", 7, 4, True)
    assert (read.definition.replicas, read.definition.update.canary) == (2, "10%")
    assert (read.image.reference, read.image.version) == ("10.0.0.5:5000/air/web@sha256:cccc", "0.1.3")
    assert isinstance(read.previous, Generation)
    assert (read.previous.number, read.previous.definition.count) == (6, None)
    assert (read.since, read.by) == (AT, "zoë@build-1")
    bare = json.loads(GLOBAL_SERVICE)
    del bare["stopped"], bare["previous"]
    assert ScheduledRecord.parse(json.dumps(bare)) == ScheduledRecord.parse(GLOBAL_SERVICE)


def test_an_update_is_read_whole() -> None:
    read = Update.parse(UPDATE)
    assert (read.old, read.new) == (ScheduledRecord.parse(SERVICE).previous, ScheduledRecord.parse(SERVICE).current)
    assert read.options == updates.Options(stop_first=True, share=0.1, soak_seconds=30, rollback=True)
    assert (read.step, read.reached) == (updates.UpdateStep.WITHDRAWING, updates.UpdateStep.CLOSING)
    assert (read.state, read.back, read.stopped) == (State.STOPPED, True, True)
    assert (read.replicas, read.before) == (4, None)
    assert read.seconds == {updates.UpdateStep.STARTING: 3.1, updates.UpdateStep.CLOSING: 0.0}
    assert (read.since, read.started) == (AT, AT.replace(second=0, microsecond=0))
    assert (read.reason, read.trouble) == ("interrupted by zoë@build-1", "withdrawing: “web” is ill")
    assert Update.parse(NEW_UPDATE).options == updates.Options()


@pytest.mark.parametrize(
    ("parse", "text", "keys"),
    [
        (parse_rollout, ROLLOUT, ("id", "release", "state", "options", "order", "started", "by", "machines")),
        (ScheduledRecord.parse, SERVICE, ("name", "generation", "replicas", "definition", "image", "since", "by")),
        (Update.parse, UPDATE, ("id", "name", "step", "reached", "old", "new", "replicas", "before")),
        (Update.parse, UPDATE, ("options", "since", "started", "by")),
    ],
)
def test_a_key_that_a_record_lacks_is_named(parse: Callable[[str], Any], text: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        found = json.loads(text)
        del found[key]
        with pytest.raises(ValueError, match=rf"^not the record of .*: it lacks '{key}'$"):
            parse(json.dumps(found))


@pytest.mark.parametrize(
    ("parse", "text", "old", "new", "where"),
    [
        (parse_rollout, ROLLOUT, '"draining":5.0', '"draining":"soon"', "machines.air-01.seconds.draining: "),
        (parse_rollout, ROLLOUT, '"step":"prepared"', '"step":"flying"', "machines.air-02.step: "),
        (parse_rollout, ROLLOUT, '"2026-01-31T12:00:00.000Z"', '"yesterday"', "started: "),
        (parse_rollout, ROLLOUT, '"2026-01-31T12:00:00.000Z"', '"2026-01-31T12:00:00"', "no time zone"),
        (parse_rollout, ROLLOUT, '["air-02","air-03"]', '["air-02"]', "its order and its machines differ"),
        (parse_rollout, ROLLOUT, '"state":"rolling-back"', '"state":"lost"', "state: "),
        (ScheduledRecord.parse, SERVICE, '"generation":7', '"generation":"x"', "generation: "),
        (ScheduledRecord.parse, SERVICE, '"replicas":2', '"replica":2', "definition.replica"),
        (ScheduledRecord.parse, SERVICE, '"reference":"10', '"refer":"10', "it lacks 'reference'"),
        (Update.parse, UPDATE, '"reached":"closing"', '"reached":7', "reached: "),
        (Update.parse, UPDATE, '"share":0.1', '"share":"a part"', "options.share: "),
        (Update.parse, UPDATE, '"port":80,"scheme"', '"port":0,"scheme"', "new.definition.discovery.port"),
    ],
)
def test_what_is_wrong_with_a_record_is_told(
    parse: Callable[[str], Any], text: str, old: str, new: str, where: str
) -> None:
    assert old in text
    with pytest.raises(ValueError, match=r"^not the record of ") as caught:
        parse(text.replace(old, new))
    assert where in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_wanted_release_is_json() -> None:
    assert Release("0.1.3", NEW_IMAGE).text() == f'{{"version":"0.1.3","image":"{NEW_IMAGE}"}}'
