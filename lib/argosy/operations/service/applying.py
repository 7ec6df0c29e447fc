"""Do the actions of a plan, one after the other. Each checks the lock, and may have been done before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from argosy.container_labels import SYSTEM
from argosy.errors import DeadlineExceeded, EngineRefused, Refused
from argosy.etcd import Delete, Put
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.service.awaiting import (
    POLL_SECONDS,
    silence_deadline_seconds,
    wait_until_gone,
    wait_until_serving,
)
from argosy.operations.service.imaging import registry_auth
from argosy.operations.service.work import Work
from argosy.scheduled_actions import (
    Action,
    Await,
    Create,
    Forget,
    Plan,
    Remember,
    Remove,
    Restore,
    Revive,
    Scale,
    Silence,
    Unsilence,
    Withdraw,
)
from argosy.scheduled_record import PREFIX, ServiceImage
from argosy.scheduled_state import UPDATES, WITHDRAWN, Running
from argosy.scheduled_watch import Awaited
from argosy.scheduling import failed_slots
from argosy.schema import drain_key, generation_key, service_key
from argosy.swarm import SwarmService
from argosy.swarm_spec import render_spec, service_name, with_replicas
from argosy.update_gates import known, prefixes

REMOVAL_MARGIN_SECONDS = 30
ATTEMPTS = 5
REVIVED = "argosy.revived"
LOOK_AGAIN_SECONDS = 5
"""How long Swarm may take to look again at a service that has changed."""


def apply(work: Work, plan: Plan) -> None:
    """Do the plan. Raises LockLost, Unhealthy, DeadlineExceeded, EngineError, EtcdError: the same command goes on."""
    for action in plan.actions:
        work.holding.check()
        work.report(plan.name, action.says())
        _do(work, plan.name, action)


def _do(work: Work, name: str, action: Action) -> None:
    match action:
        case Remember(record):
            work.holding.write([Put(record.key, record.text())])
        case Create():
            create(work, name, action)
        case Scale(number, replicas):
            scale(work, name, number, replicas)
        case Withdraw(ids):
            withdraw(work, name, ids)
        case Restore(ids):
            work.holding.write([Delete(drain_key(name, it)) for it in ids])
        case Silence(number):
            silence(work, name, number)
        case Remove(number):
            remove(work, name, number)
        case Unsilence(number):
            work.holding.write([Delete(generation_key(name, number))])
        case Revive(number):
            revive(work, name, number)
        case Forget(keys):
            routes = [Delete(service_key(name, ""), prefix=True)] if keys else []
            work.holding.write([*routes, Delete(UPDATES + name), Delete(PREFIX + name)])
        case Await(record):
            awaited = Awaited(name, record.generation, record.definition, record.replicas)
            served = wait_until_serving(work, awaited, record.definition.update.deadline_seconds)
            work.report(name, f"{len(served.instances)} serve after {served.seconds:.1f} s")


def create(work: Work, name: str, action: Create) -> None:
    """Create a generation's service in Swarm, unless it is there."""
    spec = render_spec(work.settings, name, action.generation, action.replicas)
    try:
        work.swarm.create_service(spec, registry_auth(work.settings, action.generation.image))
    except EngineRefused as error:
        if error.status != HTTPStatus.CONFLICT:
            raise
        if service_of(work, name, action.generation.number) is None:
            raise Refused(f"{name}: Swarm has a service {spec['Name']} that is none of ours") from None


def scale(work: Work, name: str, number: int, replicas: int) -> None:
    """Let Swarm run another number of instances of a generation."""
    service = required(work, name, number)
    if service.replicas != replicas:
        work.swarm.update_service(service, with_replicas(service.spec, replicas), auth_for(work, service))


def withdraw(work: Work, name: str, ids: Sequence[str]) -> None:
    """Take instances out of every router. Swarm stops them next whatever a router does, so none is waited for long."""
    revision = work.holding.write([Put(drain_key(name, it), WITHDRAWN) for it in ids])
    try:
        wait_until_applied(work.store, revision, silence_deadline_seconds(work))
    except DeadlineExceeded as error:
        work.report(name, f"{error}: going on without it")
    empty(work, name, ids)


def empty(work: Work, name: str, ids: Sequence[str]) -> None:
    """Let the connections end that the routers have to these instances; what is left when time is over is told."""
    if work.routers is None or not ids:
        return
    entries = (entry for prefix in prefixes(name) for entry in work.store.get_prefix(prefix).entries)
    servers, seconds = known(name, entries).servers(ids), work.settings.rollout.drain_seconds
    left = work.routers(name).wait_until_idle(servers, seconds) if servers else {}
    for machine, count in left.items():
        work.report(machine, f"{count} connections to {name} are still open after {seconds:g} s")
    work.holding.check()


def silence(work: Work, name: str, number: int) -> None:
    """Send no more requests to a generation: its weight is 0, its machines' agents pass that on, every router applies
    it. An agent that is not there is told, and not waited for longer than its lease lives."""
    work.holding.write([Put(generation_key(name, number), "0")])
    seconds = silence_deadline_seconds(work)
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while True:
        running = work.look().of(name).generations.get(number)
        routed = [it for it in running.instances if it.registered] if running else []
        open_ = sorted({it.machine for it in routed if it.weight})
        left = deadline - time.monotonic()
        if not open_:
            break
        if left <= 0:
            work.report(name, f"the agent of {', '.join(open_)} does not follow: going on without it")
            return
        pause.wait(POLL_SECONDS)
        work.holding.check()
    try:
        wait_until_applied(work.store, max((it.revision for it in routed), default=0), max(1.0, left))
    except DeadlineExceeded as error:
        work.report(name, f"{error}: going on without it")
    empty(work, name, [it.id for it in routed])


def remove(work: Work, name: str, number: int) -> None:
    """Take a generation out of Swarm and wait until its containers have ended."""
    running: Running | None = work.look().of(name).generations.get(number)
    if running is None:
        return
    work.swarm.remove_service(running.service.id)
    wait_until_gone(work, name, number, running.service.id, running.service.grace_seconds + REMOVAL_MARGIN_SECONDS)


def revive(work: Work, name: str, number: int) -> None:
    """Let Swarm start what it has given up.

    It looks again when the service changes, be it a label, and starts what its restart policy allows by then (the
    attempts of a window that is over, or those that another manager counted, do not count). Where that leaves one out,
    there is but one more way: every instance is started anew, one after the other.
    """
    service = required(work, name, number)
    labels = {**service.spec["Labels"], REVIVED: work.clock.now().isoformat(timespec="milliseconds")}
    work.swarm.update_service(service, {**service.spec, "Labels": labels}, auth_for(work, service))
    if _until(work, lambda: not _given_up(work, name), LOOK_AGAIN_SECONDS):
        return
    work.report(name, "Swarm's restart policy allows no more: starting every instance anew, one after the other")
    service, seen = required(work, name, number), work.look().of(name)
    crowded = seen.record and (seen.record.definition.max_per_machine or seen.record.definition.conflicts)
    beside = seen.record and seen.record.definition.update.order == "start-first" and not crowded
    task = service.spec["TaskTemplate"]
    anew = {
        **service.spec,
        "TaskTemplate": {**task, "ForceUpdate": task.get("ForceUpdate", 0) + 1},
        "UpdateConfig": {
            "Parallelism": 1,
            "FailureAction": "continue",
            "Order": "start-first" if beside else "stop-first",
        },
    }
    work.swarm.update_service(service, anew, auth_for(work, service))
    _until(work, lambda: not _given_up(work, name), LOOK_AGAIN_SECONDS)


def _given_up(work: Work, name: str) -> bool:
    seen = work.look().of(name)
    return bool(seen.record and failed_slots(seen, seen.record))


def _until(work: Work, done: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is so; return whether it is."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not done():
        if time.monotonic() >= deadline:
            return False
        pause.wait(POLL_SECONDS)
        work.holding.check()
    return True


def auth_for(work: Work, service: SwarmService) -> str:
    """Return the login for the image that a service of Swarm runs: the password may be another by now."""
    return registry_auth(work.settings, ServiceImage(service.image))


def required(work: Work, name: str, number: int) -> SwarmService:
    """Return a generation's service in Swarm. Raises Refused when there is none."""
    found = service_of(work, name, number)
    if found is None:
        raise Refused(f"{name}: Swarm does not have generation {number} any more; inv service.revive {name}")
    return found


def service_of(work: Work, name: str, number: int) -> SwarmService | None:
    found = work.swarm.service(service_name(work.settings.system, name, number))
    return found if found and found.labels.get(SYSTEM) == work.settings.system else None
