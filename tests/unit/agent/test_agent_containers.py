"""What the registrar reads out of `docker inspect`, Docker's events and labels; and where an instance is by that."""

from __future__ import annotations

from typing import Any

import pytest
from container_examples import BRIDGE, STARTED, inspected, published

from argosy.model import Endpoint
from argosy.schema import Check
from argosy.schema.declared import Declaration, parse_labels
from argosy.schema.inspection import Container, Event, ends, parse_container, parse_event, parse_signal
from argosy.schema.instances import Place, place_of

MACHINE = "10.0.0.5"
INSIDE = Endpoint("172.17.0.2", 80)


class TestInspection:
    def test_of_one_on_the_bridge(self) -> None:
        assert parse_container(inspected()) == Container(
            id="id-of-web-1",
            name="web-1",
            started=STARTED,
            running=True,
            labels={"argosy.service": "web"},
            exposed=(80,),
            address="172.17.0.2",
        )

    @pytest.mark.parametrize("state", [{"Running": False}, {"Paused": True}, {"Restarting": True}])
    def test_one_that_can_do_nothing_does_not_run(self, state: dict[str, Any]) -> None:
        assert not parse_container(inspected(state=state)).running

    @pytest.mark.parametrize(
        ("told", "health"), [(None, ""), ({"Status": "none"}, ""), ({"Status": "starting"}, "starting")]
    )
    def test_health(self, told: Any, health: str) -> None:
        assert parse_container(inspected(state={"Health": told})).health == health

    def test_ports_are_tcp_ones_that_are_exposed_or_published(self) -> None:
        ports = published("443/tcp", ("0.0.0.0", 32768), ("::", 32768)) | published("53/udp", ("0.0.0.0", 53))
        found = parse_container(inspected(ports=ports | {"80/tcp": None}))
        assert found.exposed == (80, 443)
        assert found.published == {443: (("0.0.0.0", 32768), ("::", 32768))}

    @pytest.mark.parametrize(
        ("networks", "address"),
        [
            ({}, ""),
            ({"host": {"Gateway": "", "IPAddress": ""}}, ""),
            ({"a": {"Gateway": "10.1.0.1", "IPAddress": "10.1.0.2"}} | BRIDGE, "172.17.0.2"),
            (
                {"b": {"Gateway": "g", "IPAddress": "10.2.0.2"}, "a": {"Gateway": "g", "IPAddress": "10.1.0.2"}},
                "10.1.0.2",
            ),
            ({"overlay": {"Gateway": "", "IPAddress": "10.0.9.4"}}, ""),
            ({"six": {"IPv6Gateway": "fd00::1", "GlobalIPv6Address": "fd00::2"}}, "fd00::2"),
        ],
    )
    def test_its_address_is_one_that_the_machine_reaches(self, networks: dict[str, Any], address: str) -> None:
        assert parse_container(inspected(networks=networks)).address == address

    def test_without_labels_or_ports_at_all(self) -> None:
        found = parse_container(inspected(config={"Labels": None, "ExposedPorts": None}))
        assert (found.labels, found.exposed) == ({}, ())

    @pytest.mark.parametrize("without", ["Id", "State", "HostConfig", "NetworkSettings"])
    def test_something_else_is_refused_and_never_crashes(self, without: str) -> None:
        shown = inspected()
        shown[without] = None
        with pytest.raises(ValueError, match="in a way that we don't know"):
            parse_container(shown if without != "Id" else {})

    @pytest.mark.parametrize(
        ("text", "number"),
        [("", 0), ("SIGTERM", 15), ("quit", 3), ("SIGRTMIN+3", 37), ("28", 28), ("SIGNONE", 0), ("SIGTERM+x", 0)],
    )
    def test_signals(self, text: str, number: int) -> None:
        assert parse_signal(text) == number


class TestEvents:
    def test_one_with_details(self) -> None:
        told = {"Type": "container", "Action": "kill", "Actor": {"ID": "8f", "Attributes": {"signal": "15"}}}
        assert parse_event(told) == Event("kill", "8f", 15)

    def test_health_has_its_state_in_its_name(self) -> None:
        told = {"Type": "container", "Action": "health_status: healthy", "Actor": {"ID": "8f", "Attributes": {}}}
        assert parse_event(told) == Event("health_status", "8f")

    @pytest.mark.parametrize(
        "told",
        [
            {},
            {"Type": "network", "Action": "kill", "Actor": {"ID": "8f"}},
            {"Type": "container", "Action": "exec_start: ls", "Actor": {"ID": "8f"}},
            {"Type": "container", "Action": "start", "Actor": None},
        ],
    )
    def test_others_do_not_matter(self, told: dict[str, Any]) -> None:
        assert parse_event(told) is None

    @pytest.mark.parametrize(
        ("action", "number", "stop_signal", "ending"),
        [
            ("die", 0, 15, True),
            ("stop", 0, 15, True),
            ("pause", 0, 15, True),
            ("destroy", 0, 15, True),
            ("start", 0, 15, False),
            ("unpause", 0, 15, False),
            ("health_status", 0, 15, False),
            ("kill", 15, 15, True),
            ("kill", 9, 15, True),
            ("kill", 2, 15, True),
            ("kill", 15, 3, True),
            ("kill", 3, 3, True),
            ("kill", 28, 28, True),
            ("kill", 1, 15, False),  # to reload
            ("kill", 3, 15, False),  # a JVM writes its threads
            ("kill", 10, 15, False),
        ],
    )
    def test_which_of_them_mean_its_end(self, action: str, number: int, stop_signal: int, ending: bool) -> None:
        assert ends(Event(action, "8f", number), stop_signal) is ending


class TestLabels:
    def test_the_least(self) -> None:
        assert parse_labels("web-1", {"argosy.service": "web", "argosy.test": "1"}) == (Declaration("web"), ())

    def test_everything(self) -> None:
        labels = {
            "argosy.service": "db.main",
            "argosy.scheme": "tcp",
            "argosy.port": "5432",
            "argosy.host_port": "15432",
            "argosy.private": "true",
            "argosy.sni": "db.example, db2.example",
            "argosy.weight": "10",
            "argosy.generation": "7",
            "argosy.check": "http /health 200,204",
            "argosy.check.command": '["pg_isready", "-q"]',
            "argosy.check.seconds": "0.5",
        }
        declaration, problems = parse_labels("db-1", labels)
        assert problems == ()
        assert declaration == Declaration(
            service="db.main",
            port=5432,
            attributes={
                "scheme": "tcp",
                "host_port": "15432",
                "private": "true",
                "sni": "db.example, db2.example",
                "check": "http /health 200,204",
            },
            weight="10",
            generation=7,
            check=Check("http", "/health", (200, 204)),
            command=("pg_isready", "-q"),
            check_seconds=0.5,
        )

    def test_without_a_scheme_the_service_s_own_keys_are_left_alone(self) -> None:
        declaration, _ = parse_labels("x", {"argosy.service": "web", "argosy.host_port": "80"})
        assert declaration == Declaration("web")

    def test_private_false_is_no_key(self) -> None:
        labels = {"argosy.service": "web", "argosy.scheme": "http", "argosy.private": "false"}
        assert parse_labels("x", labels)[0] == Declaration("web", attributes={"scheme": "http"})

    def test_a_command_may_be_a_line_for_the_shell(self) -> None:
        declaration, _ = parse_labels("x", {"argosy.service": "web", "argosy.check.command": "test -e /ready"})
        assert declaration is not None
        assert declaration.command == ("/bin/sh", "-c", "test -e /ready")

    @pytest.mark.parametrize(
        ("label", "value", "reason"),
        [
            ("argosy.service", "Web Shop", "no service's name"),
            ("argosy.service", "", "no service's name"),
            ("argosy.scheme", "gopher", "none of http, https, http-and-https, tcp"),
            ("argosy.port", "http", "no port"),
            ("argosy.port", "0", "no port"),
            ("argosy.host_port", "70000", "no port"),
            ("argosy.private", "yes", "neither true nor false"),
            ("argosy.sni", "*.example", "no server name"),
            ("argosy.weight", "257", "no weight"),
            ("argosy.generation", "0", "no number of a generation"),
            ("argosy.check", "ping", "none of tcp"),
            ("argosy.check", "http /a\r\nX: y", "none of tcp"),
            ("argosy.check.command", " ", "an empty command"),
            ("argosy.check.command", "[]", "no list of words"),
            ("argosy.check.command", "[1]", "no list of words"),
            ("argosy.check.command", "[", "no JSON list"),
            ("argosy.check.seconds", "nan", "no number of seconds"),
            ("argosy.check.seconds", "0", "no number of seconds"),
            ("argosy.check.seconds", "soon", "no number of seconds"),
        ],
    )
    def test_with_a_bad_one_nothing_is_declared(self, label: str, value: str, reason: str) -> None:
        labels = {"argosy.service": "web", "argosy.scheme": "http", "argosy.port": "80"} | {label: value}
        declaration, (problem,) = parse_labels("web-1", labels)
        assert declaration is None
        assert problem.key == f"container web-1 {label}"
        assert problem.service == labels["argosy.service"]
        assert reason in problem.reason

    def test_all_bad_ones_are_told(self) -> None:
        labels = {"argosy.service": "web", "argosy.scheme": "x", "argosy.weight": "x"}
        assert [label.key.split()[-1] for label in parse_labels("x", labels)[1]] == ["argosy.scheme", "argosy.weight"]


class TestPlace:
    def place(self, port: int = 0, **options: Any) -> Place:
        return place_of(parse_container(inspected(**options)), Declaration("web", port), MACHINE)

    def test_on_the_host_s_network(self) -> None:
        place = self.place(mode="host", networks={})
        assert place == Place(Endpoint(MACHINE, 80), Endpoint(MACHINE, 80))

    @pytest.mark.parametrize("address", ["0.0.0.0", "", "::", MACHINE])
    def test_published(self, address: str) -> None:
        assert self.place(ports=published("80/tcp", (address, 32768))) == Place(INSIDE, Endpoint(MACHINE, 32768))

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.9.9.9", "::1"])
    def test_published_where_no_other_machine_comes(self, address: str) -> None:
        assert self.place(ports=published("80/tcp", (address, 32768))) == Place(INSIDE, None)

    def test_on_the_bridge_alone(self) -> None:
        assert self.place() == Place(INSIDE, None)

    def test_a_port_by_label_need_not_be_exposed(self) -> None:
        assert self.place(8080) == Place(Endpoint("172.17.0.2", 8080), None)

    def test_the_label_chooses_of_several_published_ones(self) -> None:
        ports = published("80/tcp", ("0.0.0.0", 1000)) | published("81/tcp", ("0.0.0.0", 1001))
        assert self.place(81, ports=ports).endpoint == Endpoint(MACHINE, 1001)

    def test_published_and_on_an_overlay_alone(self) -> None:
        overlay = {"overlay": {"Gateway": "", "IPAddress": "10.0.9.4"}}
        place = self.place(ports=published("80/tcp", ("0.0.0.0", 1000)), networks=overlay)
        assert place == Place(Endpoint(MACHINE, 1000), Endpoint(MACHINE, 1000))

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"mode": "container:8f3a"}, "another container's network"),
            ({"config": {"ExposedPorts": {}}}, r"exposes no TCP port: say it by argosy\.port"),
            ({"config": {"ExposedPorts": {"53/udp": {}}}}, "exposes no TCP port"),
            ({"config": {"ExposedPorts": {"81/tcp": {}, "80/tcp": {}}}}, "exposes the ports 80, 81: choose one"),
            ({"networks": {}, "mode": "none"}, "not published, and it is on no bridge"),
        ],
    )
    def test_that_can_not_be_known(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            self.place(**options)
