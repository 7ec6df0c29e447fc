"""Unit files become definitions: golden files of realistic ones, and what belongs together.

Write the golden files anew by: ARGOSY_UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/fleet/test_fleet_import.py
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from unit_examples import KNOWN, examples, imported, notes, outcome, refusals, service

from argosy.config.scheduled import ScheduledSettings
from argosy.fleet.importing import import_units
from argosy.fleet.report import COLUMNS, render_services, rows, to_json

GOLDEN = Path(__file__).parent / "golden"
RUN = "[Service]\nRestart=always\nExecStart=/usr/bin/docker run --name {} {} example/{}:1\n"
REGISTER = "[Unit]\nBindsTo={}\n[Service]\nExecStart=/bin/sh -c '{}'\n"


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_examples_become_the_definitions_of_the_golden_file() -> None:
    check_golden("services.yaml", render_services(import_units(examples(), KNOWN)))


def test_what_became_of_each_example_stands_in_the_golden_file() -> None:
    lines = [" | ".join(row).rstrip() for row in [list(COLUMNS), *rows(import_units(examples(), KNOWN))]]
    check_golden("outcomes.txt", "\n".join(lines) + "\n")


def test_the_definitions_are_valid_and_read_again_they_are_the_same() -> None:
    result = import_units(examples(), KNOWN)
    read = yaml.safe_load(render_services(result))["scheduled"]
    assert read == {name: dict(service) for name, service in result.services.items()}
    assert len(read) == 11
    for name, definition in read.items():
        assert ScheduledSettings.model_validate(definition).image.startswith(definition["image"]), name


def test_json_holds_every_file_with_its_remarks() -> None:
    result = import_units(examples(), KNOWN)
    found = to_json(result)
    assert [unit["unit"] for unit in found["units"]] == list(examples())
    assert {unit["became"] for unit in found["units"]} == {"service", "part of", "refused"}
    vpn = next(unit for unit in found["units"] if unit["unit"] == "vpn.service")
    assert {refusal["line"] for refusal in vpn["refusals"]} == {6, 7}
    assert found["services"]["database"]["constraints"] == ["machine=air-03"]


def test_nothing_is_an_empty_document() -> None:
    assert yaml.safe_load(render_services(imported({}))) == {"scheduled": {}}


def test_instances_of_a_template_are_one_service() -> None:
    text = RUN.format("web-%i", "", "web")
    result = imported({"web@1.service": text, "web@2.service": text, "web@.service": text})
    assert result.services == {"web": {"image": "example/web:1", "replicas": 2}}
    assert [(outcome.became, outcome.service) for outcome in result.outcomes] == [("service", "web")] * 3


def test_an_instance_that_differs_is_refused_with_its_line() -> None:
    text = RUN.format("web-%i", "", "web")
    result = imported({"web@.service": text, "web@1.service": text, "web@2.service": text.replace(":1", ":2")})
    assert result.services["web"]["replicas"] == 1
    assert refusals(result) == [(3, "it differs from web@.service: the instances of a service are alike")]


def test_a_template_alone_says_that_nobody_says_how_many() -> None:
    result = imported({"web@.service": RUN.format("web-%i", "", "web")})
    assert result.services["web"]["replicas"] == 1
    assert (0, "no file says how many instances there are: replicas does") in notes(result)


def test_instances_with_names_are_told_that_they_become_numbers() -> None:
    text = RUN.format("web-%i", "", "web")
    result = imported({"web@blue.service": text, "web@green.service": text})
    assert result.services["web"]["replicas"] == 2
    assert (0, "its instances are numbered from 1 on, not named blue, green") in notes(result)


@pytest.mark.parametrize(
    ("key", "registered"),
    [
        ("etcdctl set /services/web/hosts/1 $IP:8080", {"port": 80}),
        ("etcdctl --peers http://10.0.0.1:4001 mk --ttl 60 services/web/hosts/1 1.2.3.4:8080", {"port": 80}),
        ("etcdctl -C http://10.0.0.1:4001 set /services/web/x {\"port\":8080}", {"port": 80}),
        ("etcdctl set /services/web/hosts/1 $(docker inspect web):80", {"port": 80}),
        ("etcdctl set /services/web/hosts/1 h:$(docker port web 80 | cut -d: -f2)", {"port": 80}),
        ("curl -L http://127.0.0.1:2379/v2/keys/services/web/hosts/1 -XPUT -d value=1.2.3.4:8080", {"port": 80}),
        ("curl -X PUT -d value=1.2.3.4:8080 http://127.0.0.1:2379/v2/keys/services/web/hosts/1?ttl=5", {"port": 80}),
        ("etcdctl set /services/web/scheme tcp; etcdctl set /services/web/host_port 90; "
         "etcdctl set /services/web/sni a.b,c.d; etcdctl set /services/web/private 1; "
         "etcdctl set /services/web/check none; etcdctl set /services/web/hosts/1 $IP:8080",
         {"port": 80, "scheme": "tcp", "host_port": 90, "private": True, "sni": ["a.b", "c.d"], "check": "none"}),
    ],
)  # fmt: skip
def test_a_sidekick_becomes_discovery(key: str, registered: dict[str, object]) -> None:
    script = f"while true; do {key}; sleep 45; done".replace('"', '\\\\"')
    result = imported(
        {
            "web.service": RUN.format("web", "-p 8080:80", "web"),
            "anything.service": REGISTER.format("web.service", script).replace(
                "[Service]", "[Service]\nEnvironmentFile=-/e"
            ),
        }
    )
    assert refusals(result) == []
    assert result.services["web"]["discovery"] == registered
    assert outcome(result, "anything.service").became == "part of"


@pytest.mark.parametrize(
    "binding", ["[Unit]\nPartOf=web@%i.service", "[Unit]\nAfter=web@%i.service", "[X-Fleet]\nMachineOf=web@%i.service"]
)
def test_a_sidekick_is_known_by_what_binds_it(binding: str) -> None:
    result = imported(
        {
            "web@.service": RUN.format("web-%i", "-p 80", "web"),
            "x@.service": f"{binding}\n[Service]\nExecStart=/usr/bin/etcdctl set /services/web/hosts/%i 1.2.3.4:80\n",
        }
    )
    assert outcome(result, "x@.service").service == "web"


def test_where_nothing_binds_it_its_name_does() -> None:
    registers = "[Service]\nExecStart=/usr/bin/etcdctl set /services/shop/hosts/%i 1.2.3.4:80\n"
    result = imported({"web@.service": RUN.format("w", "-p 80", "web"), "web-sk@.service": registers})
    assert outcome(result, "web-sk@.service").service == "shop"
    assert list(result.services) == ["shop"]


def test_a_sidekick_of_nothing_that_is_imported_is_refused() -> None:
    result = imported({"x.service": REGISTER.format("web.service", "etcdctl set /services/web/hosts/1 1.2.3.4:80")})
    assert refusals(result) == [(4, "it registers a unit that is not imported: give both files together")]


def test_a_registration_falls_with_its_service() -> None:
    result = imported(
        {
            "web.service": RUN.format("web", "--privileged", "web"),
            "x.service": REGISTER.format("web.service", "etcdctl set /services/web/hosts/1 1.2.3.4:80"),
        }
    )
    assert result.services == {}
    assert refusals(result)[-1] == (0, "it registers web.service, which is refused")


def test_a_service_has_one_name() -> None:
    script = "etcdctl set /services/web/hosts/1 1.2.3.4:80; etcdctl set /services/admin/hosts/1 1.2.3.4:81"
    result = imported(
        {"web.service": RUN.format("web", "-p 80:80", "web"), "x.service": REGISTER.format("web.service", script)}
    )
    assert refusals(result) == [(4, "a service has one name, here web: admin is another's")]
    assert result.services["web"]["discovery"] == {"port": 80}


def test_of_several_ports_the_registered_one_must_be_known() -> None:
    script = "etcdctl set /services/web/hosts/1 somewhere"
    result = imported(
        {"web.service": RUN.format("web", "-p 80 -p 81", "web"), "x.service": REGISTER.format("web.service", script)}
    )
    assert [line for line, _ in refusals(result)] == [4]
    assert "write discovery.port yourself" in refusals(result)[0][1]


def test_keys_that_nobody_reads_are_noted() -> None:
    script = "etcdctl set /vulcand/upstreams/web/1 http://1.2.3.4:8080; etcdctl set /announce/web up"
    result = imported(
        {"web.service": RUN.format("web", "-p 8080:80", "web"), "x.service": REGISTER.format("web.service", script)}
    )
    assert result.services["web"]["discovery"] == {"port": 80}
    assert [reason for _, reason in notes(result) if "is not written any more" in reason] == [
        "/announce/web is not written any more",
        "/vulcand/upstreams/web/1 is not written any more: discovery has the endpoint",
    ]


@pytest.mark.parametrize("value", ["117", "12:30:59", "shop/web:117", "r.example:5000/shop/web:117", "1.2.3", "up"])
def test_a_number_at_a_key_of_ones_own_is_not_an_endpoint(value: str) -> None:
    start = RUN.format("web", "-p 8080:80", "web")
    result = imported({"web.service": f"{start}ExecStartPost=/usr/bin/etcdctl set /deploys/web/build {value}\n"})
    assert result.services["web"]["ports"] == ["8080:80"]
    assert (4, "/deploys/web/build is not written any more") in notes(result)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("/app/web/port", "8080"),
        ("/app/web", "10.0.0.1:8080"),
        ("/app/web", "http://web:8080/"),
        ("/app/web", "%H:8080"),
        ("/app/web", "[fe80::1]:8080"),
        ("/services/web/%m", "8080"),
    ],
)
def test_what_is_surely_an_endpoint_is_found_at_any_key(key: str, value: str) -> None:
    start = RUN.format("web", "-p 8080:80 -p 9090:90", "web")
    result = imported({"web.service": f"{start}ExecStartPost=/usr/bin/etcdctl set {key} {value}\n"})
    assert refusals(result) == []
    assert result.services["web"]["discovery"] == {"port": 80}


def test_two_units_of_one_name_are_not_merged() -> None:
    result = imported({"web.service": RUN.format("a", "", "a"), "web@.service": RUN.format("b", "", "b")})
    assert list(result.services) == ["web"]
    assert refusals(result) == [(0, "web.service is the service web already: rename one of the units")]


def test_the_same_unit_twice_is_refused() -> None:
    text = RUN.format("a", "", "a")
    result = imported({"x/a.service": text, "y/a.service": text})
    assert refusals(result) == [(0, "x/a.service is the unit a.service already")]


@pytest.mark.parametrize(
    ("name", "becomes"),
    [("My_App.service", "my-app"), ("a.b@.service", "a-b"), ("legacy.service", "legacy"), ("x" * 60 + ".service", "")],
)
def test_names_become_names(name: str, becomes: str) -> None:
    result = service("/usr/bin/docker run example/x:1", name=name)
    assert list(result.services) == ([becomes] if becomes else [])


def test_a_system_service_keeps_its_name() -> None:
    result = service("/usr/bin/docker run example/x:1", name="backend.service")
    assert list(result.services) == ["backend-service"]
    assert (0, "the service is named backend-service: backend is a system service already") in notes(result)


@pytest.mark.parametrize("name", ["backup.timer", "x.socket", "web", "@.service"])
def test_other_units_are_refused(name: str) -> None:
    assert imported({name: "[Service]\nExecStart=/usr/bin/docker run x:1\n"}).refused


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[Service]\nExecStart=/usr/bin/rkt run x\n", 0),
        ("[Service]\n", 0),
        ("", 0),
        ("[Service\nExecStart=/usr/bin/docker run x:1\n", 1),
        ("[Service]\nExecStart=/usr/bin/docker run 'x:1\n", 2),
        ("[Service]\nExecStart=/usr/bin/docker run\n", 2),
        ("[Service]\nExecStart=/usr/bin/docker run --nosuch x:1\n", 2),
        ("[Service]\nExecStart=/usr/bin/docker -H tcp://10.0.0.1:2375 run x:1\n", 2),
        ("[Service]\nExecStart=/usr/bin/docker run x:1\nExecStart=/usr/bin/docker run y:1\n", 3),
        ("[Service]\nExecStartPre=/usr/bin/docker run --name data busybox:1\nExecStart=/usr/bin/docker run x:1\n", 2),
        ("[Service]\nExecStartPre=/usr/bin/docker build -t x .\nExecStart=/usr/bin/docker run x:1\n", 2),
        ("[Service]\nExecStartPre=/opt/bin/render\nExecStart=/usr/bin/docker run x:1\n", 2),
        ("[Service]\nExecStartPre=/usr/bin/docker run --rm busybox:1\nExecStart=/usr/bin/docker run x:1\n", 2),
        ("[Service]\nExecStart=/usr/bin/docker run x:1\nExecStartPost=/usr/bin/mkdir -p /data\n", 3),
        ("[Service]\nExecStart=/usr/bin/docker run x:1\nExecStop=/opt/bin/drain\n", 3),
        ("[Service]\nExecStart=/bin/sh -c 'while true; do docker run x:1; done'\n", 2),
        ("[Service]\nExecStart=/bin/sh -c 'docker run x:1 | logger'\n", 2),
        ("[Service]\nExecStart=/bin/sh -c 'docker run $(cat /etc/image)'\n", 2),
        ("[Service]\nExecStart=/bin/sh -c 'docker run `cat /etc/image` serve'\n", 2),
        ("[Service]\nExecStart=/bin/sh -c 'docker run \"x:1'\n", 2),
        ("[Service]\nType=oneshot\nExecStart=/usr/bin/docker run x:1\n", 2),
        ("[Service]\nExecStart=/usr/bin/docker run x:1\nRestart=perhaps\n", 3),
        ("[Service]\nExecStart=/usr/bin/docker start -a web\n", 0),
    ],
)  # fmt: skip
def test_what_can_not_be_said_is_refused_with_its_line(text: str, line: int) -> None:
    result = imported({"web.service": text})
    assert result.services == {}
    assert line in [found for found, _ in refusals(result)]


@pytest.mark.parametrize(
    "start",
    [
        "ExecStart=/usr/bin/docker run --name web example/web:1",
        "ExecStart=/bin/sh -c '/usr/bin/docker pull example/web:1 && exec docker run --name web example/web:1'",
        "ExecStart=/usr/bin/env -i PATH=/bin docker container run --rm --name web example/web:1",
        "ExecStart=/opt/bin/systemd-docker --cgroups name=systemd run --rm --name web example/web:1",
        "ExecStartPre=-/usr/bin/docker create --name web example/web:1\nExecStart=/usr/bin/docker start -a web",
        "ExecStartPre=/usr/bin/docker run -d --name web example/web:1\nExecStart=/usr/bin/docker logs -f web",
        "Type=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/docker run -d --name web example/web:1",
        "ExecStart=/usr/bin/sudo -E -u core /usr/bin/docker run --name web example/web:1",
        "ExecStart=/usr/bin/sudo -n --user core -- docker run --name web example/web:1",
        "ExecStart=/usr/bin/nice -n 5 docker run --name web example/web:1",
        "ExecStart=/usr/bin/ionice -c2 -n 7 nice --adjustment 5 docker run --name web example/web:1",
        "ExecStart=/usr/bin/flock -n /run/lock/web timeout -s INT 1h stdbuf -oL docker run --name web example/web:1",
        "ExecStart=/usr/bin/systemd-cat -t web setsid docker run --name web example/web:1",
        "ExecStart=/usr/bin/env -u HOME A=1 docker run --name web example/web:1",
        'Environment=V=1\nExecStart=/bin/bash -c "set -e; I=example/web; docker run --name web $$I:$V >/dev/null 2>&1"',
    ],
)
def test_a_container_is_started_in_many_ways(start: str) -> None:
    result = imported({"web.service": f"[Service]\nRestart=always\n{start}\n"})
    assert refusals(result) == []
    assert result.services == {"web": {"image": "example/web:1"}}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("Restart=always", {}),
        ("", {}),
        ("Restart=no", {"restart": {"condition": "none"}}),
        ("Restart=on-failure\nRestartSec=1min 30s", {"restart": {"condition": "on-failure", "delay_seconds": 90}}),
        ("Restart=always\nRestartSec=500ms", {"restart": {"delay_seconds": 0.5}}),
        ("Restart=always\nStartLimitBurst=3", {"restart": {"attempts": 3, "window_seconds": 10}}),
        ("Restart=always\nStartLimitInterval=0", {}),
        ("TimeoutStopSec=40", {"stop": {"grace_seconds": 40}}),
        ("TimeoutStopSec=infinity\nKillSignal=SIGINT", {"stop": {"signal": "INT"}}),
        ("ExecStop=/usr/bin/docker stop --time=3 web\nTimeoutStopSec=40\nKillSignal=2", {"stop": {"grace_seconds": 3}}),
        ("ExecStop=/usr/bin/docker kill -s SIGUSR1 web", {"stop": {"signal": "USR1"}}),
        ("ExecStop=/usr/bin/docker kill web", {}),
    ],
)
def test_how_it_is_started_anew_and_stopped(lines: str, expected: dict[str, object]) -> None:
    result = service("/usr/bin/docker run example/web:1", lines)
    assert result.services["web"] == {"image": "example/web:1"} | expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mkdir -p /data", "hooks.prepare_machine makes machines ready"),
        ("/usr/bin/install -d -m 700 /data", "hooks.prepare_machine makes machines ready"),
        ("/usr/bin/sudo /bin/chown 99 /data", "hooks.prepare_machine makes machines ready"),
        ("/usr/bin/sudo sysctl vm.max_map_count=262144", "hooks.prepare_machine makes machines ready"),
        ("docker run --rm -v /opt/bin:/opt/bin ibuildthecloud/systemd-docker", "systemd-docker is not installed"),
        ("/usr/bin/systemctl start data.mount", "hooks.prepare_machine makes machines ready"),
        ("/bin/sh -c 'mkdir -p /data && touch /data/x'", "hooks.prepare_machine makes machines ready"),
        ("docker login -u me -p you", "machines have the login of Argosy's own registry alone"),
        ("flock -w 10 /run/lock/pull docker pull x:1", "--rm, docker pull dropped"),
        ("/bin/sh -c 'docker history x:1 | grep -q x || flock /l docker pull x:1'", "docker pull dropped"),
    ],
)
def test_what_makes_the_machine_ready_is_noted(line: str, said: str) -> None:
    result = imported(
        {"web.service": f"[Service]\nRestart=always\nExecStartPre={line}\nExecStart=/usr/bin/docker run --rm x:1\n"}
    )
    assert refusals(result) == []
    assert result.services == {"web": {"image": "x:1"}}
    assert any(line == 3 and said in reason for line, reason in notes(result))
    assert "you" not in render_services(result)


def test_a_variable_of_a_script_holds_what_its_command_prints_as_one_word() -> None:
    script = "IP=$(hostname -I | cut -d' ' -f1) && docker run --rm -e URL=http://$IP:80 -p $IP:8080:80 x:1"
    result = service(f'/bin/sh -c "{script}"')
    assert refusals(result) == []
    assert result.services["web"] == {"image": "x:1", "ports": ["8080:80"], "update": {"order": "stop-first"}}
    why = "--env URL left out: $(hostname -I | cut -d' ' -f1) runs on the machine only"
    assert (2, why) in notes(result)


def test_what_systemd_and_the_shell_both_expand_is_expanded_once() -> None:
    result = service(
        '/bin/sh -c "docker run -e A=${FILE} -e B=$$FILE -e C=${OWN} -e D=$$OWN x:1"',
        "EnvironmentFile=/etc/e\nEnvironment=OWN='$FILE'\nRestart=always",
    )
    assert result.services["web"] == {"image": "x:1", "env": {"D": "$FILE"}}
    left = [reason.partition(" left out: ")[::2] for _, reason in notes(result) if "left out" in reason]
    assert [(what, why.partition(" ")[0]) for what, why in left] == [
        ("--env A", "${FILE}"),
        ("--env B", "${FILE}"),
        ("--env C", "${FILE}"),
    ]


def test_all_ports_stay_noted_when_the_sidekick_is_refused() -> None:
    script = "etcdctl set /services/redis/port $(docker port redis)"
    result = imported(
        {
            "redis.service": "[Service]\nRestart=always\nExecStart=/usr/bin/docker run -P --name redis redis:7\n",
            "redis-discovery.service": REGISTER.format("redis.service", script),
        }
    )
    assert result.services == {"redis": {"image": "redis:7"}}
    assert (3, "--publish-all dropped: say which port of the image, by discovery.port") in notes(result)


def test_a_draft_shows_what_was_refused_as_comments() -> None:
    result = imported(
        {
            "web.service": "[Service]\nRestart=always\nExecStart=/usr/bin/docker run x:1\n",
            "vpn.service": "[Service]\nRestart=always\nExecStart=/usr/bin/docker run --privileged -e A=1 vpn:2\n",
            "x.timer": "",
        }
    )
    assert "vpn" not in render_services(result)
    text = render_services(result, drafts=True)
    assert yaml.safe_load(text) == {"scheduled": {"web": {"image": "x:1"}}}
    assert text.splitlines()[4:] == [
        "  # vpn.service: refused",
        "  #   gap: line 3: --privileged: scheduled services have no such rights:"
        " what a machine needs for itself is a unit of its own",
        "  # vpn:",
        "  #   image: vpn:2",
        "  #   env:",
        "  #     A: '1'",
        "  # x.timer: refused",
        "  #   gap: not a service: Swarm has nothing like a timer",
    ]
    alone = imported({"x.timer": ""})
    assert yaml.safe_load(render_services(alone, drafts=True)) == {"scheduled": {}}


def test_what_a_file_sets_on_the_machine_wins_and_that_is_noted() -> None:
    lines = "Environment=TAG=1 LEVEL=debug\nEnvironmentFile=-/etc/web.env\nRestart=always"
    result = service("/usr/bin/docker run example/web:${TAG}", lines)
    assert result.services["web"] == {"image": "example/web:1"}
    assert notes(result) == [(4, "what /etc/web.env sets on the machine wins over Environment=: TAG, LEVEL")]


@pytest.mark.parametrize(
    ("script", "conditional"),
    [
        ("test -f /x && docker run x:1", True),
        ("[ -d /x ] && docker pull x:1 && docker run x:1", True),
        ("[[ -d /x ]] && docker run x:1", True),
        ("docker images | grep -q x || docker run x:1", True),
        ("[ -d /x ] || mkdir /x; docker run x:1", False),
        ("docker inspect x:1 || docker pull x:1; docker run x:1", False),
    ],
)
def test_a_container_under_a_condition_is_refused(script: str, conditional: bool) -> None:
    result = service(f"/bin/sh -c '{script}'")
    why = "ExecStart: its script runs the container in a loop, a pipe, under a condition or beside others"
    assert refusals(result) == ([(2, why)] if conditional else [])


@pytest.mark.parametrize(
    "lines",
    [
        "ExecStart=/usr/bin/docker run 'x:1",
        "ExecStartPre=/usr/bin/docker run --name data x:1 true",
        "ExecStart=/usr/bin/docker exec web true",
    ],
)
def test_one_whose_commands_are_refused_is_not_told_to_run_nothing(lines: str) -> None:
    (refusal,) = refusals(imported({"web.service": f"[Service]\n{lines}\n"}))
    assert refusal[0] == 2


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("SuccessExitStatus=143", "for Swarm 0 is success, and every other exit status a failure"),
        ("ExecCondition=/bin/true", "a machine is chosen by constraints alone"),
        ("LimitNOFILE=9", "it is about Docker's client, not about the container"),
    ],
)
def test_a_dropped_key_says_why(key: str, reason: str) -> None:
    result = service("/usr/bin/docker run x:1", f"Restart=always\n{key}")
    assert (4, f"[Service] {key.partition('=')[0]}= dropped: {reason}") in notes(result)


@pytest.mark.parametrize(("key", "name"), [("web@%i", "web"), ("$(hostname)", "front")])
def test_what_differs_between_instances_is_no_part_of_the_name(key: str, name: str) -> None:
    script = f"etcdctl set /services/{key}/1 10.0.0.1:8080"
    result = imported(
        {
            "front@.service": "[Service]\nRestart=always\nExecStart=/usr/bin/docker run -p 8080:80 x:1\n",
            "front-discovery@.service": REGISTER.format("front@%i.service", script),
        }
    )
    assert list(result.services) == [name]


def test_fixed_ports_are_told_together() -> None:
    why = "so an update is a short outage: with discovery (port, scheme, host_port) there is none"
    assert notes(service("/usr/bin/docker run -p 81:1 -p 82:2 x:1")) == [(2, f"81:1, 82:2 are fixed, {why}")]


def test_a_reload_is_dropped() -> None:
    result = service("/usr/bin/docker run x:1", "Restart=always\nExecReload=/opt/bin/reload now")
    assert (4, "ExecReload: '/opt/bin/reload now' dropped: an update starts new instances instead") in notes(result)


def test_a_name_that_has_to_change_says_so() -> None:
    result = imported(
        {
            "web.service": RUN.format("web", "-p 80", "web"),
            "x.service": REGISTER.format("web.service", "etcdctl set /services/my_web/hosts/1 1.2.3.4:80"),
        }
    )
    assert list(result.services) == ["my-web"]
    said = "the service is named my-web, by which it is reached: my_web has characters no name has"
    assert (0, said) in notes(result)


def test_keys_of_a_unit_that_mean_nothing_here_are_noted() -> None:
    result = service(
        "/usr/bin/docker run x:1",
        "Restart=always\nLimitNOFILE=10\n[Unit]\nConditionPathExists=/x\nOnFailure=y\n[Foo]\na=b",
    )
    assert [line for line, _ in notes(result)] == [4, 6, 7, 9]


@pytest.mark.parametrize(
    ("target", "how"),
    [
        (
            "-p 6379:6379",
            "give redis discovery (port, scheme, host_port), and let the program ask redis.local:HOST_PORT",
        ),
        ("-p 80:80", "let the program ask redis.local"),
    ],
)
def test_a_link_to_what_is_imported_says_what_takes_its_place(target: str, how: str) -> None:
    result = imported(
        {
            "redis.service": RUN.format("redis", target, "redis"),
            "web.service": RUN.format("web", "--link redis:db", "web"),
        }
    )
    assert refusals(result) == []
    assert f"--link dropped: db is no name any more, and no DB_PORT is set: {how}" in [
        reason for _, reason in notes(result)
    ]


def test_a_link_to_what_is_refused_is_refused_in_turn() -> None:
    result = imported(
        {
            "a.service": RUN.format("a", "--link b:b", "a"),
            "b.service": RUN.format("b", "--link c:c", "b"),
            "c.service": RUN.format("c", "--privileged", "c"),
        }
    )
    assert result.services == {}
    assert len(refusals(result)) == 3


def test_order_between_services_is_noted_and_that_of_the_machine_is_not() -> None:
    result = imported(
        {
            "a.service": "[Unit]\nAfter=docker.service a.target b.service skydns.service\nRequires=b.service\n"
            + RUN.format("a", "", "a"),
            "b.service": RUN.format("b", "", "b"),
        }
    )
    reasons = [reason for _, reason in notes(result) if "=" in reason]
    assert reasons == [
        "After=skydns.service dropped: it is not imported",
        "Requires=b.service dropped: Swarm has no order: the program tries until b answers",
    ]


def test_what_stands_in_the_configuration_already_is_noted() -> None:
    result = service("/usr/bin/docker run x:1", name="legacy.service")
    assert (0, "legacy is a scheduled service already: compare the two") in notes(result)
    assert "legacy" in result.services
    assert not [reason for _, reason in notes(import_units({}, replace(KNOWN, scheduled=())))]


@pytest.mark.parametrize("line", ["Environment=A=1", "Foo=1", "ExecStart=/usr/bin/docker run x:1", "a \\"])
def test_a_file_of_many_lines_is_read(line: str) -> None:
    result = imported({"web.service": "[Service]\n" + f"{line}\n" * 20000})
    assert len(result.outcomes) == 1


@pytest.mark.parametrize("word", ["\x85", "\u2028", "a\ufeffb", "0777", "yes", "1:30", "- x", "#", "é😀", "{{x}}"])
def test_words_that_yaml_reads_otherwise_are_quoted(word: str) -> None:
    result = service(f"/usr/bin/docker run x:1 '{word}'")
    assert result.services["web"]["command"] == [word]
    assert yaml.safe_load(render_services(result))["scheduled"]["web"]["command"] == [word]
