"""A machine from its cloud-config file to a running etcd, and one that was there before, on real machines."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from booted import (
    NETWORK,
    REGISTRY,
    SYSTEM,
    Booted,
    boot,
    boot_with_its_file,
    engine_lab,
    machine_image,
    make_settings,
    quiet,
)
from booted import NEVER_PUSHED as RELEASE
from lanes import suite_of

from argosy.cloudconfig import writing
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.fanout import joined
from argosy.machine import preparing
from argosy.machine.needs import Needs
from argosy.membership import clearing
from argosy.model import Machine
from argosy.secrets.names import required_secrets
from argosy.ssh.host import Hosts

pytestmark = [pytest.mark.e2e, pytest.mark.slow(2)]

GOLDEN = Path(__file__).resolve().parents[1] / "unit" / "golden" / "cloudconfig"
SECRETS = f"/etc/{SYSTEM}/secrets"
BARE = """#cloud-config
users:
  - name: core
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    ssh_authorized_keys: [{key}]
"""
OWNED = """
find /etc /opt /usr/local -type f -exec sha256sum {} + -o -printf '%y %m %l %p\\n' | sort
ls -A /var/lib
ls -d /run/keel* || true
"""
"""Tells what a machine has of its owner's."""


@pytest.fixture(scope="module")
def settings(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = make_settings(tmp_path_factory.mktemp("boot"), suite_of("test_boot.py", os.environ))
    with engine_lab(settings, NETWORK):
        yield settings


@pytest.fixture(scope="module")
def waiting(settings: Settings) -> Booted:
    """A machine that has booted and waits for its secrets."""
    return boot_with_its_file(settings, Machine("keel-01", "192.168.59.11"), settings.root)


@pytest.fixture(scope="module")
def member(waiting: Booted) -> Booted:
    """The same machine after an upload that lacked one file, and a whole one."""
    waiting.upload(without="etcd-peer.key")
    waiting.wait(f"journalctl -u {SYSTEM}-secrets | grep -q 'secrets are missing'")
    waiting.upload()
    waiting.wait(f"/opt/{SYSTEM}/bin/etcdctl endpoint health")
    return waiting


def test_cloud_init_is_done_without_a_warning(waiting: Booted) -> None:
    assert "status: done" in waiting.run("cloud-init status --long")
    assert json.loads(waiting.run("cat /run/cloud-init/result.json"))["v1"]["errors"] == []
    assert re.findall(r".*\b(?:WARNING|ERROR)\b.*", waiting.run("cat /var/log/cloud-init.log")) == []
    assert waiting.run("systemctl --failed --quiet") == ""


def test_the_machine_is_what_its_file_says(waiting: Booted) -> None:
    assert waiting.run("hostname") == "keel-01\n"
    assert "COREOS_PUBLIC_IPV4=192.168.59.11" in waiting.run("cat /etc/environment")
    assert "inet 172.29.42.1/24" in waiting.run("ip -4 address show docker0")
    assert waiting.run("docker info --format '{{.LoggingDriver}}'") == "json-file\n"
    assert waiting.run("su core -c 'sudo -n id -u'") == "0\n"
    with Hosts(waiting.settings, [waiting.machine]) as hosts:
        assert hosts["keel-01"].run(["whoami"]).stdout == "core\n"


def test_it_waits_for_secrets_and_says_so(waiting: Booted) -> None:
    if waiting.run(f"ls -A {SECRETS} 2>/dev/null", check=False):
        pytest.skip("another test has brought the secrets already")
    assert waiting.state("secrets.path")["SubState"] == "waiting"
    assert waiting.state("etcd.service") | {"ActiveState": "inactive", "UnitFileState": "enabled"} == waiting.state(
        "etcd.service"
    )
    status = json.loads(waiting.run(f"su core -c '{SYSTEM} status --json'"))
    assert status == {
        "machine": "keel-01",
        "address": "192.168.59.11",
        "state": "waiting",
        "missing_secrets": required_secrets(waiting.settings),
        "release": "0.1.3",
        "services": [],
    }
    assert "missing in /etc/keel/secrets:\n  ca.crt\n" in waiting.run(f"{SYSTEM} status")


def test_what_is_missing_is_in_the_journal_and_the_next_upload_is_noticed(member: Booted) -> None:
    journal = member.run(f"journalctl -o cat -u {SYSTEM}-secrets")
    assert "secrets are missing in /etc/keel/secrets: etcd-peer.key\n" in journal
    assert member.state("secrets.service")["ActiveState"] == "active"
    assert member.state("etcd.service")["SubState"] == "running"


def test_etcd_trusts_nobody_without_a_certificate(member: Booted) -> None:
    endpoint = f"https://{member.machine.address}:2379"
    trusted = f"--cacert {SECRETS}/ca.crt"
    client = f"--cert {SECRETS}/etcd-client.crt --key {SECRETS}/etcd-client.key"
    assert '"health":"true"' in member.run(f"curl -sS {trusted} {client} {endpoint}/health")
    for url in (f"{endpoint}/health", f"{endpoint.replace('2379', '2380')}/members", "https://127.0.0.1:2379/health"):
        assert member.run(f"curl -s {trusted} {url} || echo refused") == "refused\n"
    member.wait(f'journalctl -o cat -u {SYSTEM}-etcd | grep -q "client didn\'t provide a certificate"')


def test_etcd_listens_where_it_may_and_keeps_its_data_to_itself(member: Booted) -> None:
    listening = set(re.findall(r"(\S+):(2379|2380|2381)\s", member.run("ss -Hltn")))
    address = member.machine.address
    assert listening == {("127.0.0.1", "2379"), (address, "2379"), (address, "2380"), ("127.0.0.1", "2381")}
    assert "etcd_server_has_leader 1" in member.run("curl -s http://127.0.0.1:2381/metrics")
    assert member.run(f"stat -c '%a %U' /var/lib/{SYSTEM}/etcd /var/lib/{SYSTEM}/etcd/member") == "700 root\n700 root\n"
    member.wait("docker inspect keel-etcd --format '{{.State.Health.Status}}' | grep -qx healthy")
    warnings = [
        line for line in member.run(f"journalctl -o cat -u {SYSTEM}-etcd").splitlines() if '"unrecognized' in line
    ]
    assert warnings == []


def test_etcdctl_is_at_hand_with_or_without_the_local_member(member: Booted) -> None:
    assert "keel-01" in member.run(f"su core -c '{SYSTEM} etcdctl member list'")
    endpoint = f"https://{member.machine.address}:2379"
    assert endpoint in member.run(f"{SYSTEM} etcdctl --endpoints={endpoint} endpoint health 2>&1")
    member.run(f"systemctl stop {SYSTEM}-etcd")
    assert "unhealthy" in member.run(f"{SYSTEM} etcdctl endpoint health", check=False)
    assert member.state("etcd.service")["Result"] == "success"
    member.run(f"systemctl start {SYSTEM}-etcd")
    member.wait(f"{SYSTEM} etcdctl endpoint health")


def test_a_service_s_settings_are_read_exactly_or_not_at_all(member: Booted) -> None:
    ugly = 'it\'s 100 % "fine" $HOME \\n  # ä '
    for key, value in {"database/host": "10.0.0.5", "ugly": ugly, "empty": "", "lines": "a\nb\n"}.items():
        member.run(f"/opt/{SYSTEM}/bin/etcdctl put /settings/{key} {shlex.quote(value)}")
    read = f"/opt/{SYSTEM}/bin/service-settings web"
    member.run(f"{read} DATABASE_HOST=database/host UGLY=ugly EMPTY=empty")
    path = f"/run/{SYSTEM}/web.env"
    assert member.run(f"cat {path}") == f"DATABASE_HOST=10.0.0.5\nUGLY={ugly}\nEMPTY=\n"
    assert member.run(f"stat -c %a {path}") == "600\n"
    assert "etcd has no key /settings/missing (for A)" in member.run(f"{read} A=missing", check=False)
    assert "the value of /settings/lines (for A) has a line break" in member.run(f"{read} A=lines", check=False)
    assert member.run(f"cat {path}").startswith("DATABASE_HOST=10.0.0.5\n")
    assert member.run(f"ls -A /run/{SYSTEM}") == "web.env\n"
    for words in ("A", "=b", "1A=b", "A-B=c", "A="):
        assert "usage: service-settings" in member.run(f"{read} '{words}'", check=False)


def test_an_installer_that_the_registry_does_not_have_is_not_asked_for_for_ever(member: Booted) -> None:
    member.wait(f"systemctl is-failed {SYSTEM}-installer")
    assert f"{REGISTRY} does not have it; upload it" in member.run(f"journalctl -o cat -u {SYSTEM}-installer")
    assert json.loads(member.run(f"{SYSTEM} status --json"))["state"] == "failed"


def test_a_wrong_password_is_named_and_the_right_one_goes_on(member: Booted) -> None:
    path = f"{SECRETS}/registry/config.json"
    right = member.run(f"cat {path}")
    wrong = base64.b64encode(b"argosy:wrong").decode()
    member.run(f"cat > {path}", stdin=json.dumps({"auths": {REGISTRY: {"auth": wrong}}}))
    member.run(f"systemctl start {SYSTEM}-installer", check=False)
    assert f"{REGISTRY} refuses our password" in member.run(f"{SYSTEM} logs -n 5 installer")
    member.run(f"cat > {path}", stdin=right)


def test_the_command_explains_itself(member: Booted) -> None:
    assert f"{SYSTEM} console SERVICE" in member.run(f"{SYSTEM} --help")
    assert "unknown command: walk; try: keel --help" in member.run(f"{SYSTEM} walk", check=False)
    assert "unknown option: --xml" in member.run(f"{SYSTEM} status --xml", check=False)
    assert "Started keel-etcd.service" in member.run(f"{SYSTEM} logs -n 1000 etcd")
    assert "no service 'web' here; known:" in member.run(f"{SYSTEM} shell web", check=False)
    assert "not the name of a service: '../x'" in member.run(f"{SYSTEM} shell ../x", check=False)


def test_a_shell_and_a_console_are_the_service_s_own_words(member: Booted) -> None:
    services = f"/var/lib/{SYSTEM}/services"
    member.run(f"mkdir -p {services}; printf 'printf\\n<%%s>\\na b\\n$HOME\\n' > {services}/etcd.console")
    member.run(f"printf '/bin/sh\\n-c\\nhostname\\n' > {services}/etcd.shell; : > {services}/other.shell")
    assert member.run(f"{SYSTEM} console etcd") == "<a b><$HOME>"
    assert member.run(f"su core -c '{SYSTEM} shell etcd'") == "keel-01\n"
    assert "other has no console" in member.run(f"{SYSTEM} console other", check=False)
    assert "known: etcd other" in member.run(f"{SYSTEM} shell nothing", check=False)


def test_after_a_power_cut_etcd_comes_back_by_itself(member: Booted) -> None:
    member.run(f"/opt/{SYSTEM}/bin/etcdctl put /kept yes")
    subprocess.run(["docker", "kill", member.container], check=True, capture_output=True)
    subprocess.run(["docker", "start", member.container], check=True, capture_output=True)
    assert member.wait(f"/opt/{SYSTEM}/bin/etcdctl get --print-value-only /kept") == "yes\n"
    member.wait(f"systemctl is-active {SYSTEM}-secrets.service")
    assert SYSTEM + "-etcd" not in member.run("systemctl --failed --quiet")


def test_a_machine_that_was_there_before_gets_the_same_files(settings: Settings) -> None:
    machine = Machine("keel-02", "192.168.59.12")
    writing.write(settings, [Machine("keel-01", "192.168.59.11"), machine], quiet, release=RELEASE)
    key = (settings.secrets_path / "ssh" / "id_ed25519.pub").read_text().strip()
    bare = boot(settings, machine, BARE.format(key=json.dumps(key)), settings.root)
    bare.run("echo HTTP_PROXY=http://proxy > /etc/environment; echo '{\"mtu\": 1400}' > /etc/docker/daemon.json")
    before = bare.run(OWNED)
    bare.run("systemctl stop docker.service docker.socket")
    with Hosts(settings, [machine]) as hosts:
        needs = joined(preparing.look(hosts, settings, [machine]))
        assert needs == {"keel-02": Needs(start_docker=True)}
        preparing.install(hosts, settings, needs, quiet)
        assert joined(preparing.look(hosts, settings, [machine])) == {"keel-02": Needs()}
        planned = [str(step) for step in writing.plan_apply(hosts, settings, [machine], release=RELEASE)]
        assert "keel-02: write /etc/keel/machine.env (0644)" in planned
        assert bare.run(f"ls /etc/{SYSTEM}", check=False).endswith("No such file or directory\n")
        done = writing.apply(hosts, settings, [machine], quiet, release=RELEASE)
        assert [f"keel-02: {line}" for line in done["keel-02"].lines()] == planned
        assert writing.plan_apply(hosts, settings, [machine], release=RELEASE) == []
        assert not writing.apply(hosts, settings, [machine], quiet, release=RELEASE)["keel-02"]
    assert bare.state("secrets.path")["SubState"] == "waiting"
    assert bare.state("etcd.service")["UnitFileState"] == "enabled"
    assert json.loads(bare.run("cat /etc/docker/daemon.json"))["mtu"] == 1400
    assert bare.run("cat /etc/environment").startswith("HTTP_PROXY=http://proxy\n")
    assert "inet 172.29.42.1/24" in bare.run("ip -4 address show docker0")
    assert bare.run(f"{SYSTEM} status").startswith("keel-02 (192.168.59.12): waiting")

    with OpenCluster(settings, quiet, machines=[machine]) as opened:
        for _ in range(2):
            clearing.clear(opened, machine, [])
            assert bare.run(OWNED) == before
    assert bare.run(f"systemctl list-unit-files --no-legend '{SYSTEM}-*'", check=False) == ""


@pytest.mark.parametrize("name", ["debian.yaml", "ubuntu.yaml"])
def test_cloud_init_s_own_validator_finds_nothing_to_say(settings: Settings, name: str) -> None:
    command = ["cloud-init", "schema", "--config-file", f"/golden/{name}"]
    image = machine_image(settings.build.suite)
    argv = ["docker", "run", "--rm", f"--volume={GOLDEN}:/golden:ro", image, *command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    # Debian 12's says "Valid cloud-config: ", 13's "Valid schema ".
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"Valid [a-z-]+:? /golden/{re.escape(name)}\n", done.stdout)
