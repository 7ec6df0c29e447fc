"""Pure. Does every machine run, and every router reach, what the release and etcd say? Each chain of facts is compared
hop by hop, and the first hop that differs is named.

    release     the machine has installed the cluster's release, by digest, which names no other cluster, and so it is
                recorded in etcd
    image       that release pins the same digest of the service's image everywhere
    container   a container of that digest runs and passes its check
    etcd        the instance is registered with the endpoint that its container has
    router      each machine's HAProxy has a server line for it that is up, and none that etcd does not know
    dns         each machine resolves the service's name under the local domain to its own bridge

A chain begins where its instance comes from: a service of the release at `release`, a scheduled service's at `image`
(argosy.status.scheduled), another container with our labels at `container`, what is registered by hand at `etcd`.
An alarm of etcd's is a chain of its own, which differs there; so is a service of the release that no machine runs, at
`release`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from argosy.config.builtin import DNS, ROUTER
from argosy.discovery.report import registered_by
from argosy.etcd.alarms import Alarm
from argosy.machine.facts import Labelled, MachineFacts
from argosy.model import MachineState
from argosy.routing.haproxy import BACKEND, backend_name, server_name
from argosy.routing.values import Routing
from argosy.schema import Directory, Instance, instance_key
from argosy.status.report import version_order
from argosy.text import printable

HOPS = ("release", "image", "container", "etcd", "router", "dns")
SAME, DIFFERS, UNASKED, NONE = "same", "differs", "not asked", ""
"""What is said of a hop: the ones after the first that differs are not asked; some chains have no such hop."""


@dataclass(frozen=True, slots=True)
class Chain:
    """`machine`: empty for what was registered by hand; `hops`: those that this chain has, in order; `differs`: the
    first one that does, and `reason`: how. Both are empty when every hop agrees."""

    service: str
    machine: str
    instance: str
    hops: tuple[str, ...]
    differs: str = ""
    reason: str = ""

    def __str__(self) -> str:
        where = f" on {self.machine}" if self.machine else f"/{printable(self.instance)}"
        return f"{printable(self.service)}{where}: {self.differs}: {self.reason}"

    def words(self) -> dict[str, str]:
        """Return SAME, DIFFERS, UNASKED or NONE for each of HOPS."""
        last = self.hops.index(self.differs) if self.differs else len(self.hops)
        found = {hop: SAME if number < last else UNASKED for number, hop in enumerate(self.hops)}
        return {hop: DIFFERS if hop == self.differs else found.get(hop, NONE) for hop in HOPS}


@dataclass(frozen=True, slots=True)
class Verification:
    """`release`: that of the cluster; `revision`: of etcd, at which it was compared."""

    release: str
    image: str
    revision: int
    chains: tuple[Chain, ...]

    @property
    def differing(self) -> list[Chain]:
        return [chain for chain in self.chains if chain.differs]

    def to_json(self) -> dict[str, Any]:
        """Return the shape that `cluster.verify --json` prints; keys are only ever added to it:

            {"verified": false, "release": "0.1.4", "image": "HOST:PORT/air/installer@sha256:...", "revision": 812,
             "chains": [{"service": "web", "machine": "air-01", "instance": "air-01:air-web", "differs": "router",
                         "reason": "...", "hops": {"release": "same", ..., "router": "differs", "dns": "not asked"}}]}

        A hop is empty for a chain that has none such.
        """
        return {
            "verified": not self.differing,
            "release": self.release,
            "image": self.image,
            "revision": self.revision,
            "chains": [asdict(chain) | {"hops": chain.words()} for chain in self.chains],
        }

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the table that `cluster.verify` prints: (columns, rows)."""
        rows: list[list[object]] = [
            [printable(chain.service), chain.machine or "(by hand)", printable(chain.instance), *chain.words().values()]
            for chain in self.chains
        ]
        return ["service", "machine", "instance", *HOPS], rows


def verify(
    cluster: tuple[str, str],
    domain: str,
    revision: int,
    machines: Sequence[MachineFacts],
    directory: Directory,
    routing: Routing,
) -> Verification:
    """Compare. `cluster`: the names of the system and the cluster; `directory`, `routing`: what etcd says at
    `revision`, and what routers should make of it; `domain`: the local one, empty when no names are compared."""
    return _Verifier(*cluster, domain, machines, directory, routing).verification(revision)


def alarm_chains(alarms: Iterable[Alarm]) -> list[Chain]:
    """Return what stands for etcd's alarms: nothing that is to be written reaches anybody."""
    return [Chain("(etcd)", alarm.member, "", ("etcd",), "etcd", alarm.reason) for alarm in alarms]


def wanted_release(machines: Iterable[MachineFacts]) -> tuple[str, str]:
    """Return the version and the image of the release that most machines have; of two, the one with more digits."""
    told = Counter((machine.release, machine.image) for machine in machines if machine.release)
    return max(told, key=lambda pair: (told[pair], version_order(pair[0]), pair), default=("", ""))


class _Verifier:
    def __init__(
        self,
        system: str,
        cluster: str,
        domain: str,
        machines: Sequence[MachineFacts],
        directory: Directory,
        routing: Routing,
    ) -> None:
        self.system, self.cluster, self.domain = system, cluster, domain
        self.machines = {machine.machine: machine for machine in machines}
        self.directory, self.routing = directory, routing
        self.release, self.image = wanted_release(machines)
        right = [machine for machine in machines if (machine.release, machine.image) == (self.release, self.image)]
        pins = [(name, service.release_digest) for facts in right for name, service in facts.services.items()]
        self.pinned = {name: pin for (name, pin), _ in reversed(Counter(pins).most_common())}
        self.routers = [machine for machine in machines if not machine.reason and ROUTER in machine.services]

    def verification(self, revision: int) -> Verification:
        chains = [*self.of_releases(), *self.of_nowhere(), *self.of_containers(), *self.of_keys(), *self.of_strays()]
        chains.sort(key=lambda chain: (chain.service, chain.machine, chain.instance))
        return Verification(self.release, self.image, revision, tuple(chains))

    # The chains, by where they begin

    def of_releases(self) -> Iterator[Chain]:
        for facts in self.machines.values():
            for service in sorted({*self.pinned, *facts.services} - facts.elsewhere) or [""]:
                labelled = self.own_container(facts, service)
                hops = HOPS if labelled else (*HOPS[:3], "dns") if service == DNS and self.domain else HOPS[:3]
                found = self.first_difference(hops, facts, service, labelled)
                yield Chain(service or "(release)", facts.machine, labelled.instance if labelled else "", hops, *found)

    def of_nowhere(self) -> Iterator[Chain]:
        """Yield the services that run on no machine, when it is known of all that etcd knows."""
        told = {name: facts.elsewhere for name, facts in self.machines.items() if not facts.reason}
        if not told or {*self.machines, *self.directory.machines} - set(told):
            return
        for service in sorted(frozenset.intersection(*told.values())):
            reason = f"its release runs it on none of the cluster's machines: see services.{service}.machines"
            yield Chain(service, "(nowhere)", "", HOPS[:1], "release", reason)

    def of_containers(self) -> Iterator[Chain]:
        for facts in self.machines.values():
            for labelled in facts.labelled:
                if labelled != self.own_container(facts, labelled.container.removeprefix(f"{self.system}-")):
                    found = self.first_difference(HOPS[2:], facts, "", labelled)
                    yield Chain(labelled.service, facts.machine, labelled.instance, HOPS[2:], *found)

    def of_keys(self) -> Iterator[Chain]:
        covered = {
            (labelled.service, labelled.instance) for facts in self.machines.values() for labelled in facts.labelled
        }
        for service in self.directory.services.values():
            for instance in service.instances:
                machine = registered_by(instance.id)
                if not machine:
                    reason = self.router_difference(service.name, instance) or self.dns_difference(service.name)
                    yield Chain(service.name, "", instance.id, HOPS[3:], *reason)
                elif (service.name, instance.id) not in covered:
                    yield Chain(
                        service.name, machine, instance.id, HOPS[2:], "container", self.missing_container(instance.id)
                    )

    def of_strays(self) -> Iterator[Chain]:
        for facts in self.routers:
            for backend, servers in facts.servers.items():
                wanted = self.routing.backends[backend].servers if backend in self.routing.backends else {}
                for name, server in servers.items():
                    if backend.startswith(BACKEND) and name not in wanted and server.ready and server.up:
                        reason = f"{facts.machine} sends requests to {server.endpoint}, which etcd does not know"
                        yield Chain(backend.removeprefix(BACKEND), facts.machine, name, HOPS[3:5], "router", reason)

    # The hops: each returns (hop, reason), or nothing when it agrees

    def first_difference(
        self, hops: Sequence[str], facts: MachineFacts, service: str, labelled: Labelled | None
    ) -> tuple[str, str] | tuple[()]:
        if "release" in hops and (found := self.release_difference(facts, service)):
            return found
        if labelled and labelled.unwell:
            return "container", labelled.unwell
        if labelled is None:
            return self.resolver_difference(facts) if "dns" in hops else ()
        instance, reason = self.registered(facts, labelled)
        if reason:
            return "etcd", reason
        if instance is None:
            return ()
        return self.router_difference(labelled.service, instance) or self.dns_difference(labelled.service)

    def release_difference(self, facts: MachineFacts, service: str) -> tuple[str, str] | tuple[()]:
        if facts.reason:
            return "release", facts.reason
        if facts.cluster not in ("", self.cluster):
            return (
                "release",
                f"its release {facts.release} is of the cluster {facts.cluster}, not of {self.cluster}",
            )
        if facts.release != self.release:
            return "release", f"it has {facts.release}, the cluster's is {self.release}"
        if facts.image != self.image:
            return "release", f"its release {facts.release} is {facts.image}, elsewhere it is {self.image}"
        record = self.directory.machines.get(facts.machine)
        if record is None or record.release != facts.release:
            told = record.release if record else ""
            return "release", f"etcd records {told or 'no release'} for it, it has {facts.release}"
        found = facts.services.get(service)
        if found is None or found.release_digest != self.pinned.get(service):
            pin = found.release_digest if found else "no such service"
            return "image", f"its release has {pin}, the others' {self.pinned.get(service)}"
        if found.digest != found.release_digest:
            return "container", f"it runs {found.digest or 'nothing'}, the release has {found.release_digest}"
        return ("container", found.problem) if found.problem else ()

    def registered(self, facts: MachineFacts, labelled: Labelled) -> tuple[Instance | None, str]:
        """Return the container's instance, or why it is not as it should be in etcd; neither when it may be missing."""
        if labelled.reason:
            return None, labelled.reason
        service = self.directory.services.get(labelled.service)
        found = (
            next((instance for instance in service.instances if instance.id == labelled.instance), None)
            if service
            else None
        )
        record = self.directory.machines.get(facts.machine)
        if found is None:
            leaving = record is not None and record.state == MachineState.DRAINING
            missing = f"no {printable(instance_key(labelled.service, labelled.instance))}"
            return None, "" if leaving else missing
        wanted = labelled.endpoint
        if wanted is None and found.endpoint.address != facts.address:
            return None, f"it is registered at {found.endpoint}, which is not a port of {facts.address}"
        if wanted is not None and found.endpoint != wanted:
            return None, f"it is registered at {found.endpoint}, its container is at {wanted}"
        return found, ""

    def router_difference(self, service: str, instance: Instance) -> tuple[str, str] | tuple[()]:
        backend = self.routing.backends.get(backend_name(service))
        if backend is None:
            return ()
        name = server_name(instance.id, instance.endpoint)
        wanted = backend.servers.get(name)
        if wanted is None:
            return "router", f"no router uses {instance.endpoint}: see inv discovery.list {printable(service)}"
        for facts in self.routers:
            server = facts.servers.get(backend.name, {}).get(name)
            if facts.router_reason:
                return "router", f"{facts.machine}: {facts.router_reason}"
            if server is None:
                return "router", f"{facts.machine} has no server {name} in {backend.name}"
            if server.endpoint != wanted.endpoint:
                return "router", f"{facts.machine} has {server.endpoint} for {name}"
            if server.weight != wanted.weight:
                return "router", f"{facts.machine} gives {name} the weight {server.weight}, not {wanted.weight}"
            if not (server.up and server.ready):
                return "router", f"{facts.machine} sends nothing to {instance.endpoint}: it fails the router's check"
        return ()

    def dns_difference(self, service: str) -> tuple[str, str] | tuple[()]:
        known = self.directory.services.get(service)
        if not self.domain or known is None or known.scheme is None:
            return ()
        for facts in self.machines.values():
            if DNS in facts.services and (found := self.name_difference(facts, f"{service}.{self.domain}")):
                return found
        return ()

    def resolver_difference(self, facts: MachineFacts) -> tuple[str, str] | tuple[()]:
        """Compare all names that the machine was asked for: its own resolver has no service to be compared by."""
        return next((found for name in facts.names if (found := self.name_difference(facts, name))), ())

    @staticmethod
    def name_difference(facts: MachineFacts, name: str) -> tuple[str, str] | tuple[()]:
        if name not in facts.names:
            return "dns", f"{facts.machine} has not answered for {name}"
        if facts.names[name] != (facts.bridge,):
            told = ", ".join(facts.names[name]) or "nothing"
            return "dns", f"on {facts.machine} {name} is {told}, not {facts.bridge or 'the bridge, which is not there'}"
        return ()

    def own_container(self, facts: MachineFacts, service: str) -> Labelled | None:
        """Return the container of a service of the release, if it declares an instance."""
        if service not in facts.services:
            return None
        return next((labelled for labelled in facts.labelled if labelled.container == f"{self.system}-{service}"), None)

    def missing_container(self, instance: str) -> str:
        machine, _, container = instance.partition(":")
        facts = self.machines.get(machine)
        if facts is None:
            return f"etcd has it, and there is no machine {printable(machine)}"
        return facts.reason or f"etcd has it, and {machine} runs no container {printable(container)} that declares it"
