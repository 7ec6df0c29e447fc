"""`cluster.backup`: all that etcd holds, in one verified file. `cluster.restore`: that file becomes a cluster again, on
machines that are up, whatever their etcd holds now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from argosy import inventory
from argosy.cluster import lock as cluster_lock
from argosy.cluster import machines as known_machines
from argosy.cluster import operators
from argosy.cluster.history import Trail
from argosy.cluster.opening import OpenCluster
from argosy.cluster.operator_record import present
from argosy.config.loading import Settings
from argosy.errors import ConfigError, EtcdError, LockHeld, Refused
from argosy.etcd import snapshots
from argosy.etcd.snapshots import Snapshot
from argosy.fanout import joined
from argosy.machine import install
from argosy.membership import etcd_scripts
from argosy.membership.rebuilding import Rebuilding
from argosy.model import Machine, Step
from argosy.report import Report
from argosy.swarm import ensuring

TASK = "cluster.restore"


def plan_backup(settings: Settings, path: Path, *, force: bool = False) -> list[Step]:
    """Return what `backup` would do. Raises Refused for a file that is there already."""
    _refuse_overwriting(path, force)
    names = ", ".join(machine.name for machine in known_machines.select(settings))
    return [Step("etcd", f"save what the furthest member of {names} holds in {path}")]


def backup(settings: Settings, path: Path, *, force: bool = False) -> Snapshot:
    """Save all that etcd holds in `path`, readable for its owner alone; also without a quorum.

    `force`: replace a file that is there, in one step. Raises Refused, EtcdError.
    """
    _refuse_overwriting(path, force)
    with OpenCluster(settings) as cluster:
        return cluster.store.snapshot(path)


def backup_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return `{"path", "size_bytes", "sha256", "revision", "member"}`."""
    return {**asdict(snapshot), "path": str(snapshot.path)}


@dataclass(frozen=True, slots=True)
class Restoring:
    """`members`: who runs etcd then; `others`: the cluster's other machines, to be added anew if they are to run it;
    `swarm`: there is one, whose managers may have been lost, too."""

    snapshot: Snapshot
    members: list[Machine]
    others: list[Machine]
    swarm: bool = False

    @property
    def steps(self) -> list[Step]:
        names = ", ".join(member.name for member in self.members)
        stopped = [Step(other.name, "stop its etcd, should it run, and set the data aside") for other in self.others]
        return [
            Step(names, f"copy {self.snapshot.path}, {self.snapshot.size_bytes} bytes, sha256 {self.snapshot.sha256}"),
            Step(names, "stop etcd, set its data aside, restore the snapshot as a new cluster, start it"),
            *stopped,
            Step("machines", f"tell them who runs etcd: {names}; restart the agents, one after the other"),
            Step(names, "install again what they run, so that etcd knows it"),
            *([Step("swarm", "see that all machines are in it, if it has a quorum")] if self.swarm else []),
        ]


def plan_restore(settings: Settings, path: Path, words: Sequence[str], *, force: bool = False) -> Restoring:
    """Return what `restore` would do; the file is verified, nothing is changed.

    `words`: the machines that run etcd then. Raises ConfigError for a bad file or too many machines, and Refused while
    etcd works, since all that was written after the backup would be lost, unless forced.
    """
    operators.refuse_here(settings, TASK)
    snapshot = snapshots.verify(path)
    known, members = inventory.load(settings), inventory.resolve(settings, words)
    if not members:
        raise ConfigError("give the machines that will run etcd", "machines")
    if len(members) > settings.etcd.max_members:
        raise ConfigError(f"more than etcd.max_members, {settings.etcd.max_members}: add the others later", "machines")
    names = {member.name for member in members}
    if not force:
        _refuse_working(settings, list({machine.name: machine for machine in (*known, *members)}.values()))
    return Restoring(
        snapshot, members, [machine for machine in known if machine.name not in names], settings.swarm.enabled
    )


def restore(settings: Settings, wanted: Restoring, report: Report) -> None:
    """Make the backup the cluster's etcd. Killed at any moment, the same command does all of it again.

    Raises HostsFailed, before anything is stopped when a machine lacks what it takes, EtcdError, and what following an
    install raises.
    """
    members = wanted.members
    with OpenCluster(settings, report, machines=[*members, *wanted.others]) as cluster:
        hosts = cluster.hosts
        Rebuilding(cluster, wanted.snapshot, members, wanted.others).run()
        inventory.remember(settings, members)
        with OpenCluster(settings, report, machines=members, hosts=hosts) as restored:
            _tidy(restored, wanted)
        start = etcd_scripts.start(settings.system)
        joined(hosts.each(lambda host: host.run(start, sudo=True), members, what="Starting the installs"))
        install.follow_install(hosts, settings, members, report, settings.install.deadline_seconds)
        # Its managers may have been lost with etcd's members: then that is told, with what continues without them.
        with OpenCluster(settings, report, machines=members, hosts=hosts) as restored:
            ensuring.ensure_or_tell(restored)


def _refuse_working(settings: Settings, machines: Sequence[Machine]) -> None:
    try:
        with OpenCluster(settings, machines=machines) as cluster:
            cluster.store.health()
    except EtcdError:
        return
    raise Refused("etcd works: restoring would undo all that was written after the backup; --force does that")


def _tidy(cluster: OpenCluster, wanted: Restoring) -> None:
    """Break the lock that was held when the backup was made, note the restoring, name records of strangers, and who is
    an operator again."""
    holder = cluster_lock.break_(cluster.store)
    if holder is not None:
        cluster.report("lock", f"broken: {holder} held it when the backup was made")
    known = {member.name for member in (*wanted.members, *wanted.others)}
    strangers = ", ".join(sorted({record.name for record in known_machines.read(cluster.store)} - known))
    if strangers:
        cluster.report("etcd", f"knows {strangers}, too: if they are gone, inv cluster.remove-machine each of them")
    _tell_operators(cluster)
    names = ", ".join(member.name for member in wanted.members)
    try:
        with cluster.locked(TASK) as lock:
            what = f"restore {wanted.snapshot.path.name} on {names}"
            Trail(cluster.store, lock).note(cluster.clock.now(), what, "done")
    except LockHeld as error:
        cluster.report("history", f"the restoring could not be noted: {error}")


def _tell_operators(cluster: OpenCluster) -> None:
    try:
        names = ", ".join(sorted(present(operators.read_records(cluster.store))))
    except Refused as error:
        cluster.report("etcd", str(error))
        return
    if names:
        cluster.report(
            "etcd", f"has the operators {names}, as the backup has: inv operator.remove who was removed since"
        )


def _refuse_overwriting(path: Path, force: bool) -> None:
    if path.is_dir():
        raise Refused(f"{path} is a folder: give the name of a file")
    if path.exists() and not force:
        raise Refused(f"{path} is there already: give another name, or --force to replace it")
