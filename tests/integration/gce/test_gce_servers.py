"""The gce operations against a pretended project, through Google's own client library."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gce_runs import Place, place, quiet, settings_in

from argosy import inventory
from argosy.config.loading import Settings
from argosy.errors import DeadlineExceeded, HostsFailed, Refused
from argosy.gce import balancing, creating, destroying
from argosy.gce import record as gce_record
from argosy.gce.membership import PretendedMembership
from argosy.model import Machine
from argosy.report import Report
from argosy.ssh import known_hosts
from compute_api import Fault

pytestmark = pytest.mark.integration

CORE = ["core1", "core2", "core3"]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found
        found.fake.faults.release()


class Leaving(PretendedMembership):
    """Remembers who joined and left; `refuses`: whoever can't."""

    def __init__(self, refuses: str = "") -> None:
        self.told: list[str] = []
        self.refuses = refuses

    def join(self, settings: Settings, machine: Machine, format: str, report: Report) -> Path:
        self.told.append(f"join {machine.name}")
        return super().join(settings, machine, format, report)

    def leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        if machine.name == self.refuses:
            raise Refused(f"{machine.name} can't leave")
        self.told.append(f"leave {machine.name}")
        super().leave(settings, machine, report)


def test_three_core_machines_are_made_exactly_and_a_second_run_changes_nothing(project: Place) -> None:
    settings, fake = project.settings, project.fake
    planned = [action.step().action for action in creating.plan(settings, "core", CORE)]
    assert len([line for line in planned if line.startswith("create")]) == 6
    assert fake.changes() == []
    made = creating.create(settings, "core", CORE, quiet)
    assert [server.state for server in made] == ["running"] * 3
    (first, *_) = sorted(fake.bodies("instances.insert"), key=lambda body: str(body["name"]))
    items = {item["key"]: item["value"] for item in first["metadata"]["items"]}
    addresses = {server.name: server.address for server in made}
    assert first["networkInterfaces"][0]["networkIP"] == addresses["core1"]
    assert f"ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{addresses['core1']}:2380" in items["user-data"]
    assert all(f"{name}=https://{address}:2380" in items["user-data"] for name, address in addresses.items())
    assert "PRIVATE KEY" not in json.dumps(first)
    assert {machine.name: machine.os for machine in inventory.load(settings)} == dict.fromkeys(CORE, "flatcar")
    fake.forget()
    said: list[str] = []
    creating.create(settings, "core", CORE, lambda _subject, message: said.append(message))
    assert fake.changes() == []
    assert said == ["nothing to do"]
    assert creating.plan(settings, "core", CORE) == []


def test_everything_that_is_made_carries_our_labels_or_mark(project: Place) -> None:
    project.do("create core", "create db", "balancer")
    for (scope, collection), held in project.fake.state.resources.items():
        for name, document in held.items() if collection != "operations" else ():
            labelled = document.get("labels", {}).get("argosy-system") == "air"
            marked = document.get("description") == "Made by Argosy for air/cloud"
            assert labelled or marked, f"{scope}/{collection}/{name}"


def test_host_keys_are_pinned_as_the_api_tells_them(project: Place) -> None:
    settings = project.settings
    (made,) = creating.create(settings, "db", ["users"], quiet)
    told = project.fake.state.keys["users"]["ssh-ed25519"]
    pinned = known_hosts.read(settings.state_path / "known_hosts")
    assert {key.blob for address in (made.address, made.external) for key in pinned[address]} == {told}


def test_a_server_without_guest_attributes_tells_its_keys_on_the_console(project: Place) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUZfm8K0Qy6AzoNYgtnI0Nt9ksC0wC3pQ5lfQXQyxfV"
    project.fake.state.keys["users"] = {}
    project.fake.state.consoles["users"] = (
        f"-----BEGIN SSH HOST KEY KEYS-----\n{key} root@users\n-----END SSH HOST KEY KEYS-----\n"
    )
    (made,) = creating.create(project.settings, "db", ["users"], quiet)
    pinned = known_hosts.read(project.settings.state_path / "known_hosts")
    assert [str(found) for found in pinned[made.address]] == [key]


def test_a_server_that_tells_no_keys_is_not_trusted(project: Place) -> None:
    project.fake.state.keys["users"], project.fake.state.consoles["users"] = {}, "booting"
    settings = settings_in(project.root, boot_deadline_seconds=0.1)
    with pytest.raises(DeadlineExceeded, match="has not told its ssh host keys"):
        creating.create(settings, "db", ["users"], quiet)
    assert known_hosts.read(settings.state_path / "known_hosts") == {}


def test_the_keys_of_a_server_that_was_made_anew_replace_the_old_ones(project: Place) -> None:
    settings = project.settings
    creating.create(settings, "db", ["users"], quiet)
    first = project.fake.state.keys["users"]["ssh-ed25519"]
    destroying.destroy(settings, ["users"], quiet)
    assert known_hosts.read(settings.state_path / "known_hosts") == {}
    (made,) = creating.create(settings, "db", ["users"], quiet)
    (key,) = known_hosts.read(settings.state_path / "known_hosts")[made.address]
    assert key.blob != first


def test_later_machines_join_and_those_that_go_leave_first(project: Place) -> None:
    settings, told = project.settings, Leaving()
    creating.create(settings, "core", CORE, quiet, told)
    assert told.told == []
    balancing.ensure(settings, quiet)
    creating.create(settings, "core", ["core4"], quiet, told)
    destroying.destroy(settings, ["core2"], quiet, membership=told)
    assert told.told == ["join core4", "leave core2"]
    methods = [method for method in project.fake.changes() if method != "addresses.setLabels"]
    assert methods[-3:] == ["instanceGroups.removeInstances", "instances.delete", "addresses.delete"]
    members = [url.rpartition("/")[2] for url in project.fake.state.members["air-cloud"]]
    assert members == ["core1", "core3", "core4"]
    destroying.destroy(settings, ["core1", "core3", "core4"], quiet, membership=told)
    assert told.told == ["join core4", "leave core2"], "when all go, nobody is left to be told"
    assert inventory.load(settings) == []
    assert gce_record.load(settings).servers == {}


def test_a_machine_that_may_not_leave_stays(project: Place) -> None:
    creating.create(project.settings, "core", CORE, quiet)
    with pytest.raises(Refused, match="core2 can't leave"):
        destroying.destroy(project.settings, ["core2"], quiet, membership=Leaving(refuses="core2"))
    assert "core2" in project.fake.state.all("instances")


def test_a_machine_that_this_host_does_not_know_is_not_destroyed(project: Place) -> None:
    creating.create(project.settings, "core", CORE, quiet)
    shutil.rmtree(project.state_folder)
    with pytest.raises(Refused, match="does not know"):
        destroying.destroy(project.settings, ["core2"], quiet)
    assert destroying.destroy(project.settings, ["core2"], quiet, left=True)


def test_data_outlives_the_server_and_is_found_again(project: Place) -> None:
    settings, fake = project.settings, project.fake
    creating.create(settings, "db", ["users"], quiet)
    identity = fake.state.all("disks")["users-data"]["id"]
    destroying.destroy(settings, ["users"], quiet)
    assert set(fake.state.all("disks")) == {"users-data"}
    creating.create(settings, "db", ["users"], quiet)
    assert fake.state.all("disks")["users-data"]["id"] == identity
    destroying.destroy(settings, ["users"], quiet, with_disks=True)
    assert fake.state.all("disks") == {}


def test_the_database_s_secrets_are_made_here_and_sent_nowhere_by_the_api(project: Place) -> None:
    creating.create(project.settings, "db", ["users"], quiet)
    folder = project.settings.secrets_path / "gce" / "users"
    asked = json.dumps([request.body for request in project.fake.requests])
    for name in ("user", "password", "database"):
        secret = (folder / name).read_text()
        assert secret
        assert secret not in asked
        assert (folder / name).stat().st_mode & 0o077 == 0


def test_names_that_others_have_are_refused_before_anything_is_made(project: Place) -> None:
    folder = project.fake.state.folder("zones/europe-west1-b", "disks")
    folder["users-data"] = {"name": "users-data", "sizeGb": "1", "labels": {"team": "b"}, "labelFingerprint": "AA=="}
    with pytest.raises(Refused, match="does not carry our labels"):
        creating.create(project.settings, "db", ["accounts", "users"], quiet)
    with pytest.raises(Refused, match="does not carry our labels"):
        destroying.destroy(project.settings, ["users"], quiet, with_disks=True)
    assert project.fake.changes() == []


def test_when_one_of_several_fails_the_others_are_made_and_the_next_run_completes(project: Place) -> None:
    project.fake.faults.add(Fault("instances.insert", "end", reason="QUOTA_EXCEEDED"))
    with pytest.raises(HostsFailed, match=r"failed on 1 of 3 machines.*iam-admin/quotas"):
        creating.create(project.settings, "core", CORE, quiet)
    assert len(project.fake.state.all("instances")) == 2
    made = creating.create(project.settings, "core", CORE, quiet)
    assert [server.name for server in made] == CORE


def test_an_operation_that_timed_out_is_picked_up_again(project: Place) -> None:
    project.fake.faults.add(Fault("instances.insert", "stall"))
    with pytest.raises(DeadlineExceeded):
        creating.create(settings_in(project.root, deadline_seconds=0.2), "db", ["users"], quiet)
    threading.Timer(0.5, project.fake.faults.release).start()
    (made,) = creating.create(project.settings, "db", ["users"], quiet)
    assert made.running
    assert project.fake.changes().count("instances.insert") == 1


def test_changes_of_the_type_reach_the_server(project: Place) -> None:
    creating.create(project.settings, "db", ["users"], quiet)
    bigger = settings_in(
        project.root, types={"db": {"data_disk": {"gigabytes": 50}, "tags": ["db"]}}, labels={"a": "b"}
    )
    assert {action.method for action in creating.plan(bigger, "db", ["users"])} == {"setLabels", "setTags", "resize"}
    creating.create(bigger, "db", ["users"], quiet)
    assert project.fake.state.all("disks")["users-data"]["sizeGb"] == "50"
    assert project.fake.state.all("instances")["users"]["labels"]["a"] == "b"
    assert creating.plan(bigger, "db", ["users"]) == []
