"""The real machines of a rollout on a real etcd; what would be asked by ssh is answered by stand-ins."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from etcd_cluster import EtcdCluster
from fake_host import Answer, FakeHost, FakeHosts

from argosy.clock import SystemClock
from argosy.cluster.events import Event, reporting
from argosy.cluster.lock import ClusterLock
from argosy.cluster.opening import OpenCluster
from argosy.cluster.release import Release
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.etcd import Etcd
from argosy.model import Machine
from argosy.rollouts.machines import RemoteMachines
from argosy.rollouts.preflight import RemotePreflight
from argosy.schema import machine_key, router_key
from argosy.ssh.host import Hosts
from argosy.ssh.shell import Script

OLD = Release("0.1.2", "r:5000/air/installer/test@sha256:old")
NEW = Release("0.1.3", "r:5000/air/installer/test@sha256:new")
NAMES = ("air-01", "air-02", "air-03")
CONNECTIONS = "tell the connections"
FACTS = "tell the facts"
DIGEST = f"sha256:{1:064x}"


class StandIn(FakeHost):
    """One machine. `offset`: how wrong its clock is; `pull`: the exit code of bringing a release."""

    release = OLD
    state = "active"
    offset = timedelta(0)
    free = 50_000
    registry = "200"
    lacks = ""
    writes_units_down = True
    connections = '{"connections": 0}'
    container = "air-web"
    pull = 0

    def __init__(self, name: str) -> None:
        self.drifted: list[str] = []
        self.web = {"unit": "active", "check": "passing"}
        answers: dict[str, Answer] = {
            "look at the machine": lambda _: self.looked(),
            "begin the install": self.begin,
            CONNECTIONS: lambda _: self.connections,
            FACTS: lambda _: self.facts(),
            "remove old images": lambda _: "2\n",
            "hold the machine's own updates": lambda _: "",
            "let the machine update itself": lambda _: "",
        }
        super().__init__(Machine(name, "10.0.0.1"), answers)

    def title(self, command: Sequence[str]) -> str:
        if command[-1].startswith("http://agent/connections?seconds="):
            return CONNECTIONS
        return FACTS if list(command[:2]) == ["/opt/air/bin/air", "facts"] else super().title(command)

    def begin(self, words: Sequence[str]) -> None:
        self.release = Release(*(line.partition("=")[2] for line in words[-1].splitlines()))

    def looked(self) -> str:
        record = {"state": self.state, "release": self.release.version}
        return (
            f"now={(datetime.now(UTC) + self.offset).timestamp()}\nfree_root={self.free}\nfree_docker={self.free}\n"
            f"RELEASE_VERSION={self.release.version}\nRELEASE_IMAGE={self.release.image}\n"
            f"record={json.dumps(record)}\nregistry={self.registry}\n"
            f"lacks={self.lacks}\n"
            + ("".join(f"drifted.{name}=\n" for name in self.drifted) + "drifted=\n")
            * self.writes_units_down
        )

    def facts(self) -> str:
        web = {"name": "web", "version": "0.1.1", "digest": DIGEST, "release_digest": DIGEST, **self.web}
        container = {
            "Id": "1",
            "Name": f"/{self.container}",
            "State": {"Running": True, "StartedAt": "2026-01-31T12:00:00Z", "Health": None},
            "Config": {"Image": "x", "Labels": {"argosy.service": "web", "argosy.port": "80"}, "ExposedPorts": {}},
            "HostConfig": {"NetworkMode": "host"},
            "NetworkSettings": {"Ports": {}, "Networks": {}},
        }
        servers = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n"
        told = {
            "release": self.release.version,
            "release_image": self.release.image,
            "services": [web],
            "containers": [container],
            "router": {"servers": servers},
        }
        return f'{json.dumps(told)}\n{{"names": {{}}}}\n'

    def stream(self, command: Sequence[str], *, on_line: Callable[[str], Any], check: bool = True, **_: object) -> int:
        self.connect()
        title = command.title if isinstance(command, Script) else "pull"
        self.asked.append(title)
        if title == "follow the install":
            told = {"state": "failed" if self.state == "failed" else "active", "release": self.release.version}
            record = json.dumps(told | {"seconds": 1.0, "failed": [{"service": "web", "reason": "no"}]})
            for _number in range(5):
                on_line(f"argosy-state inactive active marker=yes booting=no release={self.release.version} {record}")
            return 0
        on_line("web: pulling 0.1.3")
        if self.pull:
            on_line("failed: no room")
        return self.pull


def put_state(store: Etcd, name: str, state: str, release: str = "0.1.2") -> None:
    record = {"address": "10.0.0.1", "role": "client", "release": release, "state": state, "metadata": {"a": "b"}}
    store.put(machine_key(name), json.dumps(record))


def state_of(store: Etcd, name: str) -> str:
    entry = store.get(machine_key(name))
    assert entry is not None
    record = json.loads(entry.value)
    assert record["metadata"] == {"a": "b"}
    return str(record["state"])


class Lab:
    """The machines under test, with all that they told."""

    def __init__(
        self,
        cluster: EtcdCluster,
        store: Etcd,
        lock: ClusterLock | None,
        *,
        check_seconds: float = 0.1,
        **section: Any,
    ) -> None:
        rules = {"drain_seconds": 1, "check_seconds": 1} | section.pop("rollout", {})
        self.settings: Settings = cluster.settings(
            swarm={"enabled": False},
            rollout=rules,
            discovery={"ttl_seconds": 2, "check_seconds": check_seconds},
            registry={"address": "r:5000"},
            **section,
        )
        self.hosts = FakeHosts([StandIn(name) for name in NAMES])
        self.store = store
        for name in NAMES:
            put_state(store, name, "active")
        self.events: list[Event] = []
        report = reporting(self.events.append, SystemClock())
        work = OpenCluster(self.settings, report, hosts=cast(Hosts, self.hosts), store=store, lock=lock)
        self.preflight = RemotePreflight(work, self.release_of)
        if lock is not None:
            self.machines = RemoteMachines(
                work,
                self.events.append,
                self.release_of,
                lambda release: [release.image, f"{release.image}-web"],
            )

    def release_of(self, version: str) -> Release:
        if version == "0.0.1":
            raise Refused("the registry does not have it")
        return Release(version, f"r:5000/air/installer/test@sha256:{version}")

    def lines(self) -> list[str]:
        return [f"{event.subject}: {event.text}" for event in self.events]


@contextmanager
def routers(store: Etcd, *names: str) -> Iterator[None]:
    """Let these routers apply whatever is written, as agents do."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.05):
            revision = store.health()
            for name in names:
                store.put(router_key(name), str(revision))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
