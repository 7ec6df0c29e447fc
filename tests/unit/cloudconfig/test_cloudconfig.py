"""A machine in three dialects: golden files, what each dialect must say, and input that tries to break out.

Write the golden files anew by: ARGOSY_UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/cloudconfig/test_cloudconfig.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from coreos_schema import check
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_examples import KEY, config
from raised import raises

from argosy.cloudconfig import config as cloudconfig
from argosy.cloudconfig.config import dialect_for, suffix
from argosy.cloudconfig.dialects import DIALECTS
from argosy.cloudconfig.dialects.machine import MachineConfig, User
from argosy.errors import ConfigError
from argosy.model import File, Unit
from argosy.rendering.quoting import json_text, yaml_text

GOLDEN = Path(__file__).parents[1] / "golden" / "cloudconfig"
CASES = {"debian": "cloud-init", "ubuntu": "cloud-init", "flatcar": "coreos", "fedora-coreos": "ignition"}
RESOLVER = ["air-resolver.service", "air-resolver.path"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def render(machine: MachineConfig, dialect: str = "") -> str:
    """Return the machine's file, which for coreos-cloudinit holds nothing that it does not document."""
    text = cloudconfig.render(machine, dialect)
    if dialect_for(machine.os, dialect) == "coreos":
        check(text)
    return text


def read_back(text: str, dialect: str) -> dict[str, str]:
    """Return path -> content of all files and units, as the dialect's own reader sees them."""
    if dialect == "ignition":
        document = json.loads(text)
        files = {
            file["path"]: unquote(file["contents"]["source"].removeprefix("data:,"))
            for file in document["storage"]["files"]
        }
        return files | {
            f"/etc/systemd/system/{unit['name']}": unit["contents"] for unit in document["systemd"]["units"]
        }
    document = yaml.safe_load(text)
    files = {file["path"]: file["content"] for file in document["write_files"]}
    units = document.get("coreos", {}).get("units", [])
    return files | {f"/etc/systemd/system/{unit['name']}": unit["content"] for unit in units}


@pytest.mark.parametrize(("os_name", "dialect"), CASES.items())
def test_a_machine_is_written_as_the_golden_file_says(os_name: str, dialect: str) -> None:
    text = render(config(os_name))
    path = GOLDEN / f"{os_name}{suffix(dialect)}"
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(("os_name", "dialect"), CASES.items())
def test_the_os_chooses_the_dialect_and_every_file_arrives_as_it_is(os_name: str, dialect: str) -> None:
    machine = config(os_name)
    assert dialect_for(os_name) == dialect
    wanted = {file.path: file.content for file in machine.files} | {unit.path: unit.content for unit in machine.units}
    assert wanted.items() <= read_back(render(machine), dialect).items()


def test_a_format_may_be_asked_for() -> None:
    assert json.loads(render(config("flatcar"), "ignition"))["ignition"] == {"version": "3.3.0"}
    with raises(ConfigError, "'toml'", "cloud-init, coreos, ignition", path="format"):
        dialect_for("debian", "toml")


def test_coreos_cannot_write_where_debian_has_its_programs() -> None:
    with pytest.raises(ConfigError, match="under /usr, which is read-only"):
        render(config("debian"), "coreos")


def test_somebody_must_be_able_to_log_in() -> None:
    machine = replace(config(), users=(User("core", ()),))
    with raises(ConfigError, path="machine.authorized_keys"):
        render(machine)


def test_cloud_init_enables_what_boots_by_itself_and_waits_for_nothing() -> None:
    document = yaml.safe_load(render(config()))
    assert document["runcmd"] == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "air-secrets.path", "air-etcd.service", "air-swap.service", *RESOLVER],
        ["systemctl", "start", "--no-block", "air-secrets.path", "air-swap.service", *RESOLVER],
    ]
    assert document["users"] == [
        {
            "name": "core",
            "shell": "/bin/bash",
            "lock_passwd": True,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "ssh_authorized_keys": [KEY],
        }
    ]
    assert document["manage_etc_hosts"] == "localhost"


def test_the_engine_writes_the_hosts_file_of_a_container() -> None:
    document = yaml.safe_load(render(config(machine={"container": True, "swap_megabytes": 512})))
    assert "manage_etc_hosts" not in document
    assert not any("swap" in file["path"] for file in document["write_files"])


def test_root_may_be_the_user_that_logs_in() -> None:
    document = yaml.safe_load(render(config(ssh={"user": "root"})))
    assert document["users"] == [{"name": "root", "ssh_authorized_keys": [KEY]}]
    assert document["disable_root"] is False


def test_the_user_is_the_one_that_the_machine_is_reached_as() -> None:
    own = {"air-01": {"address": "192.168.55.101", "ssh": {"user": "ops"}}}
    assert [user.name for number in (1, 2) for user in config(number=number, machines=own).users] == ["ops", "core"]


@pytest.mark.parametrize("dialect", ["coreos", "ignition"])
def test_a_user_that_the_os_does_not_bring_may_become_root(dialect: str) -> None:
    own = read_back(render(config("flatcar", ssh={"user": "captain"}), dialect), dialect)
    assert own["/etc/sudoers.d/90-captain"] == "captain ALL=(ALL) NOPASSWD: ALL\n"
    assert not any("sudoers" in path for path in read_back(render(config("flatcar"), dialect), dialect))


def test_coreos_gives_the_keys_to_its_own_user_or_makes_another() -> None:
    own = yaml.safe_load(render(config("flatcar")))
    assert own["ssh_authorized_keys"] == [KEY]
    assert "users" not in own
    other = yaml.safe_load(render(config("flatcar", ssh={"user": "captain"})))
    assert other["users"] == [{"name": "captain", "ssh_authorized_keys": [KEY]}]


def test_coreos_starts_only_what_waits_for_the_secrets() -> None:
    units = {unit["name"]: unit for unit in yaml.safe_load(render(config("flatcar")))["coreos"]["units"]}
    assert {name for name, unit in units.items() if unit.get("command") == "start"} == {
        "air-secrets.path",
        "air-swap.service",
        *RESOLVER,
    }
    assert {name for name, unit in units.items() if unit.get("enable")} == {
        "air-secrets.path",
        "air-etcd.service",
        "air-swap.service",
        *RESOLVER,
    }


# Input that tries to break out


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_any_text_survives_yaml(text: str) -> None:
    assert yaml.safe_load(f"key: {json_text(text)}\nnext: 1\n") == {"key": text, "next": 1}
    assert yaml.safe_load(f"- key: {yaml_text(text, 6)}\n  next: 1\n") == [{"key": text, "next": 1}]
    assert json.loads(json_text(text)) == text


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=50, deadline=None)
@given(
    text=TEXTS, key=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
)
def test_ugly_contents_stay_contents(dialect: str, text: str, key: str) -> None:
    ugly = MachineConfig(
        os="flatcar",
        hostname="air-01",
        users=(User("core", (key,)),),
        files=(File("/etc/ugly", text), File("/etc/lines", f"{text}\n")),
        units=(Unit("ugly.service", f"[Unit]\nDescription={text}\n"),),
    )
    found = read_back(DIALECTS[dialect].render(ugly), dialect)
    assert found["/etc/ugly"] == text
    assert found["/etc/lines"] == f"{text}\n"
    assert found["/etc/systemd/system/ugly.service"] == f"[Unit]\nDescription={text}\n"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_host_name_cannot_add_a_key(dialect: str) -> None:
    evil = replace(config("flatcar"), hostname="air\nruncmd: [[reboot]]\n# ")
    text = DIALECTS[dialect].render(evil)
    document = yaml.safe_load(text)
    assert ["reboot"] not in document.get("runcmd", [])
    if dialect != "ignition":
        assert document["hostname"] == evil.hostname


# The validators


@pytest.mark.skipif(not shutil.which("ignition-validate"), reason="Debian's package ignition is not installed")
@pytest.mark.parametrize("os_name", ["fedora-coreos", "flatcar"])
def test_ignition_finds_nothing_to_say(os_name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.ign"
    path.write_text(render(config(os_name, ssh={"user": "captain"}), "ignition"))
    result = subprocess.run(["ignition-validate", path], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_our_check_of_coreos_takes_what_is_documented() -> None:
    check(
        "#cloud-config\n"
        + yaml.safe_dump(
            {
                "hostname": "air-01",
                "manage_etc_hosts": "localhost",
                "users": [{"name": "captain", "groups": ["sudo"], "no_create_home": True}],
                "write_files": [
                    {"path": "/etc/x", "permissions": "0644", "owner": "root", "encoding": "b64", "content": "eA=="}
                ],
                "coreos": {
                    "update": {"reboot_strategy": "off"},
                    "locksmith": {"window_start": "Thu 04:00", "window_length": "1h"},
                    "units": [{"name": "a.service", "mask": True, "drop_ins": [{"name": "b.conf", "content": ""}]}],
                },
            }
        )
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"hostnme": "x"}, "cloud-config.hostnme: Extra inputs are not permitted"),
        ({"runcmd": [["reboot"]]}, "cloud-config.runcmd: Extra"),
        ({"manage_etc_hosts": True}, "cloud-config.manage_etc_hosts: Input should be 'localhost'"),
        ({"hostname": 5}, "cloud-config.hostname: Input should be a valid string"),
        ({"users": [{"name": "x", "sudo": "ALL"}]}, "cloud-config.users.0.sudo: Extra"),
        (
            {"write_files": [{"path": "/etc/x", "permissions": 420}]},
            "write_files.0.permissions: Input should be a valid string",
        ),
        (
            {"write_files": [{"path": "/etc/x", "permissions": "rw-r--r--"}]},
            "write_files.0.permissions: String should match",
        ),
        (
            {"write_files": [{"path": "/usr/bin/x"}]},
            "write_files.0.path: Value error, a file can't be written under /usr",
        ),
        ({"coreos": {"write_files": []}}, "cloud-config.coreos.write_files: Extra"),
        ({"coreos": {"etcd2": {}}}, "cloud-config.coreos.etcd2: Extra"),
        (
            {"coreos": {"units": [{"name": "x", "enable": "yes"}]}},
            "coreos.units.0.enable: Input should be a valid boolean",
        ),
        (
            {"coreos": {"units": [{"name": "x", "command": "enable"}]}},
            "coreos.units.0.command: Input should be 'start'",
        ),
    ],
)
def test_our_check_of_coreos_names_the_mistake(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check("#cloud-config\n" + yaml.safe_dump(document))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["hostname: x\n", "#cloud-configs\n", "#cloud-config\n{[\n", "#cloud-config\n- a\n"])
def test_our_check_of_coreos_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="cloud-config"):
        check(text)
