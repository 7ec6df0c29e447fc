"""What a checkout takes from the machines' records in etcd, and what it adds to them."""

from __future__ import annotations

import json
from pathlib import Path

from argosy import inventory
from argosy.cluster.machines import Known, changed_records, new_machines, take
from argosy.config.loading import Settings, load
from argosy.etcd.values import Entry
from argosy.model import Machine
from argosy.schema import MachineRecord, parse_machine
from argosy.ssh import known_hosts
from argosy.ssh.known_hosts import HostKey

KEY = HostKey.parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPw9vSQ3LKNUZzP6jMzSg3xH0g6rd9o5WGlyhpWFSTMV")
OTHER = HostKey.parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
AIR_01 = Machine("air-01", "10.0.0.1")


def settings_in(folder: Path) -> Settings:
    return load({"clusters": {"test": {}}}, root=folder)


def record(name: str, number: int, *keys: HostKey, os: str = "") -> MachineRecord:
    return MachineRecord(name, f"10.0.0.{number}", host_keys=tuple(map(str, keys)), os=os)


def entry(**value: object) -> dict[str, Entry]:
    return {"/machines/air-01": Entry("/machines/air-01", json.dumps(value), 1, 2)}


def test_machines_and_keys_that_are_new_are_remembered(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    inventory.save(settings, [AIR_01])
    told = [record("air-01", 1, KEY), record("air-02", 2, OTHER, os="flatcar"), record("air-03", 3)]
    found = take(settings, told)
    assert found == [Machine("air-02", "10.0.0.2", "flatcar"), Machine("air-03", "10.0.0.3")]
    assert inventory.load(settings) == [AIR_01, *found]
    pinned = known_hosts.read(settings.state_path / "known_hosts")
    assert pinned == {"10.0.0.1": (KEY,), "10.0.0.2": (OTHER,)}
    assert take(settings, told) == []


def test_a_record_that_can_be_no_machine_s_is_told_and_not_remembered(tmp_path: Path) -> None:
    settings, said = settings_in(tmp_path), []
    inventory.save(settings, [AIR_01])
    told = [
        MachineRecord("Old.host", "10.0.0.9", host_keys=(str(KEY),)),
        MachineRecord("air-06", "::1"),
        record("air-07", 7, os="plan9"),
        record("air-02", 2),
        record("air-03", 3),
        record("air-04", 3),
    ]
    assert take(settings, told, lambda name, text: said.append(f"{name}: {text}")) == [Machine("air-02", "10.0.0.2")]
    assert inventory.load(settings) == [AIR_01, Machine("air-02", "10.0.0.2")]
    assert not (settings.state_path / "known_hosts").exists()
    unused = "its record in etcd is not used"
    assert [line for line in said if unused in line and "10.0.0.3" in line] == [
        f"air-03: {unused}: 10.0.0.3 is another's, too",
        f"air-04: {unused}: 10.0.0.3 is another's, too",
    ]
    assert {line.partition(":")[0] for line in said if unused in line} == {
        *("Old.host", "air-06", "air-07", "air-03", "air-04")
    }


def test_a_key_that_is_pinned_here_stays(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    pins = settings.state_path / "known_hosts"
    known_hosts.pin(pins, "10.0.0.1", 22, KEY)
    take(settings, [record("air-01", 1, OTHER)])
    assert known_hosts.read(pins) == {"10.0.0.1": (KEY,)}


def test_a_line_that_is_no_key_is_told_and_pins_nothing(tmp_path: Path) -> None:
    settings, told = settings_in(tmp_path), []
    bad = MachineRecord("air-01", "10.0.0.1", host_keys=("ssh-ed25519 nothing",))
    take(settings, [bad], lambda name, text: told.append((name, text)))
    assert not (settings.state_path / "known_hosts").exists()
    assert told[0] == ("air-01", "its host keys in etcd are not used: not a public key: its second word is not base64")


def test_a_name_or_an_address_that_is_taken_is_no_new_machine() -> None:
    assert new_machines([record("air-01", 9), record("air-09", 1)], [AIR_01], "debian") == []


def test_a_record_without_an_address_is_no_machine() -> None:
    assert new_machines([MachineRecord("air-09")], [AIR_01], "debian") == []


class TestNoting:
    def test_what_the_machine_has_written_stays(self) -> None:
        ((_, text),) = changed_records([Known(AIR_01, [KEY])], entry(address="10.0.0.1", state="draining", own=1))
        assert json.loads(text) == {
            "address": "10.0.0.1",
            "state": "draining",
            "own": 1,
            "os": "debian",
            "host_keys": [str(KEY)],
        }
        told = parse_machine(Entry("/machines/air-01", text, 1, 2))
        assert isinstance(told, MachineRecord)
        assert (told.host_keys, told.os) == ((str(KEY),), "debian")
        assert list(changed_records([Known(AIR_01, [KEY])], {"/machines/air-01": Entry("", text, 1, 2)})) == []

    def test_a_key_that_was_made_anew_takes_the_place_of_the_old_one(self) -> None:
        before = entry(address="10.0.0.1", os="flatcar", host_keys=[str(OTHER)])
        ((_, text),) = changed_records([Known(AIR_01, [KEY])], before)
        assert json.loads(text) == {"address": "10.0.0.1", "os": "flatcar", "host_keys": [str(KEY)]}

    def test_a_machine_without_a_record_or_without_a_key_gets_none(self) -> None:
        assert list(changed_records([Known(AIR_01, [KEY])], {})) == []
        assert list(changed_records([Known(AIR_01, [])], entry(address="10.0.0.1"))) == []

    def test_a_record_of_another_machine_of_that_name_stays(self) -> None:
        assert list(changed_records([Known(AIR_01, [KEY])], entry(address="10.0.0.9"))) == []
