"""Machines that answer by ssh and run a real etcd; their own command says what a test makes it say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from etcd_cluster import EtcdCluster
from ssh_server import SshServer, free_port

from argosy import etcd
from argosy.config.loading import Settings
from argosy.ssh import known_hosts
from argosy.ssh.host import Hosts
from argosy.status import observing
from argosy.status.report import ClusterStatus

# /opt as the sshd and its children see it is a folder of the test.
OWN_OPT = 'mount --bind "$0" /opt && exec "$@"'
SERVICES = [{"name": "web", "unit": "active", "check": "passing", "version": "0.1.1"}]


class Lab:
    def __init__(self, cluster: EtcdCluster, stack: ExitStack) -> None:
        self.cluster = cluster
        self.port = free_port("127.0.8.1")
        self.servers: dict[str, SshServer] = {}
        for machine in cluster.machines:
            opt = cluster.folder / "opt" / machine.name
            (opt / "air" / "bin").mkdir(parents=True)
            wrapper = ["unshare", "-m", "sh", "-c", OWN_OPT, str(opt)]
            server = SshServer(cluster.folder / machine.name, [machine.address], port=self.port, wrapper=wrapper)
            server.prepare()
            server.start()
            stack.callback(server.stop)
            self.servers[machine.name] = server
            self.says(machine.name, state="active", release="0.1.3", services=SERVICES)

    def says(self, name: str, **report: Any) -> None:
        """Make the machine's command print this status."""
        self.does(name, f"echo '{json.dumps(report)}'")

    def does(self, name: str, script: str) -> None:
        program = self.cluster.folder / "opt" / name / "air" / "bin" / "air"
        program.write_text(f'#!/bin/sh\n[ "$*" = "status --json" ] || exit 2\n{script}\n')
        program.chmod(0o755)

    def settings(self, **ssh: Any) -> Settings:
        # One key for all: the first server's, which the others are told to accept.
        first = self.servers["air-01"]
        ssh = {"user": "root", "port": self.port, "key": str(first.key), "connect_attempts": 1} | ssh
        settings = self.cluster.settings(ssh={**ssh, "connect_timeout_seconds": 2})
        settings.state_path.mkdir(parents=True, exist_ok=True)
        for server in self.servers.values():
            shutil.copy(f"{first.key}.pub", server.folder / "authorized_keys")
            host_key = (server.folder / "host_key.pub").read_text()
            known_hosts.pin(settings.state_path / "known_hosts", server.addresses[0], self.port, host_key)
        return settings

    def observe(self) -> ClusterStatus:
        settings = self.settings()
        with Hosts(settings, self.cluster.machines) as hosts:
            return observing.observe(settings, hosts)


@contextmanager
def telling_lab(cluster: EtcdCluster) -> Iterator[Lab]:
    """Give the cluster's machines, on all of which all is well."""
    with ExitStack() as stack:
        made = Lab(cluster, stack)
        with etcd.connect(cluster.settings(), cluster.machines) as store:
            for machine in cluster.machines:
                store.put(f"/machines/{machine.name}", json.dumps({"role": "member", "state": "active"}))
        yield made
