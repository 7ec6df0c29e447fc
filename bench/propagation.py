"""How long a change takes from etcd to the requests: our agent, beside a loop that polls, renders and reloads.

    inv bench.propagation [--services 1000] [--samples 200] [--burst 10000] [--flaps 500]

Everything runs on loopback and ends with it: a real etcd, a real HAProxy beside our agent, one more behind the peer,
and one that stands for all instances. A sample begins before the write to etcd and ends with the first request
that the new instance has answered; requests follow one another with a pause of a millisecond.
"""

from __future__ import annotations

import random
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.propagation_place import PEER_ADDRESS, Peer, Place, ask, place, scratch

from argosy import console
from argosy.etcd import Etcd, Put
from argosy.routing.changes import parse_servers_state
from argosy.routing.plan import plan_routing
from argosy.routing.values import RouterOptions
from argosy.schema import CONFIG, SERVICES, instance_key, parse_directory, service_key, weight_key

INSTANCE_GOAL_MS = 100
SERVICE_GOAL_MS = 500
MEMORY_GOAL_MB = 80
PEER_SECONDS = 10.0
DEADLINE_SECONDS = 60.0
ALONE_SECONDS = 1.0
BETWEEN_SECONDS = 0.001
"""Between two requests that look whether a change has come: without it they would take a processor for themselves."""
RATE = 200
WRITERS = 8
PROBE = "probe"


@dataclass
class Sizes:
    """`instances`: of each of the `services`; `peer_samples`: of the peer, each of which takes its interval or so."""

    services: int = 1000
    instances: int = 2
    samples: int = 200
    peer_samples: int = 5
    burst: int = 10_000
    flaps: int = 500


@dataclass
class Found:
    """Milliseconds of each sample, and what became of the rest. `burst_differences`: servers that differ in the end."""

    instance_ms: list[float]
    service_ms: list[float]
    peer_instance_ms: list[float]
    burst_write_seconds: float
    burst_settle_seconds: float
    burst_differences: int
    flap_requests: int
    flap_lost: int
    reloads: int
    agent_megabytes: float
    agent_idle_cpu_percent: float
    haproxy_idle_cpu_percent: float


def main(sizes: Sizes, as_json: bool = False) -> None:
    """Measure, and print the figures beside the goals."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with scratch() as folder, place(folder) as here:
        found = measure(here, folder, sizes)
    if as_json:
        console.print_json({"sizes": asdict(sizes), **asdict(found)})
        return
    show(found, sizes)


def measure(here: Place, folder: Path, sizes: Sizes) -> Found:
    say("services", f"putting {sizes.services} with {sizes.instances} instances each")
    _put_services(here, sizes)
    last = here.store.put(weight_key(PROBE, "one"), "100")
    here.machine.wait_until_applied(here.store, last, DEADLINE_SECONDS)
    agent_cpu, haproxy_cpu = _idle_cpu(here)
    ours = (here.machine.address, here.machine.ports["http_port"])
    say("instances", f"{sizes.samples} come and go, one after the other")
    instance_ms = [_new_instance(here, *ours) for _ in range(sizes.samples)]
    say("services", f"{sizes.samples // 4} new ones, one after the other")
    service_ms = [_new_service(here, number, *ours) for number in range(sizes.samples // 4)]
    say("steady", f"{sizes.flaps} instances come and go under {RATE} requests a second")
    requests, lost = _flaps(here, sizes.flaps, *ours)
    say("burst", f"{sizes.burst} writes")
    write_seconds, settle_seconds, differences = _burst(here, sizes)
    megabytes = here.machine.metric("resident_memory_bytes") / 1e6
    say("peer", f"{sizes.peer_samples} instances, with a look at etcd every {PEER_SECONDS:g} s")
    (folder / "peer").mkdir()
    with Peer(here.store, folder / "peer", PEER_SECONDS).running() as peer:
        port = peer.options.http_port
        _until(lambda: ask(PEER_ADDRESS, port, PROBE) == "503")
        peer_ms = [_new_instance(here, PEER_ADDRESS, port) for _ in range(sizes.peer_samples)]
    return Found(
        instance_ms=instance_ms,
        service_ms=service_ms,
        peer_instance_ms=peer_ms,
        burst_write_seconds=write_seconds,
        burst_settle_seconds=settle_seconds,
        burst_differences=differences,
        flap_requests=requests,
        flap_lost=lost,
        reloads=int(here.machine.status()["reloads"]),
        agent_megabytes=megabytes,
        agent_idle_cpu_percent=agent_cpu,
        haproxy_idle_cpu_percent=haproxy_cpu,
    )


def say(subject: str, message: str) -> None:
    console.report(subject, message)


# The samples


def _new_instance(here: Place, address: str, port: int) -> float:
    """Return the milliseconds from the write of the probe's only instance to its first answer; take it back."""
    key, endpoint = instance_key(PROBE, "one"), here.instances[0]
    started = time.perf_counter()
    here.store.put(key, str(endpoint))
    _until(lambda: ask(address, port, PROBE) == endpoint.address)
    milliseconds = (time.perf_counter() - started) * 1000
    here.store.delete(key)
    _until(lambda: ask(address, port, PROBE) == "503")
    return milliseconds


def _new_service(here: Place, number: int, address: str, port: int) -> float:
    """Return the milliseconds from the write of a service to its first answer; take it back."""
    name, endpoint = f"new-{number}", here.instances[1]
    started = time.perf_counter()
    here.store.transact([], [Put(service_key(name, "scheme"), "http"), Put(instance_key(name, "one"), str(endpoint))])
    _until(lambda: ask(address, port, name) == endpoint.address)
    milliseconds = (time.perf_counter() - started) * 1000
    here.store.delete(service_key(name, ""), prefix=True)
    _until(lambda: ask(address, port, name) == "404")
    # After a reload the agent rests as long as that took: a sample is a service that comes alone.
    threading.Event().wait(ALONE_SECONDS)
    return milliseconds


def _flaps(here: Place, count: int, address: str, port: int) -> tuple[int, int]:
    """Return how many requests were sent while instances came and went, and how many of them failed."""
    name, staying = "flapping", here.instances[2]
    here.store.put(instance_key(name, "staying"), str(staying))
    here.machine.wait_until_applied(here.store, here.store.put(service_key(name, "scheme"), "http"), DEADLINE_SECONDS)
    answers: list[str] = []
    ended = threading.Event()

    def send() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            answers.append(ask(address, port, name))
            due += WRITERS / RATE

    senders = [threading.Thread(target=send) for _ in range(WRITERS)]
    for sender in senders:
        sender.start()
    for number in range(count):
        key = instance_key(name, f"flap-{number % 5}")
        here.machine.wait_until_applied(here.store, here.store.put(key, str(here.instances[3 + number % 5])))
        here.store.delete(key)
    ended.set()
    for sender in senders:
        sender.join()
    return len(answers), sum("." not in answer for answer in answers)


def _burst(here: Place, sizes: Sizes) -> tuple[float, float, int]:
    """Return the seconds that the writes took, those until the router was right, and how many servers then differ."""
    chosen = random.Random(1)  # the same writes in every run
    writes = [_write(chosen, here, sizes) for _ in range(sizes.burst)]
    started = time.perf_counter()
    writers = [threading.Thread(target=_do, args=(here.store, writes[number::WRITERS])) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    written = time.perf_counter()
    # The writes of others, of which etcd's newest revision may be one, no router waits for.
    last = here.store.put(weight_key(PROBE, "one"), "100")
    here.machine.wait_until_applied(here.store, last, DEADLINE_SECONDS)
    return written - started, time.perf_counter() - written, _differences(here)


def _write(chosen: random.Random, here: Place, sizes: Sizes) -> tuple[str, str]:
    name = f"service-{chosen.randrange(sizes.services)}"
    instance = str(chosen.randrange(sizes.instances + 2))
    kind = chosen.random()
    if kind < 0.3:
        return instance_key(name, instance), ""
    if kind < 0.5:
        return weight_key(name, instance), str(chosen.randrange(1, 257))
    return instance_key(name, instance), str(chosen.choice(here.instances))


def _do(store: Etcd, writes: Sequence[tuple[str, str]]) -> None:
    for key, value in writes:
        if value:
            store.put(key, value)
        else:
            store.delete(key)


def _differences(here: Place) -> int:
    """Return how many servers of HAProxy are not what etcd says: missing, too many, or of another weight."""
    entries = [*here.store.get_prefix(SERVICES).entries, *here.store.get_prefix(CONFIG).entries]
    wanted = {
        (backend.name, server.name, server.weight)
        for backend in plan_routing(parse_directory(entries), RouterOptions()).backends.values()
        for server in backend.servers.values()
    }
    actual = {
        (backend, name, server.weight)
        for backend, servers in parse_servers_state(here.machine.runtime.ask("show servers state")).items()
        for name, server in servers.items()
        if not server.maintenance
    }
    return len(wanted ^ actual)


# Around them


def _put_services(here: Place, sizes: Sizes) -> None:
    names = [f"service-{number}" for number in range(sizes.services)]
    for start in range(0, len(names), 20):
        puts = [
            put
            for name in names[start : start + 20]
            for put in (
                Put(service_key(name, "scheme"), "http"),
                *(
                    Put(instance_key(name, str(number)), str(here.instances[number]))
                    for number in range(sizes.instances)
                ),
            )
        ]
        here.store.transact([], puts)
    here.store.put(service_key(PROBE, "scheme"), "http")


def _idle_cpu(here: Place, seconds: float = 10.0) -> tuple[float, float]:
    """Return the percentage of one processor that the agent and HAProxy's worker take while nothing changes."""
    pids = [here.machine.agent.pid if here.machine.agent else 0, here.machine.worker().pid]
    before = [_cpu_seconds(pid) for pid in pids]
    threading.Event().wait(seconds)
    used = [100 * (_cpu_seconds(pid) - earlier) / seconds for pid, earlier in zip(pids, before, strict=True)]
    return used[0], used[1]


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used (proc(5), utime and stime of /proc/PID/stat)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def _until(condition: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE_SECONDS, threading.Event()
    while not condition():
        pause.wait(BETWEEN_SECONDS)
        if time.monotonic() > deadline:
            sys.exit(f"bench.propagation: nothing came of a change within {DEADLINE_SECONDS:g} s")


def show(found: Found, sizes: Sizes) -> None:
    def row(what: str, values: list[float], goal: float = 0) -> list[object]:
        p99 = percentile(values, 99)
        judged = "" if not goal else f"p99 under {goal:g} ms: {'met' if p99 < goal else 'missed'}"
        return [what, len(values), f"{statistics.median(values):.1f}", f"{p99:.1f}", judged]

    console.table(
        ["change to first answer", "samples", "p50 ms", "p99 ms", "goal"],
        [
            row("new instance, by the runtime API", found.instance_ms, INSTANCE_GOAL_MS),
            row("new service, by a reload", found.service_ms, SERVICE_GOAL_MS),
            row(f"new instance, poll-render-reload every {PEER_SECONDS:g} s", found.peer_instance_ms),
        ],
    )
    ratio = statistics.median(found.peer_instance_ms) / statistics.median(found.instance_ms)
    console.say(f"the peer takes {ratio:.0f} times as long in the median")
    console.say(
        f"burst of {sizes.burst}: written in {found.burst_write_seconds:.1f} s, applied "
        f"{found.burst_settle_seconds:.2f} s later, {found.burst_differences} servers differ from etcd (goal: 0)"
    )
    console.say(f"{sizes.flaps} comings and goings: {found.flap_lost} of {found.flap_requests} requests lost (goal: 0)")
    console.say(
        f"agent: {found.agent_megabytes:.0f} MB with {sizes.services} services (goal: under {MEMORY_GOAL_MB}), "
        f"{found.agent_idle_cpu_percent:.1f} % of a processor when idle; HAProxy with its checks "
        f"{found.haproxy_idle_cpu_percent:.1f} %; {found.reloads} reloads in all"
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]
