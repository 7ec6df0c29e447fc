"""What is wanted of scheduled services, before the chains of their containers."""

from __future__ import annotations

from dataclasses import replace

from service_examples import Cluster, record

from argosy.status.scheduled import scheduled_chains, unknown_chains
from argosy.status.verification import HOPS, Chain

WANTED = record(replicas=2)


def cluster(**more: object) -> Cluster:
    made = Cluster().knows(WANTED).runs(count=2, **more)  # type: ignore[arg-type]
    made.tasks = [replace(task, image=WANTED.image.reference) for task in made.tasks]
    return made


def container_chains(made: Cluster, differs: str = "", reason: str = "") -> list[Chain]:
    state = made.state()
    running = state.of("web").generations[1]
    return [Chain("web", instance.machine, instance.id, HOPS[2:], differs, reason) for instance in running.instances]


def lines(made: Cluster, chains: list[Chain] | None = None) -> list[str]:
    found = scheduled_chains(made.state(), container_chains(made) if chains is None else chains)
    return [str(chain) for chain in found if chain.differs]


def test_what_runs_as_wanted_agrees_in_every_hop() -> None:
    made = cluster()
    other = Chain("db", "air-01", "air-01:air-db", HOPS)
    found = scheduled_chains(made.state(), [*container_chains(made), other])
    assert [(chain.service, chain.machine, chain.hops, chain.differs) for chain in found] == [
        ("db", "air-01", HOPS, ""),
        ("web", "air-01", HOPS[1:], ""),
        ("web", "air-02", HOPS[1:], ""),
    ]


def test_the_first_hop_that_differs_is_named() -> None:
    made = cluster()
    assert lines(made, container_chains(made, "router", "air-03 has no server")) == [
        "web on air-01: router: air-03 has no server",
        "web on air-02: router: air-03 has no server",
    ]
    assert lines(made, []) == [
        "web on air-01: container: air-01 runs no container air-web-1.1.task0 that declares it",
        "web on air-02: container: air-02 runs no container air-web-1.2.task1 that declares it",
    ]
    made.tasks[0] = replace(made.tasks[0], image="10.0.0.5:5000/air/web@sha256:other")
    assert lines(made) == [
        f"web on air-01: image: 10.0.0.5:5000/air/web@sha256:other runs, {WANTED.image.reference} is wanted"
    ]
    made.tasks[0] = replace(made.tasks[1], id="task9", slot=1, state="pending", node_id="", error="no suitable node")
    assert lines(made) == [
        "web on (nowhere): container: 1 of 2 run: see inv service.show web",
        "web on (nowhere): container: its task is pending: no suitable node",
    ]


def test_another_generation_another_number_and_what_nobody_wants_differ() -> None:
    made = Cluster().knows(record(number=2, replicas=3)).runs(number=1, count=1)
    assert lines(made) == [
        "web on (nowhere): container: 0 of 3 run: see inv service.show web",
        "web on air-01: image: generation 1 runs, generation 2 is wanted",
    ]
    stopped = Cluster().knows(record(replicas=1, stopped=True)).runs(count=1)
    assert lines(stopped) == [
        "web on (nowhere): container: 1 of 0 run: see inv service.show web",
        "web on air-01: image: generation 1 runs, none is wanted",
    ]
    unknown = Cluster().runs(count=1)
    assert lines(unknown)[0].startswith("web on (nowhere): image: Swarm runs it, and etcd does not know why")
    assert "web on (nowhere): image: an update of it has not ended: inv service.update web" in lines(
        cluster().updates("web")
    )


def test_a_global_service_runs_wherever_it_fits() -> None:
    made = Cluster().knows(record(replicas=None)).runs(count=3, replicas=None)
    made.tasks = [replace(task, image=WANTED.image.reference, slot=0) for task in made.tasks]
    assert lines(made) == []
    made.nodes[2] = replace(made.nodes[2], availability="drain")
    made.tasks.pop()
    assert lines(made) == []


def test_what_can_not_be_asked_differs_with_the_reason() -> None:
    assert [str(chain) for chain in unknown_chains(["web"], "the Swarm has no quorum")] == [
        "web on (nowhere): container: the Swarm has no quorum"
    ]
