"""What only one machine's router has: its taken ports, its certificates, a plan that its HAProxy refuses."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from agent_machine import AgentMachine, put_service
from haproxy_server import free_ports, requires_haproxy
from router_backends import Client, HttpBackend, TcpBackend, make_certificate, trusting
from waiting import until

from argosy.agent.router.ports import taken_ports
from argosy.etcd import Etcd
from argosy.schema import SSL_SUPPORT, instance_key

pytest_plugins = ["etcd_fixtures", "agent_fixtures"]
pytestmark = [pytest.mark.integration, requires_haproxy]


class TestWhatOnlyThisMachineHas:
    def test_a_port_that_is_taken_costs_its_service_that_port_alone_until_it_is_free(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        database = TcpBackend("database")
        [port] = free_ports(machine.address, 1)
        with socket.create_server((machine.address, port)):
            put_service(store, "database", {"one": database.endpoint}, scheme="tcp", host_port=str(port))
            machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
            assert machine.answers("web") == "one"
            problem = {
                "service": "database",
                "key": "/services/database/host_port",
                "reason": f"something else listens on {port} of this machine",
            }
            until(lambda: problem in machine.published_problems(store))
            assert machine.metric("failed_reloads_total") == 0
        until(lambda: machine.client.greeting(port) == "database" if is_open(machine.address, port) else False)
        until(lambda: problem not in machine.published_problems(store))
        database.close()

    def test_a_port_that_is_taken_while_haproxy_is_away_does_not_keep_it_away(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        [port] = free_ports(machine.address, 1)
        revision = put_service(store, "web", {"one": one.endpoint}, host_port=str(port))
        machine.wait_until_applied(store, revision)
        machine.kill_haproxy()
        until(lambda: not taken_ports([port], machine.address))
        with socket.create_server((machine.address, port)):
            until(lambda: f"frontend port-{port} " not in (machine.lib / "haproxy.cfg").read_text())
            machine.start_haproxy()
            until(lambda: machine.answers("web") == "one")
        until(lambda: is_open(machine.address, port))

    def test_a_plan_that_haproxy_refuses_leaves_the_last_good_one_in_effect(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        good = (machine.lib / "haproxy.cfg").read_text()
        worker = machine.worker()
        # What it is told to use in place of `haproxy -c` refuses everything.
        machine.stop_agent()
        program = machine.root / "bin" / "haproxy"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho 'no, not this one' >&2\nexit 1\n")
        program.chmod(0o755)
        machine.start_agent(PATH=f"{program.parent}:{os.environ['PATH']}")
        machine.wait_until_ready()
        put_service(store, "new", {"one": one.endpoint})
        until(lambda: "no, not this one" in machine.get("/ready")[1])
        # Instances of what there is go on to come and go.
        store.put(instance_key("web", "two"), str(two.endpoint))
        until(lambda: {machine.answers("web") for _ in range(4)} == {"one", "two"})
        assert machine.answers("new") == "404"
        assert machine.worker() == worker
        assert (machine.lib / "haproxy.cfg").read_text() == good
        assert any("no, not this one" in problem["reason"] for problem in machine.published_problems(store))
        program.unlink()
        until(lambda: machine.answers("new") == "one", 20)
        machine.wait_until_ready()


class TestCertificates:
    @pytest.fixture
    def secure(self, machine: AgentMachine, store: Etcd, one: HttpBackend) -> AgentMachine:
        """A machine that serves web over https, by the certificate a.pem for web.example."""
        make_certificate(machine.keys / "a.pem", "web.example", "first.example")
        store.put(SSL_SUPPORT, "true")
        put_service(store, "web", {"one": one.endpoint}, scheme="http-and-https")
        until(lambda: self.served(machine, "web.example") == "one")
        machine.wait_until_ready()
        return machine

    def served(self, machine: AgentMachine, name: str) -> str:
        """Return who answers over https with one of the certificates that the router has, for `name`."""
        client = Client(machine.address, trusting(*(machine.lib / "certs").glob("*.pem")))
        try:
            return client.ask(machine.ports["https_port"], "/web/", "", server_name=name).name
        except OSError:
            return ""
        finally:
            client.close()

    def test_they_come_change_and_go_without_a_reload(self, secure: AgentMachine) -> None:
        worker = secure.worker()
        replace_certificate(secure.keys / "a.pem", "web.example", "second.example")
        until(lambda: self.served(secure, "second.example") == "one")
        replace_certificate(secure.keys / "b.pem", "other.example")
        until(lambda: self.served(secure, "other.example") == "one")
        (secure.keys / "b.pem").unlink()
        until(lambda: not (secure.lib / "certs" / "b.pem").exists())
        until(lambda: "b.pem" not in secure.runtime.ask("show ssl cert"))
        assert secure.worker() == worker
        assert [path.name for path in (secure.lib / "certs").iterdir()] == ["a.pem"]
        assert (secure.lib / "certs" / "a.pem").stat().st_mode & 0o777 == 0o600

    def test_a_bad_one_is_reported_and_the_last_good_one_kept(self, secure: AgentMachine, store: Etcd) -> None:
        worker, good = secure.worker(), (secure.keys / "a.pem").read_bytes()
        (secure.keys / "a.pem").write_bytes(good[: len(good) // 2])
        (secure.keys / "strange name.pem").write_bytes(good)
        keys = {str(secure.keys / "a.pem"), str(secure.keys / "strange name.pem")}
        until(lambda: keys <= {problem["key"] for problem in secure.published_problems(store)})
        until(lambda: self.served(secure, "first.example") == "one")
        assert secure.worker() == worker
        (secure.keys / "a.pem").write_bytes(good)
        (secure.keys / "strange name.pem").unlink()
        until(lambda: not keys & {problem["key"] for problem in secure.published_problems(store)})

    def test_the_one_that_haproxy_gives_to_everybody_goes_by_a_reload(self, secure: AgentMachine) -> None:
        make_certificate(secure.keys / "z.pem", "last.example")
        until(lambda: self.served(secure, "last.example") == "one")
        (secure.keys / "a.pem").unlink()
        until(lambda: "a.pem" not in secure.runtime.ask("show ssl cert"))
        until(lambda: self.served(secure, "last.example") == "one")


def replace_certificate(path: Path, *names: str) -> None:
    make_certificate(path.with_suffix(".new"), *names).replace(path)


def is_open(address: str, port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex((address, port)) == 0
