"""What a project must hold, decided without asking anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from machine_examples import config

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.gce import record
from argosy.gce.creating import wanted as wanted_servers
from argosy.gce.plan import balancer_plan, host_keys, server_config
from argosy.gce.plan.actions import Action, Project, Verb, agrees
from argosy.gce.plan.names import is_ours, labels, mark
from argosy.gce.plan.server_bodies import Server, instance_body
from argosy.gce.plan.server_plan import plan_address, plan_removal, plan_server
from argosy.gce.planning import plan_project
from argosy.model import Machine
from argosy.providers import provider_of

BASE = "https://www.googleapis.com/compute/v1/projects/p"
KEY = "ssh-ed25519 AAAA operator"
MINE = {"items": [{"key": "mine", "value": "1"}], "fingerprint": "AA"}
NO_FAMILY = {"os": "cos", "machine_type": "e2-small", "image": {"project": "p"}, "boot_disk": {"gigabytes": 9}}


def make(**gce: Any) -> Settings:
    document = {"clusters": {"cloud": {"provider": "gce"}}, "gce": {"project": "p", "zone": "europe-west1-b", **gce}}
    return load(document, root=Path("/nowhere"))


def server(settings: Settings, type_name: str, name: str = "users", **changes: Any) -> Server:
    return Server(name, type_name, settings.gce.types[type_name], address="10.132.0.2", **changes)


def as_the_api_shows(settings: Settings, wanted: Server) -> dict[str, Any]:
    """Return the instance as it is after it was made as planned."""
    body = instance_body(settings, wanted)
    interface = {**body["networkInterfaces"][0]}
    interface["accessConfigs"] = [{**it, "natIP": "203.0.113.9"} for it in interface.get("accessConfigs", [])]
    machine_type = f"{BASE}/{body['machineType']}"
    return {**body, "id": "7", "status": "RUNNING", "machineType": machine_type, "networkInterfaces": [interface]}


def words(actions: list[Action]) -> list[str]:
    return [f"{action.verb} {action.kind} {action.name} {action.method}".strip() for action in actions]


def test_an_address_is_made_then_labelled_then_kept() -> None:
    settings = make(labels={"team": "harbour"})
    wanted = server(settings, "core", "core1")
    (first,) = plan_address(settings, wanted, Project({}))
    assert words([first]) == ["create addresses core1-address insert"]
    assert first.body["subnetwork"] == "regions/europe-west1/subnetworks/default"
    found = {**first.body, "labelFingerprint": "AAAA"}
    (second,) = plan_address(settings, wanted, Project({"addresses": {"core1-address": found}}))
    assert second.body == {"labels": labels(settings, "core"), "labelFingerprint": "AAAA"}
    found |= {"labels": {**labels(settings, "core"), "somebody": "else"}}
    assert plan_address(settings, wanted, Project({"addresses": {"core1-address": found}})) == []


def test_a_server_that_is_as_its_type_says_is_left_alone() -> None:
    settings = make()
    wanted = server(settings, "db", user_data="#cloud-config\n")
    disk = {"name": "users-data", "labels": labels(settings, "db"), "sizeGb": "20"}
    there = as_the_api_shows(settings, wanted)
    assert words(plan_server(settings, wanted, Project({}))) == [
        "create disks users-data insert",
        "create instances users insert",
    ]
    assert plan_server(settings, wanted, Project({"instances": {"users": there}, "disks": {"users-data": disk}})) == []


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"labels": {"argosy-system": "air", "argosy-cluster": "cloud", "argosy-type": "db", "x": "y"}}, []),
        ({"status": "TERMINATED"}, ["change instances users start"]),
        ({"tags": {"items": ["other"], "fingerprint": "AA"}}, []),
        ({"metadata": MINE}, ["change instances users setMetadata"]),
        ({"machineType": f"{BASE}/zones/z/machineTypes/e2-micro"}, ["differs instances users"]),
        ({"disks": [{}]}, ["differs instances users"]),
    ],
)  # fmt: skip
def test_what_differs_on_a_server_is_changed_or_named(change: dict[str, Any], action: list[str]) -> None:
    settings = make()
    wanted = server(settings, "db", user_data="#cloud-config\n")
    disk = {"name": "users-data", "labels": labels(settings, "db"), "sizeGb": "20"}
    there = as_the_api_shows(settings, wanted) | change
    found = plan_server(settings, wanted, Project({"instances": {"users": there}, "disks": {"users-data": disk}}))
    assert words(found) == action


def test_changed_metadata_keeps_what_others_have_put_there() -> None:
    settings = make()
    there = as_the_api_shows(settings, server(settings, "container"))
    there["metadata"] = {"items": [{"key": "mine", "value": "1"}], "fingerprint": "AA"}
    wanted = server(settings, "container", user_data="new")
    (action,) = plan_server(settings, wanted, Project({"instances": {"users": there}}))
    items = {item["key"]: item["value"] for item in action.body["items"]}
    assert items["mine"] == "1"
    assert items["user-data"] == "new"
    assert action.body["fingerprint"] == "AA"


def test_a_machine_of_the_cluster_keeps_the_user_data_that_it_was_made_with() -> None:
    settings = make()
    there = as_the_api_shows(settings, server(settings, "core", "core1", user_data="of the first release"))
    wanted = server(settings, "core", "core1", user_data="of the next")
    assert plan_server(settings, wanted, Project({"instances": {"core1": there}})) == []


def test_disks_grow_and_never_shrink() -> None:
    settings = make(types={"db": {"data_disk": {"gigabytes": 40}}})
    wanted = server(settings, "db")
    there = as_the_api_shows(settings, wanted)
    for size, action in (("20", "change disks users-data resize"), ("80", "differs disks users-data")):
        disk = {"name": "users-data", "labels": labels(settings, "db"), "sizeGb": size}
        project = Project({"instances": {"users": there}, "disks": {"users-data": disk}})
        assert words(plan_server(settings, wanted, project)) == [action]


@pytest.mark.parametrize("kind", ["instances", "addresses", "disks"])
def test_what_others_have_made_is_never_touched(kind: str) -> None:
    settings = make()
    names = {"instances": "users", "addresses": "users-address", "disks": "users-data"}
    project = Project({kind: {names[kind]: {"name": names[kind], "labels": {"argosy-system": "another"}}}})
    wanted = server(settings, "db")
    with pytest.raises(Refused, match="does not carry our labels"):
        plan_address(settings, wanted, project) + plan_server(settings, wanted, project)
    with pytest.raises(Refused, match="does not carry our labels"):
        plan_removal(settings, "users", project, with_disks=True)


def test_ours_is_what_has_both_labels_or_the_mark() -> None:
    settings = make()
    assert is_ours(settings, {"labels": {"argosy-system": "air", "argosy-cluster": "cloud"}})
    assert is_ours(settings, {"description": mark(settings)})
    assert not is_ours(settings, {"labels": {"argosy-system": "air", "argosy-cluster": "another"}})
    assert not is_ours(settings, {"description": "Made by Argosy for air/another"})
    assert not is_ours(settings, {})


def test_data_stays_unless_its_end_is_asked_for() -> None:
    settings = make()
    disk = {"name": "users-data", "labels": labels(settings, "db"), "sizeGb": "20"}
    project = Project({"disks": {"users-data": disk}})
    assert [action.verb for action in plan_removal(settings, "users", project, with_disks=False)] == [Verb.KEEP]
    assert [action.verb for action in plan_removal(settings, "users", project, with_disks=True)] == [Verb.DESTROY]


def test_the_balancer_is_made_in_an_order_that_its_references_allow() -> None:
    settings = make()
    instance = as_the_api_shows(settings, server(settings, "core", "core1"))
    actions = balancer_plan.plan_balancer(settings, Project({"instances": {"core1": instance}}))
    kinds = [action.kind for action in actions if action.verb is Verb.CREATE]
    assert kinds == list(balancer_plan.KINDS)
    check = next(action for action in actions if action.kind == "healthChecks")
    assert check.body["httpHealthCheck"] == {"port": 80, "requestPath": "/_argosy/health"}
    assert [action.why for action in actions if action.method == "addInstances"] == ["add core1"]


def test_with_tls_the_balancer_has_a_second_frontend() -> None:
    settings = load({"clusters": {"cloud": {}}, "discovery": {"ssl_support": True}, "gce": {"zone": "a-b-c"}})
    assert balancer_plan.frontends(settings) == {"http": (80, 81), "https": (443, 444)}
    names = [body["name"] for kind, body in balancer_plan.wanted(settings) if kind == "globalForwardingRules"]
    assert names == ["air-cloud-http", "air-cloud-https"]


def test_backends_follow_the_machines_and_those_that_leave_go_first() -> None:
    settings = make()
    there = {name: as_the_api_shows(settings, server(settings, "core", name)) for name in ("core1", "core2")}
    there["users"] = as_the_api_shows(settings, server(settings, "db"))
    project = Project({"instances": there}, {"air-cloud": ["core2", "core3"]})
    found = balancer_plan.plan_members(settings, project)
    assert [action.why for action in found] == ["add core1", "remove core3"]
    assert [member.why for member in balancer_plan.plan_members(settings, project, ["core2"])] == [
        "add core1",
        "remove core2, core3",
    ]


def test_a_changed_setting_of_the_balancer_is_a_patch_with_the_fingerprint() -> None:
    settings, later = make(), make(balancer={"drain_seconds": 60})
    held: dict[str, dict[str, Any]] = {}
    for kind, body in balancer_plan.wanted(settings):
        held.setdefault(kind, {})[body["name"]] = {**body, "labels": labels(settings), "fingerprint": "FF"}
    assert balancer_plan.plan_balancer(settings, Project(held)) == []
    (action,) = balancer_plan.plan_balancer(later, Project(held))
    assert (action.kind, action.method) == ("backendServices", "patch")
    assert action.body == {"connectionDraining": {"drainingTimeoutSec": 60}, "fingerprint": "FF"}


def test_the_plan_of_the_project_creates_destroys_keeps_and_finds_leftovers() -> None:
    settings = make(servers={"users": "db", "core1": "core"})
    core = {name: as_the_api_shows(settings, server(settings, "core", name)) for name in ("core1", "core9")}
    address = {"name": "core1-address", "labels": labels(settings, "core"), "address": "10.132.0.2"}
    lost = {"name": "gone-address", "description": mark(settings)}
    old = {"name": "old-data", "labels": labels(settings, "db"), "sizeGb": "20"}
    resources: dict[str, dict[str, Any]] = {
        "instances": core,
        "addresses": {"core1-address": address, "gone-address": lost},
        "disks": {"old-data": old},
    }
    found = words(plan_project(settings, Project(resources)))
    assert "keep instances core1" in found
    assert "create instances users insert" in found
    assert "destroy instances core9 delete" in found
    assert "destroy addresses gone-address delete" in found
    assert "keep disks old-data" in found
    assert plan_project(make(), Project({})) == []


def test_agreement_is_judged_as_the_api_writes_things() -> None:
    assert agrees({"a": "zones/z/x/y", "n": 5}, {"a": f"{BASE}/zones/z/x/y", "n": "5", "more": 1})
    assert agrees(False, None)
    assert not agrees(["80"], ["80", "81"])
    assert not agrees({"a": 1}, None)


def test_host_keys_come_from_attributes_or_the_last_block_of_the_console() -> None:
    items = [
        {"namespace": "hostkeys", "key": "ssh-ed25519", "value": "AAAA\n"},
        {"namespace": "hostkeys", "key": "ssh-dss", "value": "no"},
        {"namespace": "other", "key": "ssh-rsa", "value": "no"},
    ]
    assert host_keys.from_attributes(items) == ["ssh-ed25519 AAAA"]
    block = f"{host_keys.BEGIN}\nssh-ed25519 {{}} root@x\n[  3.1] usb 1-1\n{host_keys.END}\n"
    console = "boot\n" + block.format("OLD") + "again\n" + block.format("NEW") + "login: "
    assert host_keys.from_console(console) == ["ssh-ed25519 NEW"]
    assert host_keys.from_console(f"{host_keys.BEGIN}\nssh-ed25519 HALF") == []
    assert host_keys.from_console("") == []


@pytest.mark.parametrize("type_name", ["db", "jenkins", "registry", "container"])
def test_a_server_s_cloud_config_is_yaml_and_waits_for_its_secrets(type_name: str) -> None:
    settings = make()
    wanted = server(settings, type_name)
    text = server_config.user_data(settings, wanted, [KEY])
    document = yaml.safe_load(text)
    assert text.startswith("#cloud-config\n")
    files = {file["path"]: file["content"] for file in document["write_files"]}
    unit = files.get(f"/etc/systemd/system/air-{type_name}.service", "")
    waits = bool(server_config.secret_names(wanted))
    assert (f"/etc/systemd/system/air-{type_name}.path" in files) == waits
    assert ("ConditionPathExists=/var/lib/air/secrets/.complete" in unit) == waits
    assert document["users"][0]["ssh_authorized_keys"] == [KEY]


def test_the_database_gets_its_secrets_as_files_and_its_data_on_its_disk() -> None:
    settings = make()
    text = server_config.user_data(settings, server(settings, "db"), [KEY])
    assert "POSTGRES_PASSWORD_FILE=/run/secrets/password" in text
    assert "/mnt/disks/air-data/content:/var/lib/postgresql/data" in text
    assert "POSTGRES_PASSWORD=" not in text
    registry = server_config.user_data(settings, server(settings, "registry"), [KEY])
    assert "REGISTRY_STORAGE_GCS_BUCKET=p-air-registry" in registry


@pytest.mark.parametrize(
    ("gce", "message"),
    [
        ({"zonne": "x"}, "gce.zonne"),
        ({"types": {"core": {"machine": "x"}}}, "gce.types.core.machine"),
        ({"emulator": "http://compute.example:80"}, "not an emulator on this host"),
        ({"emulator": "https://127.0.0.1:80"}, "not an emulator on this host"),
        ({"labels": {"argosy-x": "y"}}, "our own"),
        ({"labels": {"Team": "y"}}, "lower-case"),
        ({"servers": {"users": "dbs"}}, "did you mean 'db'"),
        ({"region": "us-east1"}, "is not in region"),
        ({"types": {"x": NO_FAMILY}}, "family"),
        ({"types": {"core": {"os": "cos"}}}, "OS for machines"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_with_their_path(gce: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**gce)


def test_a_type_of_one_s_own_needs_no_code() -> None:
    image = {"project": "debian-cloud", "family": "debian-12"}
    settings = make(
        types={"bastion": {"os": "debian", "machine_type": "e2-micro", "image": image, "boot_disk": {"gigabytes": 10}}}
    )
    body = instance_body(settings, server(settings, "bastion"))
    assert body["disks"][0]["initializeParams"]["sourceImage"] == "projects/debian-cloud/global/images/family/debian-12"
    with pytest.raises(ConfigError, match="did you mean 'bastion'"):
        settings.gce.type_named("bastoin")


def test_only_machines_in_the_cloud_tell_their_host_keys_to_the_api() -> None:
    for provider, told in (("gce", True), ("static", False)):
        made = config("flatcar", clusters={"cloud": {"provider": provider}})
        assert ("air-host-keys.service" in {unit.name for unit in made.units}) == told
        assert ("/opt/air/bin/publish-host-keys" in {file.path for file in made.files}) == told


def test_a_machine_that_has_left_its_cluster_may_be_destroyed(tmp_path: Path) -> None:
    settings = load({"clusters": {"cloud": {"provider": "gce"}}}, root=tmp_path)
    for _ in range(2):
        provider_of(settings).reclaim(settings, Machine("core1", "10.0.0.1"))
    assert record.load(settings).leaving == ["core1"]


@pytest.mark.parametrize("name", ["Users", "users-data", "9lives", "a" * 60, ""])
def test_names_that_could_not_be_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        wanted_servers(make(), "db", [name])
