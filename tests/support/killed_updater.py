"""An operator who updates a scheduled service and is killed after so many writes of its record.

python killed_updater.py ETCD_FOLDER CLIENT_PORT DOCKER_SOCKET WRITES DEFINITION
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from etcd_cluster import EtcdCluster
from killed_writer import killed_after
from service_lab import lab_work
from update_lab import parsed, section

from argosy import etcd
from argosy.config.loading import load
from argosy.engine.api import at_socket
from argosy.engine.swarm import Swarm
from argosy.services.updates import run as running
from argosy.services.updates.begin import UpdateRequest


def main(folder: str, port: str, docker: str, writes: str, definition: str) -> None:
    made = EtcdCluster(Path(folder), Path("/nowhere"), size=1)
    made.client_port = int(port)
    killed_after(int(writes))
    settings = load({"clusters": {"test": section()}}, root=Path(folder))
    found = parsed({"web": json.loads(definition)})
    with etcd.connect(made.settings(), made.machines) as store, at_socket(Path(docker), "air-01") as engine:
        work = lab_work(settings, store, Swarm(engine), [])
        request = UpdateRequest("web", running.target(work, "web", found), canary="50%")
        running.update(work, request, lambda _: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
