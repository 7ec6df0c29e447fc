"""Scheduled services on real engines: a Swarm of three, a real etcd, and the registrar of an agent for each machine.

    with service_lab(folder, cluster, store) as lab:
        lab.submit(web={"image": "busybox:lab", ...})
        lab.make(changing.scale("web", 4))
        lab.work.look().of("web")

The registrars run in the test's process, outside of the lab's network: what they check is the container's own health
check, or nothing (`check: none`). Each tells what it has seen as its machine's router would: applied.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etcd_cluster import EtcdCluster
from registrar_machine import Machine
from swarm_lab import IMAGE, SwarmLab, swarm_lab
from waiting import until

from argosy import etcd
from argosy.config.loading import ScheduledSettings, Settings, load
from argosy.engine.swarm import Swarm
from argosy.etcd import Etcd
from argosy.services import changing
from argosy.services.actions import Plan
from argosy.services.changing import Change
from argosy.services.routers import Routers
from argosy.services.state import Running
from argosy.services.work import ServicesCluster

SERVE = "mkdir -p /tmp/w; echo $ARGOSY_INSTANCE $ARGOSY_VERSION >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"
WEB: dict[str, Any] = {
    "image": IMAGE,
    "replicas": 2,
    "command": ["sh", "-c", SERVE],
    "discovery": {"port": 80, "scheme": "http", "check": "none"},
    "stop": {"grace_seconds": 1},
    "restart": {"delay_seconds": 0.1},
    "update": {"deadline_seconds": 30},
}
"""A web server. As process 1 it ignores SIGTERM: a stop takes its whole grace."""


class Unasked(Routers):
    """Nobody is asked, as when no machine can be reached."""

    def __init__(self) -> None:
        pass

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        del servers
        return {}

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        del servers, seconds
        return {}


class LabWork(ServicesCluster):
    """The work where no machine is reached by ssh."""

    def routers(self, name: str) -> Unasked:
        del name
        return Unasked()


def lab_work(settings: Settings, store: Etcd, swarm: Swarm, told: list[str]) -> ServicesCluster:
    """`told`: gets what is reported."""
    work = LabWork(settings, lambda subject, message: told.append(f"{subject}: {message}"), store=store)
    work.swarm = swarm
    return work


class Router:
    """Says of a machine's router that it has applied what the machine's agent has seen."""

    def __init__(self, machine: Machine, store: Etcd) -> None:
        self._store = store
        self._machine = machine
        self._news = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        machine.mirror.subscribe(lambda _: self._news.set())
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._news.set()
        self._thread.join()

    def _tell(self) -> None:
        while self._news.wait() and not self._end.is_set():
            self._news.clear()
            self._store.put(f"/routers/{self._machine.name}", str(self._machine.mirror.revision))


@dataclass
class ServiceLab:
    """`told`: what the operations have reported."""

    swarms: SwarmLab
    settings: Settings
    work: ServicesCluster
    machines: dict[str, Machine]
    told: list[str] = field(default_factory=list)

    def submit(self, replicas: int | None = None, **definitions: Mapping[str, Any]) -> list[Plan]:
        return changing.make(self.work, self.submission(replicas, **definitions))

    def submission(self, replicas: int | None = None, **definitions: Mapping[str, Any]) -> Change:
        found = {name: ScheduledSettings.model_validate(definition) for name, definition in definitions.items()}
        return changing.submit(self.work, changing.wanted(self.work, found, list(found), replicas))

    def make(self, change: Change) -> list[Plan]:
        return changing.make(self.work, change)

    def running(self, name: str = "web") -> Running:
        found = self.work.look().of(name).current
        assert found is not None
        return found

    def up(self, name: str = "web") -> int:
        return len(self.running(name).up)

    def hosts(self, name: str = "web") -> set[str]:
        prefix = f"/services/{name}/hosts/"
        return {entry.key.removeprefix(prefix) for entry in self.work.store.get_prefix(prefix).entries}

    def known_keys(self, name: str = "web") -> list[str]:
        prefixes = (f"/services/{name}/", "/cluster/scheduled/" + name)
        return [entry.key for prefix in prefixes for entry in self.work.store.get_prefix(prefix).entries]

    def history(self) -> list[str]:
        return [entry.value for entry in self.work.store.get_prefix("/cluster/history/").entries]

    def clear(self) -> None:
        """Leave nothing of a test: no service, no container, no key."""
        for service in self.work.swarm.services():
            self.work.swarm.remove_service(service.id)
        until(lambda: not self.work.swarm.tasks(), 30)
        until(lambda: all(not node.docker("ps", "-q") for node in self.swarms.nodes.values()), 30)
        for prefix in ("/services/", "/cluster/"):
            self.work.store.delete(prefix, prefix=True)
        self.told.clear()


def label_nodes(manager: Swarm) -> None:
    """Give the nodes their machines' metadata: tier=green on air-01 and air-02, rack=r1.. of each its own."""
    for node in manager.nodes():
        number = node.hostname[-1]
        tier = {"tier": "green"} if number in "12" else {}
        manager.update_node(node, labels={"argosy.machine": node.hostname, "rack": f"r{number}", **tier})


@contextmanager
def service_lab(folder: Path, cluster: EtcdCluster, store: Etcd, size: int = 3) -> Iterator[ServiceLab]:
    """Give a lab whose machines have the metadata of `label_nodes`."""
    with swarm_lab(size) as swarms, ExitStack() as stack:
        # No machine dies here, and one that has no turn for a while must not lose its instances to others.
        swarms.form(heartbeat_seconds=5)
        manager = swarms.nodes["air-01"].swarm
        label_nodes(manager)
        settings = load({"system": "air", "discovery": {"ttl_seconds": 2}, "clusters": {"test": {}}}, root=folder)
        machines = {}
        for name, machine in swarms.nodes.items():
            own = folder / name
            own.mkdir()
            lease_store = stack.enter_context(etcd.connect(cluster.settings(), cluster.machines))
            socket = machine.folder / "docker.sock"
            machines[name] = Machine(own, store, lease_store, "", socket, name=name, address=machine.address)
            machines[name].start()
            stack.callback(machines[name].stop)
            router = Router(machines[name], store)
            stack.callback(router.stop)
        told: list[str] = []
        work = lab_work(settings, store, manager, told)
        yield ServiceLab(swarms, settings, work, machines, told)
