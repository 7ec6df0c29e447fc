"""An operator who updates a scheduled service and is killed after so many writes of its record.

python killed_updater.py ETCD_FOLDER CLIENT_PORT DOCKER_SOCKET WRITES DEFINITION
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from etcd_cluster import EtcdCluster
from update_lab import parsed, section

from argosy import etcd
from argosy.config import load
from argosy.engine_api import at_socket
from argosy.operations.journal import Records
from argosy.operations.service.updating import running
from argosy.operations.service.work import Work
from argosy.swarm import Swarm

NEVER = 1000


class Unasked:
    """The seam `Routers`: nobody is asked, as when no machine can be reached."""

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        del servers
        return {}

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        del servers, seconds
        return {}


def killed_after(writes: int) -> None:
    """Let the process be killed right after the record's write number `writes`."""
    left = [writes]

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            done = write(*arguments)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return wrapped

    for name in ("write", "close"):
        setattr(Records, name, counted(getattr(Records, name)))


def main(folder: str, port: str, docker: str, writes: str, definition: str) -> None:
    made = EtcdCluster(Path(folder), Path("/nowhere"), size=1)
    made.client_port = int(port)
    killed_after(int(writes))
    settings = load({"clusters": {"test": section()}}, root=Path(folder))
    found = parsed({"web": json.loads(definition)})
    with etcd.connect(made.settings(), made.machines) as store, at_socket(Path(docker), "air-01") as engine:
        work = Work(settings, store, Swarm(engine), lambda _subject, _message: None)
        wish = running.wish_of(work, running.Flags("web", found, canary="50%"))
        running.update(work, wish, lambda _: None, Unasked())


if __name__ == "__main__":
    main(*sys.argv[1:])
