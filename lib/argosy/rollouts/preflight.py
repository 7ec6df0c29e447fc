"""Look at a cluster before and while it is upgraded; nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from argosy import rollout_scripts
from argosy.config import Settings
from argosy.discovery_report import applied_revisions
from argosy.errors import ArgosyError, Refused
from argosy.etcd import Etcd
from argosy.events import Said
from argosy.host import Host, Hosts
from argosy.machine_files import Names, plain
from argosy.membership import Cluster, cluster_of, may_be_away
from argosy.model import MachineState
from argosy.operations.clock import Clock
from argosy.operations.rollout.seams import Events, Preflight
from argosy.rollout_plan import Found
from argosy.rollout_record import Release
from argosy.rollout_scripts import Looked
from argosy.scheduled_state import UPDATES
from argosy.schema import MACHINES, ROUTERS, MachineRecord, parse_machine

LOOK_SECONDS = 60.0
POLL_SECONDS = 0.5
PATIENCE = 1.5
"""How many of an agent's leases what looks ill may last before it counts."""
STATUS_SECONDS = 30.0
SETTINGS_PREFIX = "/settings/"
OVERLAY = "settings.json"


class Looking:
    """The seam `Looks`, through ssh and etcd. `release_of`: finds a release of that version in the registry."""

    def __init__(
        self,
        settings: Settings,
        hosts: Hosts,
        store: Etcd,
        events: Events,
        clock: Clock,
        release_of: Callable[[str], Release],
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._store = store
        self._events = events
        self._clock = clock
        self._release_of = release_of

    def names(self) -> list[str]:
        """Return the machines that have a record in etcd: the others were never installed."""
        records = self._records()
        return [host.name for host in self._hosts if host.name in records]

    def preflight(self, names: Sequence[str], release: Release | None) -> Preflight:
        """Look at `names`, and at etcd. See `Looks`."""
        records, cluster = self._records(), self._cluster()
        outcomes = self._hosts.each(partial(self._look, release=release), names, what="The preflight")
        problems = [_named(name, it.error) for name, it in outcomes.items() if it.error is not None]
        problems += [f"{it.name}: its etcd member is not well" for it in cluster.members if not it.healthy]
        known = {host.name for host in self._hosts}
        problems += [
            f"{name}: it belongs to the cluster, and this host can't find it" for name in records.keys() - known
        ]
        if problems:
            raise Refused(f"the preflight found what stands against it, nothing was changed: {'; '.join(problems)}")
        self._tell_settings()
        self._tell_updates()
        found = tuple(self._found(name, outcomes[name].get(), records.get(name)) for name in names)
        return Preflight(found, tuple(it.name for it in cluster.members), may_be_away(cluster))

    def troubles(self) -> Mapping[str, str]:
        """Return who is not well, and why. See `Looks`.

        A router whose agent has just got another lease, or a member in the middle of an election, is looked at again.
        """
        deadline = self._clock.elapsed() + PATIENCE * self._settings.discovery.ttl_seconds
        while True:
            records = self._records()
            out = {name: f"it is {it.state}" for name, it in records.items() if it.state != MachineState.ACTIVE}
            gone = dict.fromkeys(self._routerless(records), "its router is gone")
            gone |= {it.name: "its etcd member is not well" for it in self._cluster().members if not it.healthy}
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
        self._tell_drift(host, looked, names)
        return looked

    def _problems(self, looked: Looked, release: Release | None, asked: datetime, answered: datetime) -> Iterator[str]:
        rules = self._settings.rollout
        if looked.free_docker is None:
            yield "Docker does not answer"
        elif looked.free_docker < rules.free_megabytes:
            yield f"{looked.free_docker} MB are free where Docker keeps its images, {rules.free_megabytes} are needed"
        if looked.free_root < rules.free_megabytes // 5:
            yield f"{looked.free_root} MB are free on /, {rules.free_megabytes // 5} are needed"
        skew = rollout_scripts.clock_skew_seconds(looked.now, asked, answered)
        if abs(skew) > rules.clock_skew_seconds:
            yield f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this host's"
        if release is not None:
            registry = self._settings.registry.address
            problem = rollout_scripts.registry_problem(looked.registry, registry, str(release))
            if problem:
                yield problem

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
        found = map(parse_machine, self._store.get_prefix(MACHINES).entries)
        return {it.name: it for it in found if isinstance(it, MachineRecord)}

    def _cluster(self) -> Cluster:
        return cluster_of([host.machine for host in self._hosts], self._store.members())

    def _routerless(self, records: Mapping[str, MachineRecord]) -> list[str]:
        """Return the machines whose router tells nothing, though there are routers."""
        if not self._settings.discovery.enabled:
            return []
        live = applied_revisions(self._store.get_prefix(ROUTERS).entries)
        return [name for name in records if name not in live] if live else []

    # What is told of a preflight

    def _tell_drift(self, host: Host, looked: Looked, names: Names) -> None:
        drifted = looked.drifted
        if drifted is None:
            # Of an installer that did not write down yet what they shall be: ask it.
            argv = [f"{names.programs}/{names.system}", "status", "--json"]
            shown = host.run(argv, sudo=True, check=False, timeout_seconds=STATUS_SECONDS)
            try:
                drifted = tuple(json.loads(shown.stdout).get("drifted") or ())
            except (ValueError, AttributeError):
                self._say(host.name, f"{' '.join(argv)} ended with {shown.code}: its units are not compared")
                return
        if drifted:
            self._say(
                host.name, f"these units are not as its release has them, and will be again: {', '.join(drifted)}"
            )

    def _tell_settings(self) -> None:
        """Tell which settings in etcd are not those of the configuration; an upgrade leaves them as they are."""
        present = {
            it.key.removeprefix(SETTINGS_PREFIX): it.value for it in self._store.get_prefix(SETTINGS_PREFIX).entries
        }
        wanted = {
            key: plain(value) for key, value in self._settings.settings.items() if key not in self._secret_settings()
        }
        other = sorted(key for key, value in wanted.items() if present.get(key, value) != value)
        if other:
            self._say("", f"settings in etcd that are not as configured, and stay so: {', '.join(other)}")

    def _tell_updates(self) -> None:
        """Tell which updates of scheduled services were left; the rollout does not mind, but somebody may."""
        for entry in self._store.get_prefix(UPDATES).entries:
            name = entry.key.removeprefix(UPDATES)
            self._say("", f"an update of {name} has not ended: inv service.update {name} goes on with it")

    def _secret_settings(self) -> frozenset[str]:
        """Return the keys that the secrets override (argosy.operations.secrets)."""
        path = self._settings.secrets_path / "machine" / OVERLAY
        if not path.is_file():
            return frozenset()
        try:
            return frozenset(json.loads(path.read_text()))
        except ValueError:
            return frozenset(self._settings.settings)

    def _say(self, name: str, message: str) -> None:
        self._events(Said(at=self._clock.now(), machine=name, message=message))


def _named(name: str, error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"
