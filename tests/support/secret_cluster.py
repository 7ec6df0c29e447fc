"""Machines that hold secrets, an etcd that runs with theirs, and several checkouts of what brings them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etcd_cluster import EtcdCluster
from secret_machines import MACHINES, Lab, machines_with_secrets

from argosy import inventory
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.etcd import Entry
from argosy.model import Machine
from argosy.pki import authority
from argosy.secrets import checkout, syncing
from argosy.secrets.deciding import Difference
from argosy.secrets.generations import KEY, SecretsRecord

SECRETS = {"token": {"generate_bytes": 8}}
REGISTRIES = {"ghcr.io/team": {"user": "us"}}
LOGIN = "registries/ghcr.io/team.password"


class Members(EtcdCluster):
    """One member, on the first machine, with the files that the machine holds; asked by the first checkout."""

    lab: Lab
    asking: Checkout

    def settings(self, **section: Any) -> Settings:
        return self.asking.settings(**section)

    def files(self, machine: Machine) -> dict[str, Path]:
        folder = self.lab.etc(machine.name) / "air" / "secrets"
        names = ("ca.crt", *(f"etcd-{kind}.{end}" for kind in ("server", "peer") for end in ("crt", "key")))
        return {name: folder / name for name in names}


@dataclass
class Checkout:
    """`asked`: what its operator was asked for; `agrees`: what they answered."""

    lab: Lab
    root: Path
    client_port: int
    agrees: bool = False
    asked: list[Difference] = field(default_factory=list)

    def settings(self, **section: Any) -> Settings:
        etcd = {"client_port": self.client_port, "timeout_seconds": 3}
        document = {"secrets": SECRETS, "registries": REGISTRIES, "etcd": etcd} | section
        settings = self.lab.settings(root=self.root, **document)
        inventory.save(settings, MACHINES)
        return settings

    @property
    def folder(self) -> Path:
        return self.root / "secrets" / "test"

    def upload(self, machines: Sequence[Machine] = MACHINES, **section: Any) -> syncing.Uploaded:
        self.lab.reported.clear()
        self.asked.clear()
        with OpenCluster(self.settings(**section), self.lab.report) as cluster:
            return syncing.upload(cluster, machines, self._agree)

    def look(self) -> syncing.Look:
        with OpenCluster(self.settings()) as cluster:
            return syncing.look(cluster, MACHINES)

    def entry(self) -> Entry | None:
        with OpenCluster(self.settings()) as cluster:
            return cluster.store.get(KEY)

    def record(self) -> SecretsRecord:
        entry = self.entry()
        assert entry is not None
        return SecretsRecord.parse(entry.value)

    def save(self) -> None:
        """Save what the checkout and the machines have, for `restored`."""
        shutil.copytree(self.root, self.saved / "checkout")
        for machine in MACHINES:
            shutil.copytree(self.lab.etc(machine.name) / "air", self.saved / machine.name)

    def restored(self) -> Checkout:
        """Return the checkout after all is as it was saved: here, on the machines, in etcd."""
        shutil.rmtree(self.root)
        shutil.copytree(self.saved / "checkout", self.root)
        for machine in MACHINES:
            folder = self.lab.etc(machine.name) / "air"
            shutil.rmtree(folder)
            shutil.copytree(self.saved / machine.name, folder)
        remembered = checkout.remembered(self.settings())
        assert remembered is not None
        with OpenCluster(self.settings()) as cluster:
            cluster.store.delete("/", prefix=True)
            cluster.store.put(KEY, remembered.record.text())
        return Checkout(self.lab, self.root, self.client_port)

    @property
    def saved(self) -> Path:
        return self.lab.folder / "saved"

    def copy(self, root: Path) -> Checkout:
        """Return another checkout with the same secrets."""
        shutil.copytree(self.folder, root / "secrets" / "test")
        return Checkout(self.lab, root, self.client_port)

    def _agree(self, differences: Sequence[Difference]) -> None:
        self.asked += differences
        if not self.agrees:
            syncing.refuse_taking(differences)


@contextmanager
def cluster_with_secrets(folder: Path, programs: Path) -> Iterator[Checkout]:
    """Give the checkout that has set up three machines, with a token, a file, a certificate of the routers, and the
    login of another registry."""
    with machines_with_secrets(folder) as lab:
        members = Members(folder, programs, size=1)
        members.lab, members.machines = lab, MACHINES[:1]
        first = members.asking = Checkout(lab, folder / "first", members.client_port)
        for name in ("keys", "machine"):
            (first.folder / name).mkdir(parents=True)
        pair = authority.ensure_registry_certificate(folder / "site", ["site.test"])
        (first.folder / "keys" / "site.pem").write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
        (first.folder / "machine" / "own").write_text("mine")
        (first.folder / LOGIN).parent.mkdir(parents=True)
        (first.folder / LOGIN).write_text("of another registry\n")
        first.upload()
        members.start()
        try:
            members.wait_until_healthy()
            with OpenCluster(first.settings(), lab.report) as cluster:
                syncing.settle(cluster, MACHINES)
            yield first
        finally:
            members.stop()
