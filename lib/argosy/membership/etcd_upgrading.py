"""`cluster.upgrade-etcd`: every member gets another image of etcd, one after the other, each well before the next.

A newcomer brings the registry's newest image: which etcd may come to which is decided for both by argosy.etcd.versions.
An image's label tells which one it holds, and the image itself on the machine that has pulled it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from argosy.clock import wait_until
from argosy.cloudconfig.config import dialect_for
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import EtcdError, Refused, Unhealthy
from argosy.etcd.quorum import Cluster, Upgrade, plan_membership
from argosy.etcd.versions import EtcdVersion, RunningEtcd, Series, parse_etcd_version, plan_upgrade, refusal
from argosy.fanout import joined
from argosy.images.versions import Stored
from argosy.membership import etcd_scripts
from argosy.membership.actions import Action, Planned, action, do
from argosy.membership.observing import Membership, opened
from argosy.model import Machine, Member
from argosy.registry import access
from argosy.report import Report
from argosy.secrets.uses import restart_etcd
from argosy.stamps import stamp

TASK = "cluster.upgrade-etcd"
LEAD_SECONDS = 10.0
BACKUPS = "backups"


def plan(settings: Settings, existing: str, report: Report, image: str = "") -> Planned:
    """Return what `upgrade` would do, changing nothing. Raises Refused, ConfigError, EtcdError, RegistryError."""
    with opened(settings, existing, report, task=TASK) as cluster:
        return Upgrading(cluster, access.etcd_image(settings, image)).planned()


def upgrade(settings: Settings, existing: str, report: Report, image: str = "") -> Planned:
    """Bring the image of etcd to every member of the cluster of `existing`, and return what was done.

    `image`: its version, the registry's newest when empty. Idempotent; the same command resumes after any end, and one
    with the old image goes back, as long as etcd can. Raises as `plan` does, and LockHeld, LockLost, HostsFailed,
    QuorumAtRisk, Unhealthy for what goes wrong on the way.
    """
    with opened(settings, existing, report, task=TASK) as cluster, cluster.locked(TASK):
        cluster.look_well()
        upgrading = Upgrading(cluster, access.etcd_image(settings, image))
        planned = upgrading.planned()
        do(cluster, planned, "etcd", f"upgrade etcd: {upgrading.what}")
        return planned


def refuse_newcomer(cluster: Membership, new: Machine, gone: Collection[str]) -> None:
    """Raise Refused when the etcd that a newcomer would bring may not run beside the members'.

    `gone`: machines that leave before it comes. One whose etcd runs already brings nothing.
    """
    running = {name: member for name, member in _members(cluster).items() if name not in gone}
    own = running.pop(new.name, None)
    if (own and own.version) or not running:
        return
    image = access.etcd_image(cluster.settings)
    version = parse_etcd_version(image.etcd) or _told_by_those_who_run(cluster, image, running)
    if version is None:
        raise Refused(
            f"which version of etcd {new.name} would bring could not be known: image {image.name} {image.version} has "
            "no label that tells, and no member runs it; make one that has: inv build.all registry.push"
        )
    if reason := refusal({name: member.version for name, member in running.items()}, version):
        raise Refused(f"{new.name} would bring image {image.name} {image.version}: {reason}")


def give_way(cluster: OpenCluster, members: Cluster, name: str) -> None:
    """Let another member lead. Raises QuorumAtRisk when etcd could not bear that the machine's member is away."""
    plan_membership(members, Upgrade((name,)), cluster.settings.etcd.max_members)
    own = members.member(name)
    others = [voter for voter in members.voters if voter.healthy and voter.name != name]
    if own is not None and own.leader and others:
        cluster.store.move_leader(others[0].id, seconds=LEAD_SECONDS)


@dataclass
class Upgrading:
    """The upgrade of all members to `image`. `told`: the etcd in it, as machines say that have pulled it."""

    cluster: Membership
    image: Stored
    told: EtcdVersion | None = None

    @property
    def what(self) -> str:
        return f"image {self.image.name} {self.image.version}{f', etcd {self.version}' if self.version else ''}"

    @property
    def version(self) -> EtcdVersion | None:
        return self.told or self._labelled

    @cached_property
    def _labelled(self) -> EtcdVersion | None:
        return parse_etcd_version(self.image.etcd)

    def planned(self) -> Planned:
        found = self._look()
        names = plan_upgrade(found, self.image.digest, self.version)
        if not names:
            return Planned(notes=(f"{', '.join(member.machine for member in found)} run it already: {self.what}",))
        notes = []
        if self.version is None:
            notes.append(f"{self.what}: no label tells which etcd it holds; the machines tell it, before any restart")
        elif old := sorted(series for series in _series(found) if series < self.version.series):
            notes.append(f"when all members run etcd {self.version.series}, there is no way back to {old[0]}")
        if len(found) < 3:
            notes.append(f"etcd has {len(found)} member{'s' * (len(found) > 1)}: it takes no changes while one is away")
        return Planned(tuple(self._actions(names, found)), tuple(notes))

    def _look(self) -> list[RunningEtcd]:
        cluster, members = self.cluster, _members(self.cluster)
        unknown = [name for name in members if cluster.seen.machine(name) is None]
        if unknown:
            raise Refused(f"{', '.join(unknown)}: a member of etcd, and no machine that this host knows")
        anew = [name for name in members if dialect_for(self._machine(name).os) == "coreos"]
        if anew:
            raise Refused(
                f"{', '.join(anew)}: gets its files anew from its cloud-config at every boot, and so the image that it "
                "has: let another machine take its place (inv cluster.add-machine --replace)"
            )
        images = _images(cluster, members)
        return [
            RunningEtcd(
                state.name, members[state.name].version, *images[state.name], state.healthy, state.learner, state.leader
            )
            for state in cluster.seen.cluster.members
        ]

    def _actions(self, names: tuple[str, ...], found: list[RunningEtcd]) -> Iterator[Action]:
        pull = partial(self._pull, names, found)
        yield action(", ".join(names), f"pull {self.what}, and ask it for its version", pull)
        yield action("etcd", "save what it holds on this host", self._save)
        for name in names:
            yield action(name, "restart etcd with it, wait until it is well", partial(self._restart, name))

    def _pull(self, names: tuple[str, ...], found: list[RunningEtcd]) -> None:
        hosts, script = self.cluster.hosts, etcd_scripts.pull(self.cluster.settings.system, self._reference)
        printed = joined(hosts.each(lambda host: host.run(script, sudo=True).stdout, names, what="Pulling etcd"))
        told = {parse_etcd_version(output) for output in printed.values()}
        if len(told) != 1 or None in told or (self._labelled and self._labelled not in told):
            raise Refused(f"{self.what} does not tell on {', '.join(names)} that it is that: nothing was restarted")
        (self.told,) = told
        # What no label told is decided by what it is.
        plan_upgrade(found, self.image.digest, self.told)

    def _save(self) -> None:
        cluster = self.cluster
        name = f"before-etcd-{self.version}-{stamp(cluster.clock.now())}.db"
        snapshot = cluster.store.snapshot(cluster.settings.state_path / BACKUPS / name)
        cluster.report("etcd", f"saved in {snapshot.path}, for inv cluster.restore")

    def _restart(self, name: str) -> None:
        cluster, system = self.cluster, self.cluster.settings.system
        members = cluster.look().cluster
        unwell = [member.name for member in members.members if not member.healthy and member.name != name]
        if unwell:
            raise Unhealthy(f"{name} keeps its etcd, since that of {', '.join(unwell)} is not well; run the same again")
        give_way(cluster, members, name)
        host = cluster.hosts[name]
        before = host.run(etcd_scripts.choose(system, self._reference), sudo=True).stdout.strip()
        host.run(restart_etcd(system), sudo=True)
        seconds = cluster.settings.rollout.check_seconds
        if reason := wait_until(lambda: self._unwell(name), seconds, done=lambda found: not found, every=0.5):
            raise Unhealthy(
                f"{name}: its etcd is not well {seconds:g} s after its restart ({reason}): inv cluster.logs etcd; the "
                f"others are as they were. The same command tries it again, or another --image; it had {before}"
            )

    def _unwell(self, name: str) -> str:
        """Return why the member is not as it must be."""
        self.cluster.holding.check()
        try:
            self.cluster.look()
        except EtcdError as error:
            return str(error)
        state, member = self.cluster.seen.cluster.member(name), _members(self.cluster).get(name)
        if state is None or member is None or not state.healthy:
            return "it does not answer"
        return "" if parse_etcd_version(member.version) == self.version else f"it is {member.version}"

    def _machine(self, name: str) -> Machine:
        found = self.cluster.seen.machine(name)
        assert found is not None
        return found

    @property
    def _reference(self) -> str:
        settings = self.cluster.settings
        return access.as_image(settings, self.image).reference(settings.registry.address)


def _series(members: Iterable[RunningEtcd]) -> set[Series]:
    versions = [parse_etcd_version(member.version) for member in members]
    return {version.series for version in versions if version}


def _members(cluster: Membership) -> dict[str, Member]:
    """Return the members by their machines' names."""
    return {
        state.name: member for state, member in zip(cluster.seen.cluster.members, cluster.seen.members, strict=True)
    }


def _images(cluster: Membership, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the digests of the images of etcd of each machine: of the one that it runs, and of the one it starts."""
    script = etcd_scripts.look_for_image(cluster.settings.system)
    shown = joined(cluster.hosts.each(lambda host: host.run(script, sudo=True).stdout, names, what="Asking for etcd"))
    return {name: etcd_scripts.parse_images(output) for name, output in shown.items()}


def _told_by_those_who_run(cluster: Membership, image: Stored, members: dict[str, Member]) -> EtcdVersion | None:
    """Return the version of the members that run the very image, if any does."""
    asked = [name for name in members if cluster.seen.machine(name)]
    for name, (runs, _chosen) in _images(cluster, asked).items():
        if runs == image.digest:
            return parse_etcd_version(members[name].version)
    return None
