"""`cluster.restore`: a backup becomes a cluster again, on machines that are up, whatever their etcd holds now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy import etcd, inventory, machine_etcd
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import ConfigError, EtcdError, LockHeld, Refused
from argosy.etcd import snapshots
from argosy.etcd.snapshots import Snapshot
from argosy.host import Hosts, joined
from argosy.model import Machine, Step
from argosy.operations import cluster_lock, install
from argosy.operations.clock import SystemClock
from argosy.operations.journal import Journal
from argosy.operations.membership.observing import observe
from argosy.operations.membership.rebuilding import Rebuilding, new_token
from argosy.operations.swarm import ensuring

TASK = "cluster.restore"


@dataclass(frozen=True, slots=True)
class Restoring:
    """`members`: who runs etcd then; `others`: the cluster's other machines, to be added anew if they shall run it;
    `swarm`: there is one, whose managers may have been lost, too."""

    snapshot: Snapshot
    members: list[Machine]
    others: list[Machine]
    swarm: bool = False

    @property
    def steps(self) -> list[Step]:
        names = ", ".join(it.name for it in self.members)
        stopped = [Step(it.name, "stop its etcd, should it run, and set the data aside") for it in self.others]
        return [
            Step(names, f"copy {self.snapshot.path}, {self.snapshot.size_bytes} bytes, sha256 {self.snapshot.sha256}"),
            Step(names, "stop etcd, set its data aside, restore the snapshot as a new cluster, start it"),
            *stopped,
            Step("machines", f"tell them who runs etcd: {names}; restart the agents, one after the other"),
            Step(names, "install again what they run, so that etcd knows it"),
            *([Step("swarm", "see that all machines are in it, if it has a quorum")] if self.swarm else []),
        ]


def plan(settings: Settings, path: Path, words: Sequence[str], *, force: bool = False) -> Restoring:
    """Return what `restore` would do; the file is verified, nothing is changed.

    `words`: the machines that run etcd then. Raises ConfigError for a bad file or too many machines, and Refused while
    etcd works, since all that was written after the backup would be lost, unless forced.
    """
    snapshot = snapshots.verify(path)
    known, members = inventory.load(settings), inventory.resolve(settings, words)
    if not members:
        raise ConfigError("give the machines that shall run etcd", "machines")
    if len(members) > settings.etcd.max_members:
        raise ConfigError(f"more than etcd.max_members, {settings.etcd.max_members}: add the others later", "machines")
    names = {it.name for it in members}
    if not force:
        _refuse_working(settings, list({it.name: it for it in (*known, *members)}.values()))
    return Restoring(snapshot, members, [it for it in known if it.name not in names], settings.swarm.enabled)


def restore(settings: Settings, wanted: Restoring, report: Report) -> None:
    """Make the backup the cluster's etcd. Killed at any moment, the same command does all of it again.

    Raises HostsFailed, before anything is stopped when a machine lacks what it takes, EtcdError, and what following an
    install raises.
    """
    machines = [*wanted.members, *wanted.others]
    with Hosts(settings, machines) as hosts:
        token = new_token(settings)
        Rebuilding(settings, hosts, wanted.snapshot, wanted.members, wanted.others, report, token).run()
        inventory.remember(settings, wanted.members)
        with etcd.connect(settings, wanted.members, hosts) as store:
            _tidy(settings, store, wanted, report)
        joined(
            hosts.each(
                lambda host: host.run(machine_etcd.start(settings.system), sudo=True),
                wanted.members,
                what="Starting the installs",
            )
        )
        install.follow_install(hosts, settings, wanted.members, report, settings.install.deadline_seconds)
        # Its managers may have been lost with etcd's members: then that is told, with what goes on without them.
        with etcd.connect(settings, wanted.members, hosts) as store:
            ensuring.ensure_or_tell(settings, hosts, store, report)


def _refuse_working(settings: Settings, machines: Sequence[Machine]) -> None:
    try:
        with etcd.connect(settings, machines) as store:
            store.health()
    except EtcdError:
        return
    raise Refused("etcd works: restoring would undo all that was written after the backup; --force does that")


def _tidy(settings: Settings, store: etcd.Etcd, wanted: Restoring, report: Report) -> None:
    """Break the lock that was held when the backup was made, note the restoring, and name records of strangers."""
    holder = cluster_lock.break_(store)
    if holder is not None:
        report("lock", f"broken: {holder} held it when the backup was made")
    known = {it.name for it in (*wanted.members, *wanted.others)}
    strangers = sorted(observe(store, ()).records.keys() - known)
    if strangers:
        report("etcd", f"knows {', '.join(strangers)}, too: if they are gone, inv cluster.remove-machine each of them")
    try:
        with cluster_lock.held(store, TASK, ttl_seconds=settings.rollout.lock_ttl_seconds, report=report) as lock:
            names = ", ".join(it.name for it in wanted.members)
            what = f"restore {wanted.snapshot.path.name} on {names}"
            Journal(store, lock).note(SystemClock().now(), what, "done")
    except LockHeld as error:
        report("history", f"the restoring could not be noted: {error}")
