"""`inv bench.*`: Argosy beside its peers, measured on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import task

if TYPE_CHECKING:
    from invoke.context import Context


def _with_lab() -> None:
    """Let what the integration tests stand on be imported, and the installer's code by the agents that are started."""
    import os
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(root / "tests" / "support"))
    os.environ["PYTHONPATH"] = f"{root / 'installer'}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")


@task(
    help={
        "endpoints": "how many ssh endpoints are made on loopback",
        "repeats": "how often each contender has its turn",
        "many": "how many endpoints memory is measured at; 0 leaves that out",
        "json": "print JSON, every single run included",
    }
)
def fanout(c: Context, endpoints: int = 50, repeats: int = 5, many: int = 500, json: bool = False) -> None:  # noqa: ARG001
    """Run one command on many ssh endpoints: ours, raw Fabric, OpenSSH with xargs, Ansible, pyinfra.

    It starts sshds on 127.0.0.0/8 and ends them. Ansible and pyinfra are installed from PyPI, each into a virtual
    environment under .argosy/bench/.

    Examples:
        inv bench.fanout
        inv bench.fanout --endpoints 20 --repeats 3 --json
    """
    from bench.fanout import main

    main(endpoints, repeats, many, as_json=json)


@task(help={"machines": "how many", "runs": "how often, after the run that builds and pushes"})
def local(c: Context, machines: int = 3, runs: int = 1) -> None:  # noqa: ARG001
    """Start a local cluster from built and pushed images, and tell the seconds of each phase.

    It is a cluster of its own, beside whatever else runs, and is removed in the end.

    Example: inv bench.local --runs 3
    """
    from bench.local import main

    main(machines, runs)


@task(
    help={
        "services": "how many services are there already",
        "samples": "how often an instance comes (and a fourth as often a service)",
        "burst": "how many writes at once",
        "flaps": "how often an instance comes and goes under requests",
        "json": "print JSON, every sample included",
    }
)
def propagation(
    c: Context,  # noqa: ARG001
    services: int = 1000,
    samples: int = 200,
    burst: int = 10_000,
    flaps: int = 500,
    json: bool = False,
) -> None:
    """From a write to etcd to the first answer: our agent beside a poll-render-reload loop; bursts; lost requests.

    Real etcd and HAProxy on 127.0.0.0/8, ended with it. Takes about three minutes.

    Examples:
        inv bench.propagation
        inv bench.propagation --services 100 --samples 20 --json
    """
    _with_lab()
    from bench.propagation import Sizes, main

    main(Sizes(services=services, samples=samples, burst=burst, flaps=flaps), as_json=json)


@task(
    help={
        "machines": "how many the planner is asked for",
        "real": "sizes of real clusters to start, upgrade and remove, with commas between them",
    }
)
def rollout(c: Context, machines: int = 1000, real: str = "3,5") -> None:  # noqa: ARG001
    """Time rolling upgrades: the planner for very many machines, and real ones beside what they can't avoid.

    Each real one has a local cluster of its own, beside whatever else runs, which is removed in the end.

    Examples:
        inv bench.rollout
        inv bench.rollout --real 3
        inv bench.rollout --real ''
    """
    from bench.rollout import main

    main(machines, [int(size) for size in real.split(",") if size])


@task(
    help={
        "instances": "of the service",
        "rate": "requests in a second",
        "rounds": "how often each updates",
        "json": "print JSON, every single update included",
    }
)
def service(
    c: Context,  # noqa: ARG001
    instances: int = 8,
    rate: float = 100.0,
    rounds: int = 3,
    json: bool = False,
) -> None:
    """Update a scheduled service under requests: ours beside `docker service update --update-order start-first`.

    Three engines in namespaces of their own, an etcd, agents and routers, ended with it. Takes about three minutes.

    Examples:
        inv bench.service
        inv bench.service --instances 4 --rounds 1 --json
    """
    _with_lab()
    from bench.service import main

    main(instances, rate, rounds, as_json=json)


@task(help={"rounds": "how often each machine is lost", "json": "print JSON, every single loss included"})
def failover(c: Context, rounds: int = 3, json: bool = False) -> None:  # noqa: ARG001
    """Power off a worker and the Swarm's leader: how soon their instances run elsewhere, ours and Docker's settings.

    Four engines in namespaces of their own, ended with it. Takes about six minutes.

    Examples:
        inv bench.failover
        inv bench.failover --rounds 1 --json
    """
    _with_lab()
    from bench.failover import main

    main(rounds, as_json=json)


@task(
    help={
        "runs": "how often each task has its turn",
        "endpoints": "how many machines are simulated; 0 leaves that out",
        "cluster": "the cluster's section under clusters: (or INVOKE_CLUSTER)",
        "json": "print JSON, every single run included",
    }
)
def status(c: Context, runs: int = 5, endpoints: int = 50, cluster: str = "", json: bool = False) -> None:
    """Time `cluster.status` beside `cluster.run true`: on the chosen cluster, if it has any, and on simulated ones.

    Those are sshds on loopback, ended with it; they take root.

    Examples:
        inv bench.status
        inv bench.status --runs 10 --endpoints 0
    """
    _with_lab()
    from bench.status import main

    from argosy.tasking import settings_of

    main(settings_of(c, cluster), runs, endpoints, as_json=json)
