"""What stands in the files and units of a machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from machine_examples import CA, ETCD, RELEASE, config, content, machines, settings
from raised import raises

from argosy.cloudconfig.config import machine_config
from argosy.cloudconfig.dialects.machine import MachineConfig
from argosy.cloudconfig.files import Common, env_file
from argosy.errors import ConfigError
from argosy.paths import Names
from argosy.secrets.names import required_secrets


def variables(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, _, value in pairs}


def test_machine_env_says_who_the_machine_is() -> None:
    assert variables(content(config(number=2), "/etc/air/machine.env")) == {
        "SYSTEM": "air",
        "CLUSTER": "test",
        "MACHINE_NAME": "air-02",
        "MACHINE_ADDRESS": "192.168.55.102",
        "MACHINE_ROLE": "member",
        "REGISTRY": "192.168.55.1:5000",
        "ETCD_ENDPOINTS": "https://192.168.55.101:2379,https://192.168.55.102:2379,https://192.168.55.103:2379",
        "BRIDGE_ADDRESS": "172.17.42.1",
    }


def test_images_are_named_by_digest() -> None:
    assert variables(content(config(), "/etc/air/release.env")) == {
        "RELEASE_VERSION": "0.1.3",
        "RELEASE_IMAGE": f"192.168.55.1:5000/air/installer@{RELEASE.digest}",
    }
    assert variables(content(config(), "/etc/air/etcd.env"))["IMAGE"] == f"192.168.55.1:5000/air/etcd@{ETCD.digest}"


def test_etcd_listens_on_loopback_and_the_machine_s_address_only_and_asks_everybody_for_a_certificate() -> None:
    etcd = variables(content(config(number=3), "/etc/air/etcd.env"))
    assert etcd["ETCD_LISTEN_CLIENT_URLS"] == "https://127.0.0.1:2379,https://192.168.55.103:2379"
    assert etcd["ETCD_LISTEN_PEER_URLS"] == "https://192.168.55.103:2380"
    assert etcd["ETCD_LISTEN_METRICS_URLS"].startswith("http://127.0.0.1:")
    assert etcd["ETCD_CLIENT_CERT_AUTH"] == etcd["ETCD_PEER_CLIENT_CERT_AUTH"] == "true"
    assert etcd["ETCD_STRICT_RECONFIG_CHECK"] == "true"
    assert etcd["ETCD_INITIAL_CLUSTER"] == ",".join(
        f"air-{number:02}=https://192.168.55.{100 + number}:2380" for number in (1, 2, 3)
    )
    assert etcd["ETCD_INITIAL_CLUSTER_STATE"] == "new"


def test_a_machine_that_joins_says_so() -> None:
    machine, *_ = machines()
    joining = machine_config(settings(), machine, Common([machine], RELEASE, ETCD, initial_state="existing"))
    assert variables(content(joining, "/etc/air/etcd.env"))["ETCD_INITIAL_CLUSTER_STATE"] == "existing"
    assert not any("certs.d" in file.path for file in joining.files)


def test_beyond_the_most_members_a_machine_is_a_client() -> None:
    client = config(number=4, count=4, etcd={"max_members": 3})
    env = variables(content(client, "/etc/air/machine.env"))
    assert env["MACHINE_ROLE"] == "client"
    assert env["ETCD_ENDPOINTS"].count("https://") == 3
    assert set(variables(content(client, "/etc/air/etcd.env"))) == {"IMAGE"}
    assert "etcd-peer.key" not in content(client, "/etc/air/required-secrets")
    assert not any(unit.name == "air-etcd.service" for unit in client.units)
    assert "air-etcd.service" not in content(client, "air-secrets.service")


def test_settings_are_texts() -> None:
    assert json.loads(content(config(), "/etc/air/settings.json")) == {
        "database/host": "192.168.55.1",
        "database/port": "5432",
        "cache/on": "true",
    }
    assert json.loads(content(config(), "/etc/air/metadata.json")) == {"tier": "green"}


def test_the_machine_waits_for_every_secret_that_a_service_mounts() -> None:
    assert content(config(), "/etc/air/required-secrets").split() == required_secrets(settings())
    assert {"api.key", "database-password", "ca.crt", "etcd-peer.key", "registry/config.json"} <= set(
        required_secrets(settings())
    )


def test_the_environment_has_the_names_that_coreos_users_know() -> None:
    assert variables(content(config(), "/etc/environment")) == {
        "COREOS_PUBLIC_IPV4": "192.168.55.101",
        "COREOS_PRIVATE_IPV4": "192.168.55.101",
        "MACHINE_NAME": "air-01",
        "MACHINE_ADDRESS": "192.168.55.101",
    }
    assert content(config("ubuntu"), "/etc/environment").startswith('PATH="/usr/local/sbin:')


def test_docker_s_settings() -> None:
    assert json.loads(content(config(), "/etc/docker/daemon.json")) == {
        "bip": "172.17.42.1/16",
        "dns": ["172.17.42.1", "192.168.55.1"],
        "storage-driver": "overlay2",
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
    }
    # dockerd does not start when Fedora CoreOS's flags and the file both set the log driver.
    assert "log-driver" not in json.loads(content(config("fedora-coreos"), "/etc/docker/daemon.json"))
    assert content(config(), "/etc/docker/certs.d/192.168.55.1:5000/ca.crt") == CA


@pytest.mark.parametrize(
    "value", ["a b", "a\nB=1", '"a"', "$HOME", "a\\", "`id`", "a#b", "'a'", "a\x00", "ä"], ids=ascii
)
def test_an_environment_file_takes_only_what_all_its_readers_read_alike(value: str) -> None:
    with raises(ConfigError, path="NAME"):
        env_file({"NAME": value})


def test_the_registry_must_have_an_address() -> None:
    with raises(ConfigError, path="registry.address"):
        config(registry={"address": ""})


def test_the_command_is_in_everybody_s_path() -> None:
    assert Names("air", "debian").command == "/usr/local/bin/air"
    assert Names("air", "fedora-coreos").command == "/usr/local/bin/air"
    assert Names("air", "flatcar").command == "/opt/bin/air"


# The tools of the trade


def programs(machine: MachineConfig) -> dict[str, str]:
    return {file.path: file.content for file in machine.files if file.mode == 0o755}


def test_every_program_is_executable_and_there() -> None:
    assert {Path(path).name for path in programs(config())} == {
        "air",
        "check-secrets",
        "etcdctl",
        "installer",
        "make-swap",
        "pull-image",
        "service-settings",
        "use-dns",
    }
    assert all(text.startswith("#!/bin/sh\n") for text in programs(config()).values())


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("path", sorted(programs(config())))
def test_shellcheck_finds_nothing_to_say(path: str) -> None:
    result = subprocess.run(
        ["shellcheck", "--shell=sh", "--severity=style", "-"],
        input=programs(config())[path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("os_name", ["debian", "flatcar"])
def test_systemd_finds_nothing_to_say(os_name: str, tmp_path: Path) -> None:
    root = machine_root(config(os_name), tmp_path)
    names = sorted(path.name for path in (root / "etc/systemd/system").glob("air-*"))
    result = verify(root, names)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_would_have_found_a_missing_program(tmp_path: Path) -> None:
    root = machine_root(config(), tmp_path)
    (root / "opt/air/bin/check-secrets").unlink()
    assert "check-secrets is not executable" in verify(root, ["air-secrets.service"]).stderr


def verify(root: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", f"--root={root}", "--man=no", *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def machine_root(machine: MachineConfig, root: Path) -> Path:
    """Make a file system tree of the machine, with stand-ins for what its OS brings."""
    os_brings = ["/usr/bin/docker", "/usr/bin/systemctl", "/usr/sbin/swapoff"]
    files = dict.fromkeys(os_brings, ("#!/bin/sh\n", 493))
    files |= {file.path: (file.content, file.mode) for file in machine.files}
    files |= {unit.path: (unit.content, 0o644) for unit in machine.units}
    files["/etc/systemd/system/docker.service"] = ("[Service]\nExecStart=/usr/bin/docker\n", 0o644)
    for path, (text, mode) in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
    shutil.copytree(
        "/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True, ignore_dangling_symlinks=True
    )
    assert os.access(root / "opt/air/bin/check-secrets", os.X_OK)
    return root
