"""One contender in a process of its own: `python -m bench.fanout_worker NAME ENDPOINTS.json ROUNDS`.

Prints {"cold": seconds, "warm": [seconds, ...], "peak_megabytes": number}: cold opens the connections and runs the
command everywhere, warm runs it again over the open connections. Each checks that every endpoint answered.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator

from bench.endpoints import PARALLEL, STATE_CLUSTER, WORD, Endpoints

Fan = Callable[[], list[str]]


@contextlib.contextmanager
def ours(places: Endpoints) -> Iterator[Fan]:
    """Ours, over every host key verified."""
    from argosy.config.loading import load
    from argosy.fanout import joined
    from argosy.model import Machine
    from argosy.ssh.host import Hosts

    ssh = {"user": places.user, "port": places.port, "key": places.key, "max_parallel": PARALLEL}
    settings = load({"state_dir": places.folder, "clusters": {STATE_CLUSTER: {"ssh": ssh}}})
    with Hosts(settings, [Machine(address, address) for address in places.addresses]) as hosts:
        yield lambda: list(joined(hosts.each(lambda host: host.run(f"echo {WORD}").stdout)).values())


@contextlib.contextmanager
def fabric(places: Endpoints) -> Iterator[Fan]:
    """Fabric's ThreadingGroup as it comes: a thread for each host, any host key accepted; no stdin to read."""
    from fabric import ThreadingGroup

    login = {"key_filename": places.key, "allow_agent": False, "look_for_keys": False}
    with ThreadingGroup(*places.addresses, user=places.user, port=places.port, connect_kwargs=login) as group:
        yield lambda: [result.stdout for result in group.run(f"echo {WORD}", hide=True, in_stream=False).values()]


@contextlib.contextmanager
def pyinfra(places: Endpoints) -> Iterator[Fan]:
    """pyinfra through its API: connect, then its hosts' own shell command in its pool of greenlets."""
    from gevent import monkey

    monkey.patch_all()
    from pyinfra.api import Config, Inventory, State
    from pyinfra.api.connect import connect_all, disconnect_all

    data = {
        "ssh_user": places.user,
        "ssh_port": places.port,
        "ssh_key": places.key,
        "ssh_known_hosts_file": places.known_hosts,
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": "/dev/null",
    }
    state = State(Inventory((places.addresses, data)), Config(CONNECT_TIMEOUT=30, PARALLEL=PARALLEL))

    def run() -> list[str]:
        if not state.active_hosts:
            connect_all(state)
        jobs = [state.pool.spawn(host.run_shell_command, f"echo {WORD}") for host in state.inventory]
        return [f"{output.stdout}\n" for _, output in (job.get() for job in jobs)]

    try:
        yield run
    finally:
        disconnect_all(state)


CONTENDERS = {"ours": ours, "fabric": fabric, "pyinfra": pyinfra}


def timed(fan: Fan, expected: int) -> float:
    started = time.perf_counter()
    answers = fan()
    seconds = time.perf_counter() - started
    if answers != [f"{WORD}\n"] * expected:
        raise SystemExit(f"only {answers.count(WORD + chr(10))} of {expected} endpoints answered")
    return seconds


def main(name: str, path: str, rounds: str) -> None:
    places = Endpoints.load(path)
    with CONTENDERS[name](places) as fan:
        cold = timed(fan, len(places.addresses))
        warm = [timed(fan, len(places.addresses)) for _ in range(int(rounds))]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cold": cold, "warm": warm, "peak_megabytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
