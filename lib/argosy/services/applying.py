"""Do what is to be done to a scheduled service, against Swarm and etcd. Each action may have been done before.

Whoever stood still between two of them, and lost the cluster's lock meanwhile, changes nothing more: writes to etcd
depend on the lock, changes in Swarm on the version that was looked at before the lock was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from argosy.cluster.events import Checked
from argosy.discovery import keys
from argosy.discovery.draining import default_deadline_seconds
from argosy.engine.swarm_model import DOWN, Node, SwarmService
from argosy.errors import DeadlineExceeded, OutOfSequence, Refused, Unhealthy
from argosy.etcd import Delete, Put
from argosy.etcd.values import MAX_WRITES
from argosy.report import Report
from argosy.schema import MACHINES, ROUTERS, drain_key, generation_key, parse_directory, service_key, weight_key
from argosy.schema.labels import SYSTEM
from argosy.services import actions
from argosy.services.actions import Action, Plan
from argosy.services.definitions import registry_auth
from argosy.services.homes import homes_left, labels_with, spec_at_home, unsettled
from argosy.services.plan import failed_slots
from argosy.services.record import HOMES, PREFIX, Generation, ServiceImage, homes_text, parse_homes
from argosy.services.serving import ROUTERS_FOLLOW, Gates, Watch, weighed_gates
from argosy.services.spec import HELD, at_home, held_spec, render_spec, service_name, with_replicas
from argosy.services.state import WITHDRAWN, Routes, routers_of, routes_of
from argosy.services.updates.record import UPDATES
from argosy.services.waiting import POLL_SECONDS, QUIET_SECONDS, Waiter
from argosy.services.work import ServicesCluster

STOP_SECONDS = 30.0
"""How long what ends may take beyond its grace."""
TRIES = 10
"""Of a change of a service that others, Swarm among them, are faster than."""
TOUCHED = "argosy.touched"
"""A label by whose change Swarm looks at a service again."""
LOOK_AGAIN_SECONDS = 5.0
"""How long Swarm may take for that."""


def apply(work: ServicesCluster, plan: Plan) -> None:
    """Do the plan. Raises LockLost, Unhealthy, DeadlineExceeded, EngineError, EtcdError: the same command resumes."""
    executor = Executor(work, plan.name)
    for action in plan.actions:
        work.holding.check()
        work.report(plan.name, action.says())
        try:
            executor.do(action)
        except (Unhealthy, DeadlineExceeded) as error:
            raise type(error)(f"{plan.name}: {error}") from None


def settle_homes(work: ServicesCluster) -> list[str]:
    """Let services that are placed stay with their volumes, and return those of which that was not so yet."""
    state = work.look()
    names = list(unsettled(state))
    for name in names:
        service = state.of(name)
        homes = service.homes or service.placed
        where = (
            f"its volumes are on {', '.join(homes)}: it stays there"
            if homes
            else "its volumes are lost: it is anywhere"
        )
        work.report(name, where)
        Executor(work, name).keep_home(homes)
    return names


class Executor:
    """Acts on one service, under the cluster's lock. `tell`: as `Waiter` has it; `report`: instead of the cluster's."""

    def __init__(
        self,
        work: ServicesCluster,
        name: str,
        tell: Callable[[Checked], None] | None = None,
        report: Report | None = None,
    ) -> None:
        self.waiter = Waiter(work, name, tell)
        self._report = report or work.report
        self.follow_seconds = default_deadline_seconds(work.settings)
        self._work = work
        self._name = name

    def do(self, action: Action) -> None:
        name, write = self._name, self._work.holding.write
        match action:
            case actions.SaveRecord(record):
                write([Put(record.key, record.text())])
            case actions.Create(generation, replicas):
                self.start(generation, replicas)
            case actions.Scale(number, replicas, homes):
                self.scale(number, replicas, homes)
            case actions.KeepHome():
                self.stay()
            case actions.Withdraw(ids):
                self.withdraw(ids)
            case actions.Restore(ids):
                write([Delete(drain_key(name, id)) for id in ids])
            case actions.StopRouting(number):
                self._continue_without(self.close(number))
                self.empty(self.registered(number)[1], name)
            case actions.Remove(number):
                self.remove(number)
            case actions.ResumeRouting(number):
                write([Delete(generation_key(name, number))])
            case actions.Revive(number):
                self.revive(number)
            case actions.DeleteRecord(all_keys):
                routes = [Delete(service_key(name, ""), prefix=True)] if all_keys else []
                self.keep_home(())
                write([*routes, Delete(UPDATES + name), Delete(HOMES + name), Delete(PREFIX + name)])
            case actions.WaitUntilServing(record):
                began, watch = self._work.clock.elapsed(), Watch(name, record.current, exact=True)
                seconds = record.definition.update.deadline_seconds
                self.waiter.wait_until_serving(watch, record.replicas, seconds, behind=DeadlineExceeded)
                self._report(name, f"serves after {self._work.clock.elapsed() - began:.1f} s")

    # Swarm

    def start(self, generation: Generation, replicas: int | None) -> None:
        """Let Swarm run a generation. It is created so that nothing of it runs, and then told to run."""
        spec = render_spec(self._work.settings, self._name, generation, replicas, self._homes())
        auth = registry_auth(self._work.settings, generation.image)

        def attempt() -> None:
            if self._service(generation.number) is None:
                self._work.swarm.create_service(held_spec(spec), auth)
            service = self._required(generation.number)
            self._work.holding.check()
            if HELD in service.labels or service.replicas != replicas:
                self._work.swarm.update_service(service, spec, auth)

        self.change(attempt)

    def scale(self, number: int, replicas: int, homes: Collection[str] | None = None) -> None:
        """Let Swarm run another number of instances of a generation, on the machines `homes`: see `at_home`. None:
        where they may run already."""

        def attempt() -> None:
            service = self._required(number)
            if service.replicas == replicas:
                return
            spec = with_replicas(service.spec, replicas)
            record = None if homes is None else self._work.look(self._name).of(self._name).record
            self.update(service, at_home(spec, self._name, record.definition, homes or ()) if record else spec)

        self.change(attempt)

    def stay(self) -> None:
        """Let the instances stay where they run now; those of a service without any, where they ran."""
        service = self._work.look(self._name).of(self._name)
        homes = service.placed or service.homes
        if homes:
            self.keep_home(homes)

    def keep_home(self, homes: Sequence[str]) -> None:
        """Let the instances of the service stay on the machines `homes`, which have its volumes; without any they are
        where they fit. Idempotent."""
        state = self._work.look(self._name)
        service, key = state.of(self._name), HOMES + self._name
        if tuple(homes) != service.homes:
            self._work.holding.write([Put(key, homes_text(homes)) if homes else Delete(key)])
        # The constraint comes after the labels, and goes before them: an instance without its label is ended.
        if homes:
            self._label_homes(state.nodes, homes)
        for number in service.generations:
            self.change(partial(self._settle, number, homes))
        if not homes:
            self._label_homes(state.nodes, homes)

    def lose_home(self, machine: str) -> None:
        """Let the machine, which goes for good, be no home of the service. Idempotent.

        Its node keeps the label, by whose loss Swarm would end the instances there before others serve.
        """
        service = self._work.look(self._name).of(self._name)
        left = homes_left(service, machine)
        if not left:
            self.keep_home(())
            return
        self._work.holding.write([Put(HOMES + self._name, homes_text(left))])
        for number in service.generations:
            self.change(partial(self._settle, number, left))

    def _label_homes(self, nodes: Iterable[Node], homes: Sequence[str]) -> None:
        for node in nodes:
            labels = labels_with(node, self._name, homes)
            if labels != dict(node.labels):
                self._work.holding.check()
                self._work.swarm.update_node(node, labels=labels)

    def _settle(self, number: int, homes: Sequence[str]) -> None:
        service = self._work.look(self._name).of(self._name)
        running = service.generations.get(number)
        spec = spec_at_home(service, running, homes) if running else None
        if running and spec:
            self.update(running.service, spec)

    def _homes(self) -> tuple[str, ...]:
        """Return the machines that have the service's volumes, which their nodes say from now on."""
        entry = self._work.store.get(HOMES + self._name)
        try:
            homes = parse_homes(entry.value) if entry else ()
        except ValueError as error:
            raise Refused(f"{HOMES}{self._name} in etcd is {error}") from None
        if homes:
            self._label_homes(self._work.swarm.nodes(), homes)
        return homes

    def change(self, attempt: Callable[[], None]) -> None:
        """Make a change of a service in Swarm, which looks before; again when others were faster."""
        for tries in range(1, TRIES + 1):
            self._work.holding.check()
            try:
                attempt()
            except OutOfSequence:
                if tries == TRIES:
                    raise
                self._work.holding.pause(POLL_SECONDS)
            else:
                return

    def update(self, service: SwarmService, spec: Mapping[str, Any]) -> None:
        """Change a service in Swarm; the password of its image's registry may be another by now."""
        auth = registry_auth(self._work.settings, ServiceImage(service.image))
        self._work.swarm.update_service(service, spec, auth)

    def touch(self, service: SwarmService) -> None:
        """Let Swarm look at a service again."""
        labels = {**service.spec["Labels"], TOUCHED: self._work.clock.now().isoformat(timespec="milliseconds")}
        self.update(service, {**service.spec, "Labels": labels})

    def remove(self, number: int) -> None:
        """Take a generation out of Swarm, and wait until nothing of it is left. Raises DeadlineExceeded.

        Of machines that are down nothing is awaited: it ends when they are back.
        """
        service = self._service(number)
        self._work.holding.check()
        if service is not None:
            self._work.swarm.remove_service(service.id)
        id, grace_seconds = (service.id, service.grace_seconds) if service else ("", 0.0)
        seconds = grace_seconds + STOP_SECONDS + self.follow_seconds
        self.waiter.require(lambda: self._left(number, id), seconds, error=DeadlineExceeded)

    def _left(self, number: int, service_id: str) -> Gates:
        """Return what is left of a generation that is being removed. `service_id`: empty where it was gone before."""
        _, registered = self.registered(number)
        # Of a service that is gone Swarm lists no tasks by its id, and yet has them until they have ended.
        tasks = [task for task in self._work.swarm.tasks() if service_id and task.service_id == service_id]
        up = {node.id for node in self._work.swarm.nodes() if node.state != DOWN}
        running = sum(task.node_id in up and not task.over for task in tasks)
        return {
            ("", "registered"): f"{', '.join(registered)} has not been deregistered yet" if registered else "",
            ("", "instances"): f"{running} of generation {number} have not ended yet" if running else "",
        }

    def revive(self, number: int) -> None:
        """Let Swarm start what it has given up.

        It looks again when the service changes, be it a label, and starts what its restart policy allows by then (the
        attempts of a window that is over, or those that another manager counted, do not count). Where that leaves one
        out, there is but one more way: every instance is started anew, one after the other.
        """
        self.change(lambda: self.touch(self._required(number)))
        if not self.waiter.wait(self._given_up, LOOK_AGAIN_SECONDS, LOOK_AGAIN_SECONDS):
            return
        restarting = "Swarm's restart policy allows no more: starting every instance anew, one after the other"
        self._report(self._name, restarting)
        self.change(lambda: self._restart(number))
        self.waiter.wait(self._given_up, LOOK_AGAIN_SECONDS, LOOK_AGAIN_SECONDS)

    def _restart(self, number: int) -> None:
        service, record = self._required(number), self._work.look(self._name).of(self._name).record
        crowded = record and (record.definition.max_per_machine or record.definition.conflicts)
        beside = record and record.definition.update.order == "start-first" and not crowded
        order = "start-first" if beside else "stop-first"
        task = service.spec["TaskTemplate"]
        anew = {
            **service.spec,
            "TaskTemplate": {**task, "ForceUpdate": task.get("ForceUpdate", 0) + 1},
            "UpdateConfig": {"Parallelism": 1, "FailureAction": "continue", "Order": order},
        }
        self.update(service, anew)

    def _given_up(self) -> Gates:
        failed = failed_slots(self._work.look(self._name), self._name)
        return {("", "failed"): f"{len(failed)} are not tried again" if failed else ""}

    def _required(self, number: int) -> SwarmService:
        service = self._service(number)
        if service is None:
            raise Refused(
                f"{self._name}: Swarm does not have generation {number} any more; inv service.revive {self._name}"
            )
        return service

    def _service(self, number: int) -> SwarmService | None:
        """Return a generation's service in Swarm. Raises Refused for one that is none of ours."""
        name = service_name(self._work.settings.system, self._name, number)
        service = self._work.swarm.service(name)
        if service is not None and service.labels.get(SYSTEM) != self._work.settings.system:
            raise Refused(f"{self._name}: Swarm has a service {name} that is none of ours")
        return service

    # Routing

    def routes(self) -> Routes:
        """Return what etcd holds of the service now. Swarm need not be there."""
        entries = keys.read(self._work.store, (service_key(self._name, ""), MACHINES, ROUTERS))
        return routes_of(self._name, entries, routers_of(parse_directory(entries), entries))

    def registered(self, number: int) -> tuple[Routes, list[str]]:
        """Return what etcd holds of the service, and the IDs of a generation's instances that are registered."""
        routes = self.routes()
        return routes, routes.registered(service_name(self._work.settings.system, self._name, number))

    def weighed(self, number: int, weight: int) -> Gates:
        """Return the checks that all instances of a generation have a weight, and every live router knows."""
        routes, ids = self.registered(number)
        return weighed_gates(ids, number, routes, weight)

    def follow(self, look: Callable[[], Gates]) -> str:
        """Wait until agents and routers follow, as `look` tells; return who does not in time.

        One that is dead is out of the count after a lease's time.
        """
        return self.waiter.wait(look, self.follow_seconds, QUIET_SECONDS)

    def close(self, number: int) -> str:
        """Send no more requests to a generation, and wait until its agents and every router follow; return who does not
        in time."""
        name, (routes, ids) = self._name, self.registered(number)
        by_hand = [id for id in ids if id in routes.weights and not routes.weights[id].lease]
        for id in by_hand:
            self._report(name, f"the weight that somebody gave {id} goes: it is to get no more requests")
        deletions = [Delete(weight_key(name, id)) for id in by_hand[:MAX_WRITES]]
        self._work.holding.write([Put(generation_key(name, number), "0"), *deletions])
        return self.follow(lambda: self.weighed(number, 0))

    def withdraw(self, ids: Sequence[str]) -> None:
        """Take instances out of every router. Swarm stops them next whatever a router does, so none is waited for
        long."""
        revision = self._work.holding.write([Put(drain_key(self._name, id), WITHDRAWN) for id in ids])

        def applied() -> Gates:
            return {("", ROUTERS_FOLLOW): self.routes().routers.behind(revision)}

        self._continue_without(self.follow(applied))
        self.empty(ids, self._name)

    def empty(self, ids: Sequence[str], what: str) -> None:
        """Let the connections end that the routers have to these instances; what is left when time is over is told."""
        servers, seconds = self.routes().servers(ids), self._work.settings.rollout.drain_seconds
        left = self._work.routers(self._name).wait_until_idle(servers, seconds) if servers else {}
        for machine, count in left.items():
            self._report(machine, f"{count} connections to {what} are still open after {seconds:g} s")
        self._work.holding.check()

    def _continue_without(self, reason: str) -> None:
        if reason:
            self._report(self._name, f"{reason}: continuing without it")
