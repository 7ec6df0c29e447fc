from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from raised import raises

from argosy.config.defaults import DEFAULTS
from argosy.config.loading import SshSettings, load
from argosy.errors import ConfigError
from argosy.model import Machine
from argosy.ssh import files
from argosy.ssh.channel import Lines
from argosy.ssh.host import Host
from argosy.ssh.identity import parse_entry_node
from argosy.ssh.tunnel import LocalAddress


def make_host(**ssh: object) -> Host:
    settings = SshSettings.model_validate({**DEFAULTS["ssh"], **ssh})
    return Host(Machine("air-01", "10.0.0.1"), settings, Path("/state/my pins"), Path("/keys/id"))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("bastion", ("core", "bastion", 22)),
        ("ops@10.0.0.9:2222", ("ops", "10.0.0.9", 2222)),
        ("bastion:22", ("core", "bastion", 22)),
    ],
)
def test_an_entry_node_has_user_host_and_port(text: str, parsed: tuple[str, str, int]) -> None:
    assert parse_entry_node(text, "core") == parsed


@pytest.mark.parametrize(
    "text",
    [
        *["", "@bastion", "ops@", "bastion:", "bastion:ssh", "bastion:0", "bastion:65536"],
        *["bastion\n", " bastion", "-oProxyCommand=x", "bastion/", "a b@bastion", "bastion:\uff12"],
    ],
)
def test_a_bad_entry_node_is_refused(text: str) -> None:
    with raises(ConfigError, path="ssh.entry_node"):
        parse_entry_node(text, "core")


def test_only_another_user_than_root_needs_sudo() -> None:
    assert make_host(user="core").elevates(True)
    assert not make_host(user="core").elevates(False)
    assert not make_host(user="root").elevates(True)


def test_a_host_tells_its_way() -> None:
    assert repr(make_host(entry_node="ops@bastion:2222")) == "<Host air-01 10.0.0.1:22 through bastion>"


def test_openssh_gets_the_same_trust_and_nothing_of_the_operators_own() -> None:
    words = files.ssh_options(make_host())
    assert words[:6] == ["-F", "none", "-p", "22", "-l", "core"]
    assert {"StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "GlobalKnownHostsFile=/dev/null"} < set(words)
    assert 'UserKnownHostsFile="/state/my pins"' in words


def test_openssh_goes_through_the_entry_node_under_the_same_trust() -> None:
    (proxy,) = (word for word in files.ssh_options(make_host(entry_node="ops@bastion:2222")) if "ProxyCommand" in word)
    words = shlex.split(proxy.removeprefix("ProxyCommand="))
    assert words[:7] == ["ssh", "-F", "none", "-p", "2222", "-l", "ops"]
    assert words[-3:] == ["-W", "[%h]:%p", "bastion"]
    assert "StrictHostKeyChecking=yes" in words


def test_a_tunnels_end_is_text_and_a_pair() -> None:
    address = LocalAddress("127.0.0.1", 4711)
    host, port = address
    assert (f"{address}", host, port) == ("127.0.0.1:4711", "127.0.0.1", 4711)


def test_lines_are_cut_wherever_the_chunks_end() -> None:
    lines = Lines()
    assert lines.add(b"a\nb") == ["a"]
    assert lines.add(b"c\r\n\nrest \xff") == ["bc", ""]
    assert lines.end() == ["rest \N{REPLACEMENT CHARACTER}"]
    assert lines.end() == []


def test_an_endless_line_is_not_kept_for_ever() -> None:
    lines = Lines()
    assert [len(text) for text in lines.add(b"x" * (1 << 21))] == [1 << 21]


def test_a_machine_with_a_line_of_its_own_is_reached_as_that_says() -> None:
    own = {"host": "gate.example.com", "port": 2201, "user": "ops"}
    machines = {"air-01": {"address": "10.0.0.1", "ssh": own}}
    loaded = load({"clusters": {"test": {"machines": machines, "ssh": {"entry_node": "bastion:2200"}}}})
    machine = Machine("air-01", "10.0.0.1")
    with Host(machine, loaded.ssh_of(machine), Path("/state/pins"), None) as reached:
        assert (reached.address, reached.where) == ("gate.example.com", "gate.example.com:2201 through bastion")
        assert files.ssh_options(reached)[2:6] == ["-p", "2201", "-l", "ops"]
        assert reached.gateway
        assert (reached.gateway.where, reached.gateway.ssh.user) == ("bastion:2200", "core"), "not the machine's own"
