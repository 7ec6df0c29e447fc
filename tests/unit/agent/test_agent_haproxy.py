"""What HAProxy's answers mean, and which ports a configuration listens on."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.agent.router.certificates import fingerprint, parse_crt_list, parse_fingerprint, plan_certificate_changes
from argosy.agent.router.haproxy import LINE_BYTES, Master, Worker, command_lines, parse_master, parse_worker
from argosy.agent.router.ports import bound_ports
from argosy.routing.plan import plan_routing
from argosy.routing.values import RouterOptions
from argosy.schema import Directory, Scheme, Service

INFO = """Name: HAProxy
Pid: 29557
description: structure=four
Start_time_sec: 1795618109
"""
PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
26397           master          4 [failed: 1]   0d00h00m49s     2.6.12-1+deb12u4
# workers
27956           worker          1               0d00h00m27s     2.6.12-1+deb12u4
"""


def test_a_worker_is_its_pid_its_structure_and_its_start() -> None:
    assert parse_worker(INFO) == Worker(29557, "four", 1795618109)
    assert parse_worker("Pid: 1\n") == Worker(1, "")


def test_an_answer_without_a_pid_is_no_worker() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_worker("Unknown command")


def test_the_master_counts_its_reloads() -> None:
    assert parse_master(PROCESSES) == Master(reloads=4, failed=1)
    with pytest.raises(ValueError, match="names no master"):
        parse_master("")


class TestCommandLines:
    def test_all_commands_of_a_connection_stand_on_one_line(self) -> None:
        assert command_lines(["add server b/a 10.0.0.1:80", "enable health b/a"]) == [
            "add server b/a 10.0.0.1:80;enable health b/a\n"
        ]
        assert command_lines([]) == []

    def test_a_payload_ends_its_line(self) -> None:
        assert command_lines(["new ssl cert a", "set ssl cert a <<\nMII\n", "commit ssl cert a"]) == [
            "new ssl cert a;set ssl cert a <<\nMII\n\n",
            "commit ssl cert a\n",
        ]

    def test_a_line_fits_haproxy_s_buffer_and_nothing_is_lost(self) -> None:
        commands = [f"set server service-{number}/{'x' * 150} weight 7" for number in range(400)]
        lines = command_lines(commands)
        assert max(len(line) for line in lines) <= LINE_BYTES + 1
        assert len(lines) > 1
        assert [command for line in lines for command in line.rstrip("\n").split(";")] == commands

    def test_one_that_is_too_long_by_itself_stands_alone(self) -> None:
        assert command_lines(["a", "b" * LINE_BYTES, "c"]) == ["a\n", "b" * LINE_BYTES + "\n", "c\n"]


def test_the_ports_of_a_configuration_are_those_of_its_bind_lines() -> None:
    services = {
        "db": Service("db", Scheme.TCP, host_port=5432),
        "web": Service("web", Scheme.HTTP, host_port=8080),
        "tls": Service("tls", Scheme.TCP, sni=("tls.example",)),
    }
    options = RouterOptions(certificates=True, bind_address="10.0.0.1")
    plan = plan_routing(Directory(services, ssl_support=True), options)
    assert bound_ports(plan.files()["haproxy.cfg"]) == {80, 81, 443, 444, 8443, 8444, 5432, 8080}
    assert bound_ports("  # bind :1\n  bind :2\n  bind [::]:3 ssl\n  server a 10.0.0.1:4\n") == {2, 3}


FOLDER = Path("/var/lib/router/certs")


class TestCertificateChanges:
    def plan(self, loaded: dict[str, str], wanted: dict[str, str], *changed: str) -> list[str]:
        return plan_certificate_changes(FOLDER, loaded, wanted, changed, {name: f"<{name}>" for name in wanted})

    def test_nothing_to_do(self) -> None:
        assert self.plan({"a.pem": "1"}, {"a.pem": "1"}) == []

    def test_a_new_one_is_made_filled_and_listed(self) -> None:
        path = FOLDER / "b.pem"
        assert self.plan({"a.pem": "1"}, {"a.pem": "1", "b.pem": "2"}) == [
            f"new ssl cert {path}",
            f"set ssl cert {path} <<\n<b.pem>",
            f"commit ssl cert {path}",
            f"add ssl crt-list {FOLDER} {path}",
        ]

    @pytest.mark.parametrize(("loaded", "changed"), [("1", ()), ("2", ("a.pem",))])
    def test_another_one_or_another_chain_replaces_it(self, loaded: str, changed: tuple[str, ...]) -> None:
        path = FOLDER / "a.pem"
        commands = [f"set ssl cert {path} <<\n<a.pem>", f"commit ssl cert {path}"]
        assert self.plan({"a.pem": loaded}, {"a.pem": "2"}, *changed) == commands

    def test_one_that_is_gone_is_taken_off_the_list_first(self) -> None:
        path = FOLDER / "b.pem"
        commands = [f"del ssl crt-list {FOLDER} {path}", f"del ssl cert {path}"]
        assert self.plan({"a.pem": "1", "b.pem": "2"}, {"a.pem": "1"}, "b.pem") == commands


def test_what_haproxy_tells_of_certificates() -> None:
    assert parse_crt_list("# /certs\n/certs/a.pem:0\n/certs/b.pem:12 [ssl-min-ver TLSv1.2] x\n\n") == [
        "/certs/a.pem",
        "/certs/b.pem",
    ]
    assert parse_fingerprint("Filename: x\nSHA1 FingerPrint: F7DD19\nSubject: /CN=a\n") == "F7DD19"
    assert parse_fingerprint("") == ""


def test_a_text_without_a_certificate_has_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="holds no certificate"):
        fingerprint("-----BEGIN PRIVATE KEY-----")
