"""How the local domain is resolved: dnsmasq's options, Docker's settings, and use-dns with its folders moved."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from machine_examples import config, content, settings

from argosy import dns
from argosy.machine_files import Names, daemon_json, machine_env
from argosy.model import Machine

OURS = "nameserver 127.0.0.42\noptions timeout:1 attempts:2\n"
DHCP = "# by dhclient\nsearch example.net\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"
RESOLV_CONF, UPSTREAM = "etc/resolv.conf", "run/air/dns/upstream.conf"
DROP_IN = "etc/systemd/resolved.conf.d/air.conf"
MACHINE = Machine("air-01", "192.168.55.101")


# The options and the settings


def test_the_bridge_has_the_seed_s_address_unless_another_is_given() -> None:
    assert dns.bridge_address(settings(docker={"bip": ""})) == "172.17.42.1"
    assert dns.bridge_address(settings(docker={"bip": "10.170.42.1/24"})) == "10.170.42.1"


def test_docker_is_told_the_bridge_s_address_that_we_answer_with() -> None:
    written = json.loads(daemon_json(settings(docker={"bip": "", "dns": ["9.9.9.9"]}), "debian"))
    assert written["bip"] == "172.17.42.1/16"
    assert written["dns"] == ["172.17.42.1", "9.9.9.9"]
    env = machine_env(settings(docker={"bip": "10.170.42.1/24"}), MACHINE, [MACHINE])
    assert env["BRIDGE_ADDRESS"] == "10.170.42.1"


def test_without_discovery_a_machine_is_left_alone() -> None:
    off: dict[str, Any] = {"discovery": {"enabled": False}, "docker": {"bip": "", "dns": []}}
    machine = config(**off)
    assert not {"bip", "dns"} & set(json.loads(content(machine, "/etc/docker/daemon.json")))
    assert "BRIDGE_ADDRESS" not in content(machine, "/etc/air/machine.env")
    assert not any("resolver" in unit.name for unit in machine.units)
    assert not any(file.path.endswith("/use-dns") for file in machine.files)


def test_dnsmasq_s_options() -> None:
    options = dns.container_arguments(domain="cluster", bridge_address="10.0.0.1")
    assert [option for option in options if "listen" in option] == [
        "--listen-address=127.0.0.42",
        "--listen-address=10.0.0.1",
    ]
    assert {"--address=/cluster/10.0.0.1", "--local=/cluster/", "--bind-interfaces"} <= set(options)
    assert {"--resolv-file=/run/dns/upstream.conf", "--dns-loop-detect", "--user=dnsmasq"} <= set(options)
    assert not any("dhcp" in option for option in options)


def test_a_release_knows_no_bridge() -> None:
    options = dns.container_arguments(domain="local")
    assert "--address=/local/@BRIDGE_ADDRESS@" in options
    assert sum("@BRIDGE_ADDRESS@" in option for option in options) == 3


def test_the_entrypoint_puts_the_machine_s_bridge_into_the_options(tmp_path: Path) -> None:
    stand_in(tmp_path, "dnsmasq", "printf '%s\\n' \"$@\"")
    options = dns.container_arguments(domain="local")
    said = entrypoint(tmp_path, *options, "--with=a b $HOME '\"", BRIDGE_ADDRESS="10.0.0.1")
    wanted = dns.container_arguments(domain="local", bridge_address="10.0.0.1")
    assert said.stdout.splitlines() == [*wanted, "--with=a b $HOME '\""]


def test_the_entrypoint_names_the_variable_that_lacks(tmp_path: Path) -> None:
    stand_in(tmp_path, "dnsmasq", "echo never")
    said = entrypoint(tmp_path, *dns.container_arguments(domain="local"))
    assert said.returncode != 0
    assert said.stdout == ""
    assert "BRIDGE_ADDRESS" in said.stderr


def entrypoint(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[2] / "images/dnsmasq/entrypoint.sh"
    env = {"PATH": f"{folder}:{os.environ['PATH']}", **environment}
    return subprocess.run(["sh", script, *words], capture_output=True, text=True, check=False, env=env)


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


# use-dns


class Place:
    """The machine's files below `root`. `systemctl` notes what it is told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        (root / "etc").mkdir()
        stand_in(root / "bin", "systemctl", f'echo "$@" >> {root}/systemctl.log')
        stand_in(root / "bin", "systemd-analyze", f"cat {root}/resolved.conf")
        text = content(config(), f"{Names('air').programs}/use-dns")
        for folder in ("/etc/resolv.conf", "/etc/systemd", "/run/air", "/run/systemd"):
            text = text.replace(folder, f"{root}{folder}")
        (root / "use-dns").write_text(text)
        (root / "use-dns").chmod(0o755)

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def resolved(self, *servers: str, settings: str = "") -> None:
        """Give resolv.conf to systemd-resolved. `servers`: its interfaces'; `settings`: all of its resolved.conf."""
        self.write("resolved.conf", f"# /etc/systemd/resolved.conf\n[Resolve]\n#DNS=\n{settings}")
        self.write("run/systemd/resolve/resolv.conf", "".join(f"nameserver {it}\n" for it in servers))
        self.write("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
        (self.root / RESOLV_CONF).unlink(missing_ok=True)
        (self.root / RESOLV_CONF).symlink_to("../run/systemd/resolve/stub-resolv.conf")

    def told_systemctl(self) -> list[str]:
        log = self.root / "systemctl.log"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        return subprocess.run([self.root / "use-dns", *words], capture_output=True, text=True, check=False, env=env)

    def succeed(self, *words: str) -> str:
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def files(self) -> dict[str, tuple[int, int, str]]:
        """Return inode, time of change and text of every file: what shows that nothing was written."""
        found = [path for path in self.root.rglob("*") if path.is_file() and path.name != "systemctl.log"]
        return {str(it): (it.stat().st_ino, it.stat().st_mtime_ns, it.read_text()) for it in found}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_our_server_goes_first_and_the_old_ones_stay_behind_it(place: Place) -> None:
    place.write(RESOLV_CONF, DHCP)
    place.succeed()
    first, rest = place.read(RESOLV_CONF).split("\n", 1)
    assert first.startswith("# ")
    assert rest == OURS + DHCP
    assert place.read(UPSTREAM) == "nameserver 10.0.0.2\nnameserver 10.0.0.3\n"
    assert (place.root / UPSTREAM).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", ["plain", "resolved"])
def test_a_second_run_changes_nothing(place: Place, mode: str) -> None:
    if mode == "plain":
        place.write(RESOLV_CONF, DHCP)
    else:
        place.resolved("10.0.0.2")
    assert place.succeed() != ""
    before, told = place.files(), place.told_systemctl()
    assert place.succeed() == ""
    assert place.files() == before
    assert place.told_systemctl() == told


@pytest.mark.parametrize(
    "text",
    [
        DHCP,
        "",
        "\n\n",
        "nameserver 10.0.0.2",
        "options timeout:1 attempts:2\nnameserver 10.0.0.2\n",
        "# $HOME `id` \\n%s\n",
    ],
    ids=ascii,
)
def test_undone_it_is_as_it_was_to_the_last_byte(place: Place, text: str) -> None:
    place.write(RESOLV_CONF, text)
    place.succeed()
    assert place.read(RESOLV_CONF).endswith(OURS + text)
    place.succeed("--undo")
    assert place.read(RESOLV_CONF) == text
    assert place.told_systemctl() == ["disable --quiet --now air-resolver.path air-resolver.service"]
    assert place.succeed("--undo") == ""


def test_what_a_dhcp_client_writes_is_what_is_asked_from_then_on(place: Place) -> None:
    place.write(RESOLV_CONF, DHCP)
    place.succeed()
    place.write(RESOLV_CONF, "nameserver 10.9.9.9\n")
    assert "10.9.9.9" in place.succeed()
    assert place.read(RESOLV_CONF).endswith(f"{OURS}nameserver 10.9.9.9\n")
    assert place.read(UPSTREAM) == "nameserver 10.9.9.9\n"


def test_lines_that_somebody_put_before_ours_do_not_double_them(place: Place) -> None:
    place.write(RESOLV_CONF, DHCP)
    place.succeed()
    place.write(RESOLV_CONF, f"nameserver 10.9.9.9\n{place.read(RESOLV_CONF)}")
    place.succeed()
    assert place.read(RESOLV_CONF).count("127.0.0.42") == 1
    assert place.read(RESOLV_CONF).endswith(f"{OURS}nameserver 10.9.9.9\n{DHCP}")


def test_dnsmasq_is_never_told_to_ask_itself(place: Place) -> None:
    own = "nameserver 127.0.0.42\nnameserver\t172.17.42.1 # us\n"
    place.write(RESOLV_CONF, f"{own}nameserver 127.0.0.11\nnameserver 172.17.42.11\n#nameserver 1.1.1.1\n")
    place.succeed()
    assert place.read(UPSTREAM) == "nameserver 127.0.0.11\nnameserver 172.17.42.11\n"


def test_a_link_stays_a_link(place: Place) -> None:
    """resolvconf and NetworkManager write behind it, and replace what is no longer theirs."""
    place.write("run/resolvconf/resolv.conf", DHCP)
    (place.root / RESOLV_CONF).symlink_to("../run/resolvconf/resolv.conf")
    place.succeed()
    assert (place.root / RESOLV_CONF).is_symlink()
    assert place.read("run/resolvconf/resolv.conf").endswith(OURS + DHCP)


def test_no_resolv_conf_at_all(place: Place) -> None:
    place.succeed()
    assert place.read(RESOLV_CONF).endswith(OURS)
    assert place.read(UPSTREAM) == ""


def test_a_file_that_cannot_be_written_is_an_error(place: Place) -> None:
    place.write(RESOLV_CONF, DHCP)
    stand_in(place.root / "bin", "mv", "echo no >&2; exit 1")
    done = place.run()
    assert done.returncode != 0
    assert done.stderr == "no\n"
    assert place.read(RESOLV_CONF) == DHCP


def test_systemd_resolved_is_asked_to_ask_us_for_the_domain_alone(place: Place) -> None:
    place.resolved("10.0.0.2", "fe80::1%eth0")
    place.succeed()
    assert place.read(DROP_IN).split("\n", 1)[1] == "[Resolve]\nDNS=127.0.0.42\nDomains=~local\n"
    assert place.told_systemctl() == ["try-restart systemd-resolved.service"]
    assert place.read(UPSTREAM) == "nameserver 10.0.0.2\nnameserver fe80::1%eth0\n"
    assert "127.0.0.42" not in place.read(RESOLV_CONF)


def test_systemd_resolved_lists_us_among_its_servers(place: Place) -> None:
    place.resolved("127.0.0.42", "10.0.0.2", settings="DNS=127.0.0.42\n")
    place.succeed()
    assert place.read(UPSTREAM) == "nameserver 10.0.0.2\n"


def test_systemd_resolved_is_left_as_it_was(place: Place) -> None:
    place.resolved("10.0.0.2")
    place.succeed()
    place.succeed("--undo")
    assert not (place.root / DROP_IN).exists()
    assert place.told_systemctl()[-1] == "try-restart systemd-resolved.service"


@pytest.mark.parametrize("mine", ["DNS=8.8.8.8\nDNS=127.0.0.42\n", "DNS=127.0.0.42 8.8.8.8\n", "DNS=\nDNS=8.8.8.8\n"])
def test_servers_for_all_of_systemd_resolved_would_be_asked_for_the_domain(place: Place, mine: str) -> None:
    place.resolved("10.0.0.2", settings=mine)
    place.write(DROP_IN, "")
    done = place.run()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "(DNS=8.8.8.8)" in done.stderr
    assert not (place.root / DROP_IN).exists()


def test_servers_that_were_taken_back_do_not_matter(place: Place) -> None:
    place.resolved("10.0.0.2", settings="DNS=8.8.8.8 9.9.9.9\nDNS=\nDNS=127.0.0.42\n")
    place.succeed()


def test_a_file_that_names_systemd_resolved_s_address_is_as_good_as_its_link(place: Place) -> None:
    place.resolved("10.0.0.2")
    (place.root / RESOLV_CONF).unlink()
    place.write(RESOLV_CONF, "nameserver 127.0.0.53\n")
    place.succeed()
    assert (place.root / DROP_IN).exists()
    assert place.read(RESOLV_CONF) == "nameserver 127.0.0.53\n"


def test_what_systemd_resolved_writes_stays_as_it_is_whichever_of_its_files_is_used(place: Place) -> None:
    """Flatcar's resolv.conf leads to the file with the servers themselves."""
    place.resolved("10.0.0.2")
    (place.root / RESOLV_CONF).unlink()
    (place.root / RESOLV_CONF).symlink_to("../run/systemd/resolve/resolv.conf")
    place.succeed()
    assert place.read(RESOLV_CONF) == "nameserver 10.0.0.2\n"
    assert (place.root / DROP_IN).exists()


def test_a_machine_that_changes_to_systemd_resolved_keeps_one_way_only(place: Place) -> None:
    place.write(RESOLV_CONF, DHCP)
    place.succeed()
    place.resolved("10.0.0.2")
    place.succeed()
    assert (place.root / DROP_IN).exists()
    (place.root / RESOLV_CONF).unlink()
    place.write(RESOLV_CONF, DHCP)
    place.succeed()
    assert not (place.root / DROP_IN).exists()
    assert place.read(RESOLV_CONF).endswith(OURS + DHCP)


def test_an_unknown_word_is_refused(place: Place) -> None:
    place.write(RESOLV_CONF, DHCP)
    done = place.run("--redo")
    assert (done.returncode, done.stderr) == (2, "usage: use-dns [--undo]\n")
    assert place.read(RESOLV_CONF) == DHCP
