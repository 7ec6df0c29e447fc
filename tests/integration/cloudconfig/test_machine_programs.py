"""The programs of a machine, run by this host's shell with their folders moved to a temporary one."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from machine_programs import Place

from argosy_installer.systemd import PROPERTIES


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def bare(place: Place) -> Place:
    """A machine on which nothing is installed but what every one has."""
    for program in place.path("/undeclared").iterdir():
        program.unlink()
    return place


# check-secrets


def bring(place: Place, *without: str) -> Path:
    for name in (place.root / "etc/air/required-secrets").read_text().split():
        if name not in without:
            place.write(f"/etc/air/secrets/{name}", "x")
    return place.write("/etc/air/secrets/.complete", "")


def test_complete_secrets_pass_in_silence(place: Place) -> None:
    marker = bring(place)
    result = place.do("check-secrets")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert marker.exists()


def test_what_is_missing_or_empty_is_named_and_the_marker_goes(place: Place) -> None:
    marker = bring(place, "ca.crt")
    place.write("/etc/air/secrets/api.key", "")
    assert place.do("check-secrets", "--list").stdout == "api.key\nca.crt\n"
    assert marker.exists()
    result = place.do("check-secrets")
    assert result.returncode == 1
    assert result.stderr.startswith(f"secrets are missing in {place.root}/etc/air/secrets: api.key ca.crt\n")
    assert not marker.exists()


def test_everything_is_missing_before_the_first_upload(place: Place) -> None:
    assert len(place.do("check-secrets", "--list").stdout.split()) == 10


# service-settings


def answer(**values: str) -> str:
    """Return what `etcdctl get --write-out=json` prints; it leaves out an empty value."""

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    pairs = [
        {"key": encoded(f"/settings/{key}"), "create_revision": 2, "version": 1}
        | ({"value": encoded(value)} if value else {})
        for key, value in values.items()
    ]
    return json.dumps({"header": {"revision": 9}, "kvs": pairs, "count": len(pairs)}, separators=(",", ":"))


def etcd_answers(place: Place, text: str, code: int = 0) -> None:
    place.write("/answer", text)
    place.write("/opt/air/bin/etcdctl", f"#!/bin/sh\ncat {place.root}/answer\nexit {code}\n", 0o755)


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        " ",
        "a=b",
        '"quoted"',
        "$HOME `id` $(id)",
        "back\\slash\\n",
        "ünïcödé 🚢",
        "trailing ",
        "x" * 5000,
        "%s%n",
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_value_arrives_byte_for_byte(place: Place, value: str) -> None:
    etcd_answers(place, answer(first="1", wanted=value, last="2"))
    result = place.do("service-settings", "web", "WANTED=wanted", "LAST=last")
    assert (result.returncode, result.stderr) == (0, "")
    path = place.root / "run/air/web.env"
    assert path.read_bytes() == f"WANTED={value}\nLAST=2\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("value", "message"),
    [("a\nb", "has a line break"), ("a\n", "has a line break"), ("a\r", "has a line break"), (None, "etcd has no key")],
)
def test_a_value_that_cannot_be_written_leaves_the_file_as_it_was(
    place: Place, value: str | None, message: str
) -> None:
    before = place.write("/run/air/web.env", "OLD=1\n")
    etcd_answers(place, answer(other="1", **({"wanted": value} if value else {})))
    result = place.do("service-settings", "web", "OTHER=other", "WANTED=wanted")
    assert result.returncode == 1
    assert result.stderr.startswith("settings of web: ")
    assert message in result.stderr
    assert "/settings/wanted (for WANTED)" in result.stderr
    assert before.read_text() == "OLD=1\n"
    assert [path.name for path in before.parent.iterdir()] == ["web.env"]


def test_a_key_is_not_taken_for_another_that_begins_like_it(place: Place) -> None:
    etcd_answers(place, answer(wanted2="2"))
    assert "etcd has no key /settings/wanted " in place.do("service-settings", "web", "A=wanted").stderr


def test_an_etcd_that_does_not_answer_is_given_up_on_at_the_deadline(place: Place) -> None:
    etcd_answers(place, "", code=1)
    result = place.do("service-settings", "web", "A=b", SETTINGS_DEADLINE_SECONDS="1")
    assert result.returncode == 1
    assert result.stderr == "settings of web: etcd does not answer; see: air etcdctl endpoint health\n"


def test_a_service_without_settings_does_not_ask_etcd(place: Place) -> None:
    etcd_answers(place, "", code=1)
    assert place.do("service-settings", "web").returncode == 0
    assert (place.root / "run/air/web.env").read_text() == ""


@pytest.mark.parametrize(
    "words", [(), ("",), ("../x",), ("web", "A"), ("web", "=b"), ("web", "1A=b"), ("web", "A-B=c"), ("web", "A=")]
)
def test_bad_arguments_get_the_usage(place: Place, words: tuple[str, ...]) -> None:
    result = place.do("service-settings", *words)
    assert (result.returncode, result.stderr.split(":")[0]) == (2, "usage")


# etcdctl


def test_etcdctl_asks_the_local_member_by_exec_and_the_others_by_run(place: Place) -> None:
    said = 'case $1 in inspect) echo "$RUNNING" ;; image) exit 0 ;; *) echo "$@" ;; esac'
    place.program("docker", said)
    local = place.do("etcdctl", "get", "a b", RUNNING="true").stdout
    assert local.startswith("exec --interactive air-etcd etcdctl --endpoints=https://127.0.0.1:2379 --cacert=")
    assert local.endswith("get a b\n")
    other = place.do("etcdctl", "get", "x", RUNNING="false").stdout
    assert other.startswith("run --rm --interactive --network host")
    assert "--endpoints=https://192.168.55.101:2379,https://192.168.55.102:2379" in other
    chosen = place.do("etcdctl", "--endpoints=https://10.0.0.1:2379", "get", "x", RUNNING="true").stdout
    assert chosen.count("--endpoints") == 1


# make-swap


def test_a_swap_file_is_made_once_and_anew_for_another_size(place: Place) -> None:
    place.program("swapon", f'echo "on $1" >> {place.root}/said')
    place.program("swapoff", "exit 1")
    path = place.root / "var/lib/air/swapfile"
    assert place.do("make-swap", "2").returncode == 0
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (2 << 20, 0o600)
    assert b"SWAPSPACE2" in path.read_bytes()
    first = path.stat().st_ino
    assert place.do("make-swap", "2").returncode == 0
    assert path.stat().st_ino == first
    assert place.do("make-swap", "3").returncode == 0
    assert path.stat().st_size == 3 << 20
    assert (place.root / "said").read_text() == f"on {path}\n" * 3


# The command


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_the_command_has_help(place: Place, words: tuple[str, ...]) -> None:
    result = place.do("air", *words)
    assert result.returncode == 0
    assert "air shell SERVICE" in result.stdout


@pytest.mark.parametrize(("words", "code"), [((), 2), (("walk",), 2)])
def test_the_command_refuses_what_it_does_not_know(place: Place, words: tuple[str, ...], code: int) -> None:
    assert place.do("air", *words).returncode == code


def test_status_is_the_installer_s_when_it_is_there(place: Place) -> None:
    place.program("id", "echo 0")
    bring(place)
    place.program(
        "docker", 'case $1 in image) exit 0 ;; run) for word; do last=$word; done; echo "asked: $last" ;; esac'
    )
    assert place.do("air", "status", "--json").stdout == "asked: --json\n"
    place.program("docker", "exit 1")
    place.program("systemctl", "exit 1")
    assert json.loads(place.do("air", "status", "--json").stdout)["state"] == "installing"
    place.program("systemctl", "exit 0")
    assert json.loads(place.do("air", "status", "--json").stdout)["state"] == "failed"


def test_the_agent_is_sent_what_the_installer_reads_of_units(place: Place) -> None:
    command = (place.root / "opt/air/bin/air").read_text()
    assert f"systemctl show --property={','.join(PROPERTIES)} -- " in command


GETENT = """[ "$1" = ahostsv4 ] || exit 9
case $2 in
    web.local) echo "172.17.42.1     STREAM web.local"; echo "172.17.42.1     DGRAM"; echo "172.17.42.2     STREAM" ;;
    slow.local) exit 124 ;;
    *) exit 2 ;;
esac"""


def test_facts_are_the_installer_s_and_what_names_resolve_to(place: Place) -> None:
    place.program("id", "echo 0")
    place.program("docker", 'case $1 in image) exit 0 ;; run) echo "{\\"asked\\": \\"$*\\"}" ;; esac')
    place.program("getent", GETENT)
    names = ("web.local", "none.local", "slow.local", "later.local")
    first, second = place.do("air", "facts", *names).stdout.splitlines()
    assert json.loads(second) == {
        "names": {"web.local": ["172.17.42.1", "172.17.42.2"], "none.local": [], "slow.local": []}
    }
    assert json.loads(first)["asked"].endswith(" facts")
    assert "/run/router" not in first
    (place.root / "run/air/router").mkdir(parents=True)
    first, second = place.do("air", "facts").stdout.splitlines()
    assert f" --volume {place.root}/run/air/router:/run/router:ro " in json.loads(first)["asked"]
    assert json.loads(second) == {"names": {}}


@pytest.mark.parametrize("name", ["", "-v", "a b", "a;b", "$(id)"])
def test_facts_refuse_what_is_no_host_name(place: Place, name: str) -> None:
    place.program("id", "echo 0")
    result = place.do("air", "facts", "web.local", name)
    assert (result.returncode, result.stdout) == (2, "")
    assert "not a host name" in result.stderr


def test_facts_end_with_the_installer_s_status_where_there_is_none(place: Place) -> None:
    place.program("id", "echo 0")
    place.program("docker", "exit 1")
    result = place.do("air", "facts", "web.local")
    assert (result.returncode, result.stdout) == (69, "")


def test_an_upgrade_s_release_wins_over_the_first_one(place: Place) -> None:
    place.write("/var/lib/air/release.env", "RELEASE_VERSION=0.2.0\nRELEASE_IMAGE=registry/air/installer@sha256:2\n")
    place.program("docker", 'case $1 in image) echo "$@" >&2; exit 0 ;; run) echo "$@" ;; esac')
    assert "RELEASE_VERSION=0.2.0" in place.do("installer", "status").stdout
    assert "registry/air/installer@sha256:2 install" in place.do("installer", "install").stdout


PULL = """case $1$2 in
    imageinspect) exit 1 ;;
    info*) echo / ;;
    version*) echo 1.44 ;;
    --config*) echo "Docker says no" >&2; exit 1 ;;
esac"""


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ("401", 1, "192.168.55.1:5000 refuses our password; bring the right one: inv cluster.upload-secrets"),
        (
            r'{"message":"Get x: unauthorized: authentication required"}\n\n500',
            1,
            "192.168.55.1:5000 refuses our password",
        ),
        (r'{"message":"Get x: no such host"}\n\n500', 75, "Docker says no"),
        ("404", 1, "192.168.55.1:5000 does not have it; upload it (inv registry.push), then: systemctl start"),
        ("500", 75, "Docker says no"),
        ("000", 75, "Docker says no"),
    ],
)
def test_a_pull_is_tried_again_only_where_that_may_help(place: Place, status: str, code: int, message: str) -> None:
    login = base64.b64encode('argosy:pa"ss\\wörd'.encode()).decode()
    auths = {name: {"auth": login} for name in ("r", "registry.local:8443")}
    place.write("/etc/air/secrets/registry/config.json", json.dumps({"auths": auths}, indent=2))
    place.program("docker", PULL)
    place.program("curl", f'cat > {place.root}/asked; printf "%s " "$@" > {place.root}/argv; printf \'{status}\'')
    result = place.do("installer", "install")
    assert result.returncode == code
    assert message in result.stderr
    header = (place.root / "asked").read_text().split('"')[1].removeprefix("X-Registry-Auth: ")
    said = json.loads(base64.urlsafe_b64decode(header))
    assert said == {"username": "argosy", "password": 'pa"ss\\wörd', "serveraddress": "192.168.55.1:5000"}
    assert login not in (place.root / "argv").read_text()


@pytest.mark.parametrize("status", ["200", "404", "000"])
def test_what_the_registry_answers_about_an_image_can_be_asked(place: Place, status: str) -> None:
    place.write("/etc/air/secrets/registry/config.json", '{"auths": {"r": {"auth": "YTpi"}}}')
    place.program("docker", "case $1 in version) echo 1.44 ;; *) exit 9 ;; esac")
    place.program("curl", f'echo "$@" > {place.root}/argv; printf {status}')
    result = place.do("pull-image", "--ask", "192.168.55.1:5000/air/installer@sha256:2")
    assert (result.returncode, result.stdout) == (0, status)
    assert "http://docker/v1.44/distribution/192.168.55.1:5000/air/installer@sha256:2/json" in (
        (place.root / "argv").read_text()
    )


def test_about_an_image_an_engine_that_is_down_says_nothing(place: Place) -> None:
    place.program("docker", "echo 1.41; exit 1")
    result = place.do("pull-image", "--ask", "192.168.55.1:5000/air/installer@sha256:2")
    assert (result.returncode, result.stdout) == (0, "000")


def test_another_release_is_brought_without_an_install(place: Place) -> None:
    place.program("docker", 'case $1 in image) exit 0 ;; run) echo "$@" ;; *) echo "docker $*" >&2; exit 9 ;; esac')
    result = place.do("installer", "pull", "0.2.0", "registry/air/installer@sha256:2")
    assert result.returncode == 0, result.stderr
    assert "--env RELEASE_VERSION=0.2.0 --env RELEASE_IMAGE=registry/air/installer@sha256:2" in result.stdout
    assert result.stdout.endswith(" registry/air/installer@sha256:2 pull\n")
    assert place.do("installer", "pull").returncode == 2


def test_a_full_disk_is_named(place: Place) -> None:
    place.program("docker", PULL)
    place.program("df", "echo Avail; echo 12M")
    result = place.do("installer", "install")
    assert result.returncode == 1
    assert "only 12 MB are free in /; make room, then: systemctl start air-installer\n" in result.stderr


def test_a_docker_that_does_not_answer_is_asked_again(place: Place) -> None:
    place.program("docker", "exit 1")
    assert place.do("installer", "install").returncode == 75


# What is missing


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (("pull-image", "192.168.55.1:5000/air/installer@sha256:2"), "docker"),
        (("pull-image", "192.168.55.1:5000/air/installer@sha256:2"), "curl"),
        (("pull-image", "--ask", "192.168.55.1:5000/air/installer@sha256:2"), "curl"),
        (("installer", "install"), "docker"),
        (("installer", "status"), "docker"),
        (("installer", "facts"), "docker"),
        (("etcdctl", "get", "x"), "docker"),
        (("air", "shell", "web"), "docker"),
    ],
    ids=" ".join,
)
def test_a_missing_program_is_named_and_never_taken_for_a_passing_fault(
    bare: Place, words: tuple[str, ...], lacks: str
) -> None:
    if lacks != "docker":
        bare.program("docker", "exit 1")
    bare.write("/var/lib/air/services/web.shell", "/bin/sh\n")
    result = bare.do(*words)
    assert (result.returncode, result.stdout) == (127, "")
    assert result.stderr.endswith(f"this machine has no program {lacks}: install it, then run the same again\n")


def test_settings_are_not_waited_for_where_a_program_is_missing(bare: Place) -> None:
    result = bare.do("service-settings", "web", "A=b", SETTINGS_DEADLINE_SECONDS="600")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "etcdctl: this machine has no program docker: install it, then run the same again",
        "settings of web: a program that asks etcd is missing on this machine, see above",
    ]
