"""The scripts of name resolution, run by this host's shell with their folders moved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fake_host import FakeMachine
from machine_examples import config, content

from argosy.config import dns
from argosy.paths import Names

OURS = "nameserver 127.0.0.42\noptions timeout:1 attempts:2\n"
DHCP = "# by dhclient\nsearch example.net\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"
RESOLV_CONF, UPSTREAM = "etc/resolv.conf", "run/air/dns/upstream.conf"
DROP_IN = "etc/systemd/resolved.conf.d/air.conf"


@pytest.fixture
def container(tmp_path: Path) -> FakeMachine:
    """Where dnsmasq prints its options."""
    made = FakeMachine(tmp_path)
    made.program("dnsmasq", "printf '%s\\n' \"$@\"")
    return made


ENTRYPOINT = Path(__file__).parents[3] / "images/dnsmasq/entrypoint.sh"


def test_the_entrypoint_puts_the_machine_s_bridge_into_the_options(container: FakeMachine) -> None:
    options = dns.container_arguments(domain="local")
    said = container.run(["sh", ENTRYPOINT, *options, "--with=a b $HOME '\""], env={"BRIDGE_ADDRESS": "10.0.0.1"})
    wanted = dns.container_arguments(domain="local", bridge_address="10.0.0.1")
    assert said.stdout.splitlines() == [*wanted, "--with=a b $HOME '\""]


def test_the_entrypoint_names_the_variable_that_lacks(container: FakeMachine) -> None:
    said = container.run(["sh", ENTRYPOINT, *dns.container_arguments(domain="local")])
    assert said.returncode != 0
    assert said.stdout == ""
    assert "BRIDGE_ADDRESS" in said.stderr


# use-dns


class Place(FakeMachine):
    """The machine's files. `calls`: what systemctl is told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.path("/etc").mkdir()
        self.program("systemctl", 'echo "$@" >>"$calls"')
        self.program("systemd-analyze", f"cat {root}/resolved.conf")
        text = content(config(), f"{Names('air').programs}/use-dns")
        self.write("use-dns", self.moved(text, ("/etc/resolv.conf", "/etc/systemd", "/run/air", "/run/systemd")), 0o755)

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def resolved(self, *servers: str, settings: str = "") -> None:
        """Give resolv.conf to systemd-resolved. `servers`: its interfaces'; `settings`: all of its resolved.conf."""
        self.write("resolved.conf", f"# /etc/systemd/resolved.conf\n[Resolve]\n#DNS=\n{settings}")
        self.write("run/systemd/resolve/resolv.conf", "".join(f"nameserver {server}\n" for server in servers))
        self.write("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
        (self.root / RESOLV_CONF).unlink(missing_ok=True)
        (self.root / RESOLV_CONF).symlink_to("../run/systemd/resolve/stub-resolv.conf")

    def do(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run([self.path("use-dns"), *words])

    def succeed(self, *words: str) -> str:
        done = self.do(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def files(self) -> dict[str, tuple[int, int, str]]:
        """Return inode, time of change and text of every file: what shows that nothing was written."""
        found = [path for folder in ("etc", "run") for path in self.path(folder).rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_text()) for path in found}


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
    before, told = place.files(), place.calls
    assert place.succeed() == ""
    assert place.files() == before
    assert place.calls == told


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
    assert place.calls == ["disable --quiet --now air-resolver.path air-resolver.service"]
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
    place.program("mv", "echo no >&2; exit 1")
    done = place.do()
    assert done.returncode != 0
    assert done.stderr == "no\n"
    assert place.read(RESOLV_CONF) == DHCP


def test_systemd_resolved_is_asked_to_ask_us_for_the_domain_alone(place: Place) -> None:
    place.resolved("10.0.0.2", "fe80::1%eth0")
    place.succeed()
    assert place.read(DROP_IN).split("\n", 1)[1] == "[Resolve]\nDNS=127.0.0.42\nDomains=~local\n"
    assert place.calls == ["try-restart systemd-resolved.service"]
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
    assert place.calls[-1] == "try-restart systemd-resolved.service"


@pytest.mark.parametrize("mine", ["DNS=8.8.8.8\nDNS=127.0.0.42\n", "DNS=127.0.0.42 8.8.8.8\n", "DNS=\nDNS=8.8.8.8\n"])
def test_servers_for_all_of_systemd_resolved_would_be_asked_for_the_domain(place: Place, mine: str) -> None:
    place.resolved("10.0.0.2", settings=mine)
    place.write(DROP_IN, "")
    done = place.do()
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
    done = place.do("--redo")
    assert (done.returncode, done.stderr) == (2, "usage: use-dns [--undo]\n")
    assert place.read(RESOLV_CONF) == DHCP
