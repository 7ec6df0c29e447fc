"""The client of Docker Swarm against real engines."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from swarm_lab import IMAGE, PORT, SwarmLab, requires_swarm_lab, swarm_lab
from waiting import until

from argosy.engine.api import at_socket, over_ssh
from argosy.engine.swarm import Swarm
from argosy.errors import DeadlineExceeded, EngineError, EngineRefused, OutOfSequence
from argosy.ssh.host import Hosts

WEB: dict[str, Any] = {
    "Name": "air-web-1",
    "Labels": {"argosy.scheduled": "web"},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": IMAGE,
            "Command": ["sh", "-c", "echo out; echo err >&2; exec httpd -f -h /bin"],
            "Init": True,  # else it does not hear the signal that ends it
        }
    },
    "Mode": {"Replicated": {"Replicas": 2}},
    "EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 80, "PublishMode": "host", "Protocol": "tcp"}]},
}


@pytest.fixture(scope="module")
def lab() -> Iterator[SwarmLab]:
    with swarm_lab(2) as made:
        yield made


@pytest.fixture(scope="module")
def swarm(lab: SwarmLab) -> Swarm:
    lab.form(managers=1, heartbeat_seconds=2)
    return lab.nodes["air-01"].swarm


@pytest.mark.integration
@requires_swarm_lab
class TestRealEngines:
    def test_an_engine_in_no_swarm_says_so_and_refuses_with_503(self, lab: SwarmLab) -> None:
        engine = lab.nodes["air-01"].swarm
        assert (engine.info().state, engine.info().inside) == ("inactive", False)
        with pytest.raises(EngineRefused) as refused:
            engine.nodes()
        assert refused.value.status == 503
        engine.leave()  # it is out: fine

    def test_each_engine_tells_what_it_is(self, lab: SwarmLab, swarm: Swarm) -> None:
        manager, worker = (lab.nodes[name].swarm.info() for name in ("air-01", "air-02"))
        assert (manager.state, manager.manager, manager.cluster_id) == ("active", True, swarm.cluster_id())
        assert (worker.state, worker.manager, worker.cluster_id) == ("active", False, "")
        assert worker.managers == {manager.node_id: f"10.213.0.11:{PORT}"}
        assert [(node.hostname, node.address, node.role, node.leader) for node in by_name(swarm)] == [
            ("air-01", "10.213.0.11", "manager", True),
            ("air-02", "10.213.0.12", "worker", False),
        ]

    def test_a_token_that_was_rotated_lets_nobody_in(self, lab: SwarmLab, swarm: Swarm) -> None:
        before = swarm.tokens()
        assert before.worker not in repr(before)
        assert before.manager not in repr(before)
        swarm.rotate_tokens()
        assert not {before.worker, before.manager} & {swarm.tokens().worker, swarm.tokens().manager}
        (node,) = lab.add("air-03")
        with pytest.raises(EngineRefused) as refused:
            node.swarm.join(node.address, PORT, [f"10.213.0.11:{PORT}"], before.worker)
        assert before.worker not in str(refused.value)
        assert not node.swarm.info().inside
        node.swarm.join(node.address, PORT, [f"10.213.0.11:{PORT}"], swarm.tokens().worker)
        assert len(swarm.nodes()) == 3

    def test_a_node_changes_only_in_what_is_given(self, swarm: Swarm) -> None:
        node = by_name(swarm)[1]
        labelled = swarm.update_node(node, labels={"tier": "green"})
        drained = swarm.update_node(node, availability="drain")
        assert (labelled.availability, drained.availability) == ("active", "drain")
        assert drained.labels == {"tier": "green"}
        again = swarm.update_node(node.id, availability="drain", labels={"tier": "green"})
        assert again.version == drained.version  # nothing to do, so nothing was done
        swarm.update_node(node, availability="active", labels={})

    def test_changes_of_several_at_once_all_happen(self, swarm: Swarm) -> None:
        node = by_name(swarm)[1]
        failed: list[Exception] = []

        def change(availability: str) -> None:
            try:
                swarm.update_node(node, availability=availability)
            except Exception as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=change, args=(name,)) for name in ("pause", "drain", "pause")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert swarm.update_node(node, availability="active").availability == "active"

    def test_a_service_runs_is_asked_changed_and_removed(self, lab: SwarmLab, swarm: Swarm) -> None:
        service_id = swarm.create_service(WEB)
        until(lambda: sum(task.runs for task in swarm.tasks(service_id)) == 2, 30)
        task = next(task for task in swarm.tasks(service_id) if task.runs)
        (port,) = task.ports
        assert (port.target, port.mode) == (80, "host")
        address = swarm.node(task.node_id).address
        assert lab.get(address, port.published, "/busybox")[0] == 200
        name = next(node.name for node in lab.nodes.values() if node.address == address)
        assert task.container_name("air-web-1") in lab.nodes[name].docker("ps", "--format", "{{.Names}}").split()

        with pytest.raises(EngineRefused) as taken:
            swarm.create_service(WEB)
        assert taken.value.status == 409
        (seen,) = swarm.services({"argosy.scheduled": "web"})
        assert (seen.id, seen.replicas) == (service_id, 2)
        assert swarm.services({"argosy.scheduled": "other"}) == []

        swarm.update_service(seen, {**seen.spec, "Mode": {"Replicated": {"Replicas": 1}}})
        with pytest.raises(OutOfSequence):
            swarm.update_service(seen, {**seen.spec, "Mode": {"Replicated": {"Replicas": 5}}})
        now = swarm.service("air-web-1")
        assert now
        assert now.replicas == 1
        with pytest.raises(EngineRefused) as renamed:  # refused for what it says: not taken for a concurrent change
            swarm.update_service(now, {**now.spec, "Name": "other"})
        assert not isinstance(renamed.value, OutOfSequence)

        swarm.remove_service(service_id)
        swarm.remove_service(service_id)
        assert swarm.service("air-web-1") is None
        until(lambda: not swarm.tasks(service_id), 30)

    def test_logs_come_from_all_machines_and_are_followed(self, swarm: Swarm) -> None:
        service_id = swarm.create_service(WEB)
        until(lambda: sum(task.runs for task in swarm.tasks(service_id)) == 2, 30)
        tasks = {task.id for task in swarm.tasks(service_id) if task.runs}
        followed = []
        for line in swarm.logs(service_id, follow=True):
            followed.append(line)
            if len(followed) == 4:
                break
        assert {(line.task_id, line.stream, line.text) for line in followed} == {
            (task, stream, text) for task in tasks for stream, text in (("stdout", "out"), ("stderr", "err"))
        }
        assert all(line.time.startswith("20") for line in followed)
        assert len(list(swarm.logs(service_id, tail=1))) == 2
        swarm.remove_service(service_id)

    def test_swarm_s_own_settings_are_set_once(self, swarm: Swarm) -> None:
        wanted: dict[str, Any] = {"heartbeat_seconds": 3, "task_history": 1}
        assert swarm.configure(**wanted)
        assert not swarm.configure(**wanted)
        spec = swarm.cluster_spec()
        assert spec["Dispatcher"]["HeartbeatPeriod"] == 3_000_000_000
        assert spec["CAConfig"]["NodeCertExpiry"]  # what was not ours stays

    def test_over_ssh_the_same_engine_answers(
        self, lab: SwarmLab, swarm: Swarm, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab.lead(monkeypatch)
        with Hosts(lab.settings(), lab.machines()) as hosts, over_ssh(hosts["air-01"]) as engine:
            far = Swarm(engine)
            assert far.info() == swarm.info()
            node = by_name(far)[1]
            assert far.update_node(node, labels={"by": "ssh"}).labels == {"by": "ssh"}
            for _ in range(12):  # more than sshd allows sessions: each ends
                far.update_node(node, labels={"by": str(_)})
            service_id = far.create_service(WEB)
            until(lambda: sum(task.runs for task in far.tasks(service_id)) == 2, 30)
            assert {log.text for log in far.logs(service_id)} == {"out", "err"}
            far.remove_service(service_id)
            assert hosts["air-01"].run(["true"]).ok

    def test_over_ssh_an_engine_that_is_not_there_is_an_error_with_docker_s_reason(
        self, lab: SwarmLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab.lead(monkeypatch)
        lab.run("air-03", "sh", "-c", "mv /run/docker.sock /run/aside.sock")
        with Hosts(lab.settings(), lab.machines()) as hosts, over_ssh(hosts["air-03"]) as engine:
            with pytest.raises(EngineError, match=r"^air-03: .*did not answer GET /info: .*docker"):
                Swarm(engine).info()
            lab.run("air-03", "sh", "-c", "mv /run/aside.sock /run/docker.sock")
            assert Swarm(engine).info().inside

    def test_a_node_that_is_down_is_told_and_removed(self, lab: SwarmLab, swarm: Swarm) -> None:
        node = next(node for node in swarm.nodes() if node.hostname == "air-03")
        with pytest.raises(EngineRefused):
            swarm.remove_node(node.id)  # it is up
        lab.power_off("air-03")
        until(lambda: swarm.node(node.id).state == "down", 30, every=0.1)
        swarm.remove_node(node.id)
        swarm.remove_node(node.id)
        assert [node.hostname for node in by_name(swarm)] == ["air-01", "air-02"]


TODAY = {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}
LATER = {"ApiVersion": "1.52", "MinAPIVersion": "1.44"}


class TestEnginesThatMisbehave:
    def test_where_nothing_listens_it_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="air-01: no Docker engine answers"):
            Swarm(at_socket(tmp_path / "none", "air-01")).info()

    def test_an_engine_that_speaks_only_newer_versions_is_asked_in_its_oldest(self, tmp_path: Path) -> None:
        answers = {"/version": LATER, "/v1.44/info": {"Swarm": {"LocalNodeState": "active"}}}
        with engine_that_says(tmp_path, answers), at_socket(tmp_path / "sock") as engine:
            assert Swarm(engine).info().state == "active"

    def test_an_engine_that_was_upgraded_meanwhile_is_asked_for_its_versions_again(self, tmp_path: Path) -> None:
        answers: dict[str, Any] = {"/version": TODAY, "/v1.41/info": {}}
        with engine_that_says(tmp_path, answers), at_socket(tmp_path / "sock") as engine:
            assert not Swarm(engine).info().inside
            answers |= {"/version": LATER, "/v1.41/info": 400, "/v1.44/info": {}}
            with pytest.raises(EngineRefused):
                Swarm(engine).info()
            assert not Swarm(engine).info().inside

    def test_silence_ends_after_the_time_that_was_given(self, tmp_path: Path) -> None:
        with engine_that_says(tmp_path, {}, silent=True), at_socket(tmp_path / "sock") as engine:
            engine.timeout_seconds = 0.2
            with pytest.raises(DeadlineExceeded, match="did not answer GET /info within"):
                Swarm(engine).info()

    def test_what_is_no_json_is_no_engine(self, tmp_path: Path) -> None:
        answers = {"/version": TODAY, "/v1.41/info": b"<html>"}
        with (
            engine_that_says(tmp_path, answers),
            at_socket(tmp_path / "sock") as engine,
            pytest.raises(EngineError, match="no Docker engine"),
        ):
            Swarm(engine).info()

    def test_a_kept_connection_that_died_is_made_anew(self, tmp_path: Path) -> None:
        answers = {"/version": TODAY, "/v1.41/info": {}}
        with at_socket(tmp_path / "sock") as engine:
            for _ in range(2):
                with engine_that_says(tmp_path, answers):
                    assert not Swarm(engine).info().inside


@contextmanager
def engine_that_says(folder: Path, answers: dict[str, Any], silent: bool = False) -> Iterator[None]:
    """Listen at FOLDER/sock and give these answers, by path."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_GET(self) -> None:
            if silent:
                ended.wait(10)
                return
            said = answers.get(self.path)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(said if isinstance(said, int) else 404 if said is None else 200)
            self.send_header("Content-Length", str(len(body)))
            if self.path.endswith("/info"):
                self.close_connection = True  # without a word, as an engine that is restarted
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "client"

        def log_message(self, *_: object) -> None: ...

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    (folder / "sock").unlink(missing_ok=True)
    with Server(str(folder / "sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            server.shutdown()
            thread.join()


def by_name(swarm: Swarm) -> list[Any]:
    return sorted(swarm.nodes(), key=lambda node: node.hostname)
