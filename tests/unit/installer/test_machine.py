"""Which machine the installer is on."""

from __future__ import annotations

from pathlib import Path

import pytest
from installer_examples import ENVIRONMENT, machine, write_json

from argosy_installer.errors import Failed
from argosy_installer.machine import from_environment, nearest_first, read_json


def test_the_environment_says_which_machine_it_is() -> None:
    found = from_environment(ENVIRONMENT)
    assert (found.name, found.address, found.role, found.version) == ("air-01", "192.168.55.101", "member", "0.1.3")
    assert found.secrets == Path("/etc/air/secrets")
    assert found.install_record == Path("/var/lib/air/install.json")


def test_a_variable_that_lacks_is_named() -> None:
    without = {name: value for name, value in ENVIRONMENT.items() if name != "REGISTRY"}
    with pytest.raises(Failed, match="REGISTRY is not set"):
        from_environment(without)


@pytest.mark.parametrize(
    ("address", "endpoints"),
    [
        ("10.0.0.2", ("https://127.0.0.1:2379",)),
        ("10.0.0.9", ("https://10.0.0.1:2379", "https://10.0.0.2:2379")),
        ("10.0.0", ("https://10.0.0.1:2379", "https://10.0.0.2:2379")),
    ],
)
def test_a_member_talks_to_its_own_etcd_and_a_client_to_any(address: str, endpoints: tuple[str, ...]) -> None:
    assert nearest_first(["https://10.0.0.1:2379", "https://10.0.0.2:2379"], address) == endpoints


def test_the_members_elsewhere_are_all_but_its_own() -> None:
    assert from_environment(ENVIRONMENT).other_members == ("https://192.168.55.102:2379",)
    client = from_environment({**ENVIRONMENT, "MACHINE_ADDRESS": "192.168.55.109"})
    assert client.other_members == client.etcd_endpoints == tuple(ENVIRONMENT["ETCD_ENDPOINTS"].split(","))


def test_a_file_that_is_not_there_is_an_empty_object(tmp_path: Path) -> None:
    assert read_json(tmp_path / "missing.json") == {}
    assert read_json(write_json(tmp_path / "there.json", {"a": 1})) == {"a": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"'])
def test_a_file_that_is_no_object_is_a_failure_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(Failed, match=r"bad\.json is no JSON"):
        read_json(tmp_path / "bad.json")


def test_every_path_is_below_the_root(tmp_path: Path) -> None:
    found = machine(tmp_path)
    for path in (found.config, found.state, found.units, found.release, found.docker_socket, *found.journals):
        assert path.is_relative_to(tmp_path)
