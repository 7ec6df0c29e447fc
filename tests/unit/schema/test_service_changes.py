"""What `discovery.watch` shows of two moments."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.discovery.differences import service_changes
from argosy.etcd.values import Entry
from argosy.schema import Directory, parse_directory

WEB = {
    "/services/web/scheme": "http",
    "/services/web/hosts/a": "10.0.0.1:80",
    "/services/web/hosts/b": "10.0.0.2:80",
}


def directory(keys: Mapping[str, str]) -> Directory:
    return parse_directory([Entry(key, value, 1, 1) for key, value in keys.items()])


def lines(before: Mapping[str, str], after: Mapping[str, str], *names: str) -> list[str]:
    return [str(change) for change in service_changes(directory(before), directory(after), names)]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"hosts/c": "10.0.0.3:80"}, ["web instance-added c 10.0.0.3:80"]),
        ({"hosts/a": None}, ["web instance-removed a 10.0.0.1:80 -> none"]),
        ({"hosts/a": "10.0.0.9:80"}, ["web endpoint a 10.0.0.1:80 -> 10.0.0.9:80"]),
        ({"weight/a": "5"}, ["web weight a 100 -> 5"]),
        ({"drain/a": ""}, ["web draining a begins"]),
        ({"scheme": "https"}, ["web scheme http -> https"]),
        ({"host_port": "9000"}, ["web host_port 9000"]),
        ({"check": "http /up 200"}, ["web check tcp -> http /up 200"]),
        ({"host_port": "x"}, ["web problem /services/web/host_port: 'x' is no port from 1 to 65535"]),
        ({}, []),
    ],
)
def test_each_change_is_a_line(change: Mapping[str, str | None], shown: list[str]) -> None:
    after: dict[str, str | None] = {**WEB, **{f"/services/web/{name}": value for name, value in change.items()}}
    known = {key: value for key, value in after.items() if value is not None}
    assert lines(WEB, known) == shown
    back = lines(known, WEB)
    assert len(back) == len(shown)
    assert back != shown or not shown


def test_a_service_comes_and_goes_whole() -> None:
    assert lines({}, WEB) == [
        "web service-added",
        "web scheme http",
        "web instance-added a 10.0.0.1:80",
        "web instance-added b 10.0.0.2:80",
    ]
    assert lines(WEB, {})[-1] == "web service-removed"


def test_a_new_instance_that_drains_is_told_so() -> None:
    after = WEB | {"/services/web/hosts/c": "10.0.0.3:80", "/services/web/drain/c": "", "/services/web/weight/c": "1"}
    assert lines(WEB, after) == [
        "web instance-added c 10.0.0.3:80",
        "web weight c 100 -> 1",
        "web draining c begins",
    ]


def test_only_the_chosen_services_are_shown() -> None:
    after = WEB | {"/services/db/scheme": "tcp", "/services/web/hosts/a": "?"}
    assert lines(WEB, after, "db")[:2] == ["db service-added", "db scheme tcp"]
    assert all(line.startswith("db ") for line in lines(WEB, after, "db"))


def test_the_json_is_the_documented_one() -> None:
    (change,) = service_changes(directory(WEB), directory(WEB | {"/services/web/weight/a": "5"}))
    assert change.to_json(7) == {
        "revision": 7,
        "service": "web",
        "what": "weight",
        "instance": "a",
        "old": "100",
        "new": "5",
    }


NAMES = st.sampled_from(["web", "db", "Bad", "w\udc80"])
ATTRIBUTES = st.sampled_from(
    ["scheme", "host_port", "private", "sni", "check", "hosts/a", "hosts/\udcff\n", "weight/a"]
)
VALUES = st.one_of(st.sampled_from(["http", "tcp", "80", "10.0.0.1:80", "http /x"]), st.text(max_size=5))
KEYSETS = st.dictionaries(st.builds("/services/{}/{}".format, NAMES, ATTRIBUTES), VALUES, max_size=8)


@given(KEYSETS, KEYSETS)
def test_whatever_the_keys_hold_each_line_can_be_printed(before: dict[str, str], after: dict[str, str]) -> None:
    changes = service_changes(directory(before), directory(after))
    for change in changes:
        assert str(change).isascii()
        assert str(change).isprintable()
        assert json.loads(json.dumps(change.to_json(1)))["revision"] == 1
    if before == after:
        assert changes == []
