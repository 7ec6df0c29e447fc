"""Look at a cluster before and while it is upgraded; nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from argosy.cloudconfig.files import setting_text
from argosy.cluster import machines as known_machines
from argosy.cluster.opening import OpenCluster
from argosy.cluster.release import Release, read_release
from argosy.discovery.report import applied_revisions
from argosy.errors import ArgosyError, Refused, with_host
from argosy.etcd.quorum import Cluster, cluster_of, may_be_away
from argosy.images.repositories import names_no_cluster
from argosy.model import MachineState
from argosy.paths import Names
from argosy.rollouts import scripts as rollout_scripts
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.plan import Findings, Found
from argosy.rollouts.scripts import Looked
from argosy.schema import ROUTERS, MachineRecord
from argosy.services.updates.record import UPDATES
from argosy.ssh.host import Host
from argosy.stamps import clock_skew_seconds

LOOK_SECONDS = 60.0
POLL_SECONDS = 0.5
PATIENCE = 1.5
"""How many of an agent's leases what looks ill may last before it counts."""
SETTINGS_PREFIX = "/settings/"
OVERLAY = "settings.json"


class RemotePreflight:
    """The interface `Preflight`, through ssh and etcd. `release_of`: finds a release by its version in the registry."""

    def __init__(
        self,
        work: OpenCluster,
        release_of: Callable[[str], Release],
    ) -> None:
        self._settings = work.settings
        self._hosts = work.hosts
        self._store = work.store
        self._clock = work.clock
        self._say = work.report
        self._release_of = release_of

    def names(self) -> list[str]:
        """Return the machines that have a record in etcd: the others were never installed."""
        records = self._records()
        return [host.name for host in self._hosts if host.name in records]

    def inspect(self, names: Sequence[str], release: Release | None) -> Findings:
        """Look at `names`, and at etcd. See `Preflight`."""
        records, cluster = self._records(), self._cluster()
        outcomes = self._hosts.each(partial(self._look, release=release), names, what="The preflight")
        problems = [with_host(name, outcome.error) for name, outcome in outcomes.items() if outcome.error is not None]
        problems += [f"{member.name}: its etcd member is not well" for member in cluster.members if not member.healthy]
        known = {host.name for host in self._hosts}
        problems += [
            f"{name}: it belongs to the cluster, and this host can't find it" for name in records.keys() - known
        ]
        if release is not None and names_no_cluster(self._settings, release.repository):
            problems += self._unproven(release, [outcome.get().release for outcome in outcomes.values() if outcome.ok])
        if problems:
            raise Refused(f"the preflight found what stands against it, nothing was changed: {'; '.join(problems)}")
        self._tell_settings()
        self._tell_updates()
        found = tuple(self._found(name, outcomes[name].get(), records.get(name)) for name in names)
        return Findings(found, tuple(member.name for member in cluster.members), may_be_away(cluster))

    def troubles(self) -> Mapping[str, str]:
        """Return who is not well, and why. See `Preflight`.

        A router whose agent has just got another lease, or a member in the middle of an election, is looked at again.
        """
        deadline = self._clock.elapsed() + PATIENCE * self._settings.discovery.ttl_seconds
        while True:
            records = self._records()
            out = {
                name: f"it is {record.state}" for name, record in records.items() if record.state != MachineState.ACTIVE
            }
            gone = dict.fromkeys(self._routerless(records), "its router is gone")
            gone |= {
                member.name: "its etcd member is not well" for member in self._cluster().members if not member.healthy
            }
            if not gone.keys() - out.keys() or self._clock.elapsed() >= deadline:
                return gone | out
            self._clock.event().wait(POLL_SECONDS)

    # Parts

    def _look(self, host: Host, release: Release | None) -> Looked:
        """Return what the machine tells. Raises Refused with all that stands against an upgrade of it."""
        names = Names(self._settings.system)
        host.connect()
        asked = self._clock.now()
        told = host.run(
            rollout_scripts.look(names, release.image if release else ""), sudo=True, timeout_seconds=LOOK_SECONDS
        )
        answered = self._clock.now()
        try:
            looked = rollout_scripts.parse_looked(told.stdout)
        except ValueError as error:
            raise Refused(f"{host.name}: {error}") from None
        problems = list(self._problems(looked, release, asked, answered))
        if problems:
            raise Refused(f"{host.name}: {'; '.join(problems)}")
        self._tell_drift(host, looked)
        return looked

    def _problems(self, looked: Looked, release: Release | None, asked: datetime, answered: datetime) -> Iterator[str]:
        rules = self._settings.rollout
        if looked.free_docker is None:
            yield "Docker does not answer"
        elif looked.free_docker < rules.free_megabytes:
            yield f"{looked.free_docker} MB are free where Docker keeps its images, {rules.free_megabytes} are needed"
        if looked.free_root < rules.free_megabytes // 5:
            yield f"{looked.free_root} MB are free on /, {rules.free_megabytes // 5} are needed"
        skew = clock_skew_seconds(looked.now, asked, answered)
        if abs(skew) > rules.clock_skew_seconds:
            yield f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this host's"
        if looked.lacks:
            yield f"it lacks {looked.lacks}, by which it asks Docker and its router: install it"
        elif release is not None:
            registry = self._settings.registry.address
            problem = rollout_scripts.registry_problem(looked.registry, registry, str(release))
            if problem:
                yield problem

    def _unproven(self, release: Release, present: Sequence[Release]) -> Iterator[str]:
        """Yield why a release that names no cluster is not taken: nothing says that it was ever this one's.

        `present`: those that the machines have.
        """
        begun, ended = OF_ROLLOUTS.present(self._store), OF_ROLLOUTS.past(self._store)
        known = [*present, *(found for rollout in ended for found in rollout.releases_run())]
        known += filter(None, [read_release(self._store)])
        known += [begun.release, *begun.releases_run()] if begun else []
        if release.digest not in {found.digest for found in known}:
            yield (
                f"release {release} names no cluster, and nothing tells that {self._settings.cluster} has ever run it: "
                "give one of this cluster (inv release.list)"
            )

    def _found(self, name: str, looked: Looked, record: MachineRecord | None) -> Found:
        """Return the release that the machine had last when all was well, and why it is not well now."""
        if looked.installed:
            state = record.state if record else "not recorded in etcd"
            return Found(name, looked.release, "" if state == MachineState.ACTIVE else f"it is {state}")
        trouble = f"the install of release {looked.release} has not succeeded"
        last = record.release if record else ""
        if last == looked.release.version or not last:
            return Found(name, looked.release, trouble)
        try:
            return Found(name, self._release_of(last), trouble)
        except ArgosyError as error:
            self._say(name, f"its last good release {last} can't be had, so there is no way back to it: {error}")
            return Found(name, Release(last), trouble)

    def _records(self) -> dict[str, MachineRecord]:
        return {record.name: record for record in known_machines.read(self._store)}

    def _cluster(self) -> Cluster:
        return cluster_of([host.machine for host in self._hosts], self._store.members())

    def _routerless(self, records: Mapping[str, MachineRecord]) -> list[str]:
        """Return the machines whose router tells nothing, though there are routers."""
        if not self._settings.discovery.enabled:
            return []
        live = applied_revisions(self._store.get_prefix(ROUTERS).entries)
        return [name for name in records if name not in live] if live else []

    # What is told of a preflight

    def _tell_drift(self, host: Host, looked: Looked) -> None:
        if looked.drifted is None:
            self._say(host.name, "its installer has not written down what its units must be: they are not compared")
        elif looked.drifted:
            units = ", ".join(looked.drifted)
            self._say(host.name, f"these units are not as its release has them, and will be again: {units}")

    def _tell_settings(self) -> None:
        """Tell which settings in etcd are not those of the configuration; an upgrade leaves them as they are."""
        present = {
            entry.key.removeprefix(SETTINGS_PREFIX): entry.value
            for entry in self._store.get_prefix(SETTINGS_PREFIX).entries
        }
        wanted = {
            key: setting_text(value)
            for key, value in self._settings.settings.items()
            if key not in self._secret_settings()
        }
        other = sorted(key for key, value in wanted.items() if present.get(key, value) != value)
        if other:
            self._say("", f"settings in etcd that are not as configured, and stay so: {', '.join(other)}")

    def _tell_updates(self) -> None:
        """Tell which updates of scheduled services were left; the rollout does not mind, but somebody may."""
        for entry in self._store.get_prefix(UPDATES).entries:
            name = entry.key.removeprefix(UPDATES)
            self._say("", f"an update of {name} has not ended: inv service.update {name} resumes it")

    def _secret_settings(self) -> frozenset[str]:
        """Return the keys that the secrets override (argosy.secrets.upload)."""
        path = self._settings.secrets_path / "machine" / OVERLAY
        if not path.is_file():
            return frozenset()
        try:
            return frozenset(json.loads(path.read_text()))
        except ValueError:
            return frozenset(self._settings.settings)
