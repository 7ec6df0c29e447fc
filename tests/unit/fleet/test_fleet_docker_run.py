"""`docker run`: its command line as Docker reads it, and what each option becomes."""

from __future__ import annotations

import subprocess

import pytest
from unit_examples import notes, refusals, service

from argosy.fleet.docker_run import DROPPED, REFUSED, SETTINGS, TRANSLATIONS
from argosy.fleet.options import SYNTAX
from argosy.fleet.quantities import parse_go_duration, parse_megabytes, parse_time_span
from argosy.fleet.reading import parse_container
from argosy.fleet.words import Word

RUN = SYNTAX["docker run"]


def parse(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    found = parse_container([Word(word, 1) for word in text.split()], 1)
    return [(option.name, option.text) for option in found.options], [
        found.image.text,
        *(word.text for word in found.command),
    ]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("--name web x", [("name", "web")]),
        ("--name=web x", [("name", "web")]),
        ("-p 80:80 x", [("publish", "80:80")]),
        ("-p80:80 x", [("publish", "80:80")]),
        ("-p=80:80 x", [("publish", "80:80")]),
        ("-itd x", [("interactive", "true"), ("tty", "true"), ("detach", "true")]),
        ("-dp 80:80 x", [("detach", "true"), ("publish", "80:80")]),
        ("-dp80:80 -P x", [("detach", "true"), ("publish", "80:80"), ("publish-all", "true")]),
        ("--rm=false -t=false x", [("rm", "false"), ("tty", "false")]),
        ("--net host x", [("network", "host")]),
        ("-name web -rm -link a:b x", [("name", "web"), ("rm", "true"), ("link", "a:b")]),
        ("-- x", []),
        ("x", []),
    ],
)
def test_options_are_read_as_docker_reads_them(text: str, options: list[tuple[str, str]]) -> None:
    assert parse(text) == (options, ["x"])


def test_what_follows_the_image_is_its_command() -> None:
    assert parse("-d x -d --name y") == ([("detach", "true")], ["x", "-d", "--name", "y"])


@pytest.mark.parametrize("text", ["", "--name", "-p", "-dZ x", "--nosuch x", "--nosuch=1 x", "--rm", "-z x"])
def test_what_docker_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"docker('s option \S+ has no value| knows no option| run names no image)"):
        parse(text)


def test_every_option_has_its_fate() -> None:
    known = {*RUN.flags, *RUN.valued}
    assert not {*RUN.flags} & {*RUN.valued}
    for name in known - {"link"}:
        assert sum(name in kind for kind in (DROPPED, REFUSED, SETTINGS, TRANSLATIONS)) == 1, name
    assert {name.partition("=")[0] for name in (*DROPPED, *REFUSED, *SETTINGS, *TRANSLATIONS)} <= known
    assert {*RUN.names.values()} <= known
    assert {*RUN.dashed} <= known | {*RUN.names}


def test_dockers_own_options_are_known() -> None:
    try:
        shown = subprocess.run(["docker", "run", "--help"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Docker's client is not installed")
    words = [line.split() for line in shown.splitlines() if line.startswith(("  -", "      --"))]
    names = {word.strip(",").removeprefix("--") for line in words for word in line[:2] if word.startswith("--")}
    assert len(names) > 80
    later = {"annotation", "io-maxbandwidth", "io-maxiops", "use-api-socket"}
    assert names - {*RUN.flags, *RUN.valued, *RUN.names} - later == set()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-e A=1 -e 'B=two words' --env C=", {"env": {"A": "1", "B": "two words", "C": ""}}),
        ("-m 512m", {"memory_megabytes": 512}),
        ("--memory=1.5g --memory-reservation 256M", {"memory_megabytes": 1536, "reserve": {"memory_megabytes": 256}}),
        ("-m 1000000", {"memory_megabytes": 1}),
        ("--cpus 1.5", {"cpus": 1.5}),
        ("--cpus=.5", {"cpus": 0.5}),
        ("--cpu-quota 50000", {"cpus": 0.5}),
        ("--cpu-period 50000 --cpu-quota 50000", {"cpus": 1.0}),
        ("-v /a:/b -v data:/c:ro -v /d:/e:ro,z", {"volumes": [
            {"source": "/a", "target": "/b"}, {"source": "data", "target": "/c", "read_only": True},
            {"source": "/d", "target": "/e", "read_only": True}]}),
        ("-v /anonymous", {}),
        ("-v /proc/:/host/proc/:ro", {"volumes": [{"source": "/proc/", "target": "/host/proc/", "read_only": True}]}),
        ("--mount type=bind,src=/a,dst=/b,readonly --mount source=v,target=/c", {"volumes": [
            {"source": "/a", "target": "/b", "read_only": True}, {"source": "v", "target": "/c"}]}),
        ("--entrypoint /bin/app", {"entrypoint": ["/bin/app"]}),
        ("--stop-signal SIGQUIT --stop-timeout 40", {"stop": {"signal": "QUIT", "grace_seconds": 40}}),
        ("--restart on-failure:5", {"restart": {"condition": "on-failure", "attempts": 5}}),
        ("--restart=unless-stopped", {}),
        ("--health-cmd 'curl -f localhost' --health-timeout 1m --health-interval 5s", {"check": {
            "command": ["/bin/sh", "-c", "curl -f localhost"], "timeout_seconds": 60}}),
        ("-p 8080:80", {"ports": ["8080:80"], "update": {"order": "stop-first"}}),
        ("-p 53:53/udp -p 5000-5001:6000-6001", {
            "ports": ["53:53/udp", "5000:6000", "5001:6001"], "update": {"order": "stop-first"}}),
        ("-p 10.0.0.1:8080:80", {"ports": ["8080:80"], "update": {"order": "stop-first"}}),
        ("-p 80", {"discovery": {"port": 80}}),
        ("-p 0:80", {"discovery": {"port": 80}}),
        ("--expose 80 -P", {"discovery": {"port": 80}}),
        ("-p 80:8000", {"discovery": {"port": 8000, "scheme": "http"}}),
        ("--net bridge --rm -dit --name x --privileged=false", {}),
        ("--privileged=0 --read-only=F -P=false --expose 80", {}),
        ("--tmpfs /tmp --dns 8.8.8.8 -l a=b -h x --ulimit=false", {}),
    ],
)  # fmt: skip
def test_options_become_keys(options: str, expected: dict[str, object]) -> None:
    result = service(f"/usr/bin/docker run {options} x:1", "")
    assert refusals(result) == []
    assert result.services["web"] == {"image": "x:1"} | expected


@pytest.mark.parametrize(
    "option",
    [
        "--privileged", "--net host", "--net container:x", "--network none", "--network mine", "--cap-add NET_ADMIN",
        "--cap-drop ALL", "--device /dev/x", "--security-opt x", "--volumes-from x", "--env-file /x", "-u app", "-w /x",
        "--read-only", "--ulimit nofile=1", "--pid host", "--ipc host", "--uts host", "--add-host a:1.2.3.4",
        "--link x:y", "-p 127.0.0.1:80:80", "-p 443:443", "-p 2379:2379", "-p 4789:1/udp", "-p a:b", "-p 70000:1",
        "-p 80/sctp", "-p 1-3:1-2", "-p x.y::80", "-m lots", "-m 0x10", "--cpus many", "--restart sometimes",
        "-v a:b:c:d", "-v ./x:/y", "-v a:b", "-v /a:/b:slave",
        "--mount type=cluster,source=x,target=/y", "--entrypoint=", "--stop-timeout soon", "--stop-signal ?!",
        "-e 1A=2", "-e app.url=${URL}", "-e =2", "--expose x", "--health-timeout 1 --health-cmd x",
    ],
)  # fmt: skip
def test_what_no_definition_says_is_refused_with_its_line(option: str) -> None:
    result = service(f"/usr/bin/docker run --rm \\\n  {option} \\\n x:1", name="web@.service")
    assert result.services == {}
    assert {line for line, _ in refusals(result)} == {3}


def test_one_option_of_each_line_is_named() -> None:
    result = service("/usr/bin/docker run \\\n--rm \\\n--privileged \\\n# why\n--pid=host x:1")
    assert [(line, reason.split(":")[0]) for line, reason in refusals(result)] == [(4, "--privileged"), (6, "--pid")]


@pytest.mark.parametrize(
    ("image", "written"),
    [
        ("busybox", "busybox:latest"),
        ("a/b", "a/b:latest"),
        ("r.example:5000/a/b", "r.example:5000/a/b:latest"),
        ("r.example:5000/a/b:1", "r.example:5000/a/b:1"),
        ("a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
    ],
)
def test_an_image_gets_a_tag_so_that_it_is_none_of_ours(image: str, written: str) -> None:
    assert service(f"/usr/bin/docker run {image}").services["web"]["image"] == written


@pytest.mark.parametrize("image", ["UPPER//x", "${IMAGE}", "x:1:2:3/@"])
def test_an_image_that_is_none_is_refused(image: str) -> None:
    result = service(f"/usr/bin/docker run {image}", "EnvironmentFile=/etc/image")
    assert len(refusals(result)) == 1


def test_variables_come_from_the_units_environment() -> None:
    result = service("/usr/bin/docker run -e A -e B -e C=${D} -e E=$D x:1", "Environment=A=1 D=2")
    assert result.services["web"]["env"] == {"A": "1", "C": "2", "E": "$D"}
    assert (2, "--env B dropped: nothing sets it") in notes(result)


@pytest.mark.parametrize(
    ("options", "left", "what"),
    [
        ("-e A=1 -e ID=%i", {"env": {"A": "1"}}, "--env ID left out: %i differs between the instances"),
        ("-e X=%%i%H", {}, "--env X left out: %H is known on the machine only"),
        ("-e X=http://${IP}:80", {}, "--env X left out: ${IP} is set on the machine only"),
        ("-e X=${HOSTNAME}", {}, "--env X left out: ${HOSTNAME} is known on the machine only: the program can read"),
        ("-e IP", {}, "--env IP left out: ${IP} is set on the machine only"),
        ("-e ${IP}", {}, "--env left out: ${IP} is set on the machine only"),
        ("-v /data/%i:/data -v /a:/b", {"volumes": [{"source": "/a", "target": "/b"}]}, "--volume left out: %i"),
        ("-p 8080:${PORT}", {}, "--publish left out: ${PORT}"),
        ("--expose ${PORT}", {}, "--expose left out: ${PORT}"),
        ("-m ${MEMORY}", {}, "--memory left out: ${MEMORY}"),
        ("--cpus=%i", {}, "--cpus left out: %i"),
        ("--restart ${RESTART}", {}, "--restart left out: ${RESTART}"),
        ("--stop-timeout ${TIME}", {}, "--stop-timeout left out: ${TIME}"),
    ],
)  # fmt: skip
def test_what_only_the_machine_knows_is_left_out_with_a_note(options: str, left: dict[str, object], what: str) -> None:
    lines = "Restart=always\nEnvironmentFile=/etc/environment"
    result = service(f"/usr/bin/docker run {options} x:1", lines, "web@.service")
    assert refusals(result) == []
    assert result.services["web"] == {"image": "x:1", "replicas": 1} | left
    assert [line for line, reason in notes(result) if reason.startswith(what)] == [2]


def test_what_is_said_of_a_folder_is_true_where_it_is_mounted() -> None:
    folders = "-v /sys/fs/cgroup/:/cgroup -v /data:/data"
    stays = "what is in it stays when the instance moves, unless a constraint (machine=NAME) keeps it there"
    there = "/data has to be there on the machine: Swarm makes no folder"
    assert notes(service(f"/usr/bin/docker run {folders} x:1")) == [(2, f"{there}; {stays}")]
    everywhere = service(f"/usr/bin/docker run {folders} x:1", "Restart=always\n[X-Fleet]\nGlobal=true")
    assert notes(everywhere) == [(2, there)]


def test_a_command_that_nobody_knows_is_left_out_as_a_whole() -> None:
    result = service("/usr/bin/docker run x:1 rm -r /data/%i now", name="web@.service")
    assert result.services["web"] == {"image": "x:1", "replicas": 1}
    why = "%i differs between the instances of one definition: the program can read ARGOSY_SLOT (1, 2, ...)"
    assert (2, f"the command 'rm -r /data/%i now' left out: {why}") in notes(result)


def test_a_tag_that_nobody_knows_is_the_latest_with_a_note() -> None:
    result = service("/usr/bin/docker run r.example:5000/a/b:${TAG}", "Restart=always\nEnvironmentFile=/etc/image")
    assert result.services["web"] == {"image": "r.example:5000/a/b:latest"}
    why = "the tag ${TAG} is known on the machine only, so it is :latest: name the version that you want"
    assert notes(result) == [(2, why)]


@pytest.mark.parametrize(
    ("text", "megabytes"), [("512m", 512), ("1g", 1024), ("1", 1), ("2097152b", 2), ("1.5GiB", 1536), (".5g", 512)]
)
def test_sizes(text: str, megabytes: int) -> None:
    assert parse_megabytes(text) == megabytes


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "9" * 50, "1e3", "٣m"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_megabytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1min 30s", 90), ("2h", 7200), ("100ms", 0.1), ("1d1h", 90000)]
)
def test_time_spans(text: str, seconds: float) -> None:
    assert parse_time_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "1 fortnight", "-1", "9" * 400, "1s x"])
def test_what_is_no_time_span(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time_span(text)


def test_durations() -> None:
    assert parse_go_duration("1m30.5s") == 90.5
    assert parse_go_duration(".5s") == 0.5
    with pytest.raises(ValueError, match="is not a time"):
        parse_go_duration("30")
