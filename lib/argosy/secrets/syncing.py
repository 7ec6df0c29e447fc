"""Bring a cluster's secrets to its machines: look, decide, ask, record what is intended, upload, record the end.

    with OpenCluster(settings, report) as cluster:
        syncing.upload(cluster, cluster.machines, agree)

Killed between any two steps, the same again resumes: what is intended stands in etcd before the first machine is
touched, and the decision rests on what etcd and the machines say, not on how far somebody came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from argosy.cluster import operators
from argosy.cluster.lock import Who
from argosy.cluster.opening import OpenCluster
from argosy.errors import EtcdError, Refused, StalePlan
from argosy.etcd import Entry, Put, absent
from argosy.etcd.values import unchanged
from argosy.fanout import joined
from argosy.model import Machine, Step
from argosy.pki import authority
from argosy.secrets import checkout
from argosy.secrets import upload as machine_files
from argosy.secrets.deciding import (
    Decision,
    Difference,
    Here,
    There,
    common_prints,
    decide,
    own_prints,
)
from argosy.secrets.generations import KEY, Generation, SecretsRecord, begun, ended, merged_files
from argosy.secrets.transfer import Change, Observed, plan_changes
from argosy.secrets.upload import HERE
from argosy.secrets.value import Secret
from argosy.ssh.host import Host

TASK = "cluster.upload-secrets"
Agree = Callable[[Sequence[Difference]], None]
"""Asks whether these may be replaced and removed; raises Refused when they may not."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, here and there, of the secrets of `machines`. `entry`: etcd's, None when it has none or did not
    answer; `changes`: of each machine's folder."""

    machines: tuple[Machine, ...]
    here: Here
    there: There
    entry: Entry | None
    decision: Decision
    changes: Mapping[str, list[Change]]

    @property
    def nothing_to_do(self) -> bool:
        record = self.there.record
        recorded = record is not None and record.intended is None and self.here.remembered is not None
        return recorded and not any(self.changes.values())

    @property
    def is_being_set_up(self) -> bool:
        """Whether etcd is not up yet, and what the machines hold is what this checkout has just brought them."""
        remembered = self.here.remembered
        return not self.there.answered and remembered is not None and remembered.record.present is None

    @property
    def base(self) -> SecretsRecord:
        """The record that the next generation continues."""
        remembered = self.here.remembered
        if self.there.record is not None:
            return self.there.record
        if remembered is None or self.there.has_nothing:
            return SecretsRecord(checkout.new_id())
        return remembered.record

    def refuse(self) -> None:
        """Raise Refused when nothing may be done."""
        if self.decision.refusals:
            raise Refused("; ".join(self.decision.refusals))

    def to_json(self) -> dict[str, Any]:
        """Return {"generation": NUMBER or null, "changes": [{"name", "change": "adds" | "replaces" | "removes" |
        "renews", "machines": [NAME], "known"}], "refused": [REASON]}."""
        record = self.there.record
        return {
            "generation": record.present.number if record and record.present else None,
            "changes": [difference.to_json() for difference in self.decision.differences],
            "refused": list(self.decision.refusals),
        }

    def steps(self, to_make: Sequence[object], hooks: Sequence[str]) -> list[Step]:
        """Return what an upload does: what is made here, what changes where. Names of files, never what is in them."""
        steps = [Step(HERE, f"make {path}") for path in to_make]
        for machine, changes in self.changes.items():
            steps += [Step(machine, f"run {line}") for line in (hooks if changes else ())]
        steps += [Step("secrets", str(difference)) for difference in self.decision.differences]
        told = {(machine, each.name) for each in self.decision.differences for machine in each.machines}
        # A folder goes with the files in it.
        told |= {(machine, name.rpartition("/")[0]) for machine, name in told if "/" in name}
        for machine, changes in self.changes.items():
            others = [change for change in changes if (machine, change.name) not in told]
            steps += [Step(machine, str(change)) for change in others]
        return steps


@dataclass(frozen=True, slots=True)
class Uploaded:
    """`changes`: of each machine's folder; `generation`: what the cluster has now, None while etcd can't be told."""

    seen: Look
    changes: Mapping[str, list[Change]]
    generation: int | None

    def to_json(self) -> dict[str, Any]:
        """Return what `Look.to_json` does, of what was done."""
        return self.seen.to_json() | {"generation": self.generation}


def look(
    cluster: OpenCluster,
    machines: Sequence[Machine],
    renewing: Collection[str] = (),
    among: Sequence[Machine] | None = None,
) -> Look:
    """Return what is here and there, and what may be done; changes nothing.

    `among`: all machines of the cluster; those of `cluster` when left out. Where etcd has no record, all of them are
    asked what they hold. Raises ConfigError as `upload.gather` does, and HostsFailed when one of `machines` can't be
    asked.
    """
    settings = cluster.settings
    known = list({machine.name: machine for machine in (*(among or cluster.machines), *machines)}.values())
    operators.refuse_here(settings, TASK)
    authority.refuse_lost_key(settings.secrets_path)
    wanted = machine_files.wanted(settings, known)
    answered, entry, record = _record(cluster)

    def observe(host: Host) -> Observed:
        return machine_files.observe(host, settings)

    observed = joined(cluster.hosts.each(observe, machines, what="Comparing secrets"))
    held: dict[str, Mapping[str, str] | None] = {name: found.files for name, found in observed.items()}
    others = [machine for machine in known if machine.name not in held]
    if record is None:
        outcomes = cluster.hosts.each(observe, others, what="Comparing secrets")
        held |= {name: outcome.get().files if outcome.ok else None for name, outcome in outcomes.items()}
    else:
        held |= dict.fromkeys((machine.name for machine in others), None)
    here = Here(wanted, checkout.read_key(settings), checkout.remembered(settings))
    there = There(held, answered, record)
    changes = {name: plan_changes(wanted[name], found) for name, found in observed.items()}
    decision = decide(here, there, [machine.name for machine in machines], renewing)
    return Look(tuple(machines), here, there, entry, decision, changes)


def plan(cluster: OpenCluster, machines: Sequence[Machine]) -> tuple[Look, list[Step]]:
    """Return what `upload` would do, changing nothing."""
    seen = look(cluster, machines)
    settings = cluster.settings
    return seen, seen.steps(machine_files.to_make(settings), settings.hooks.prepare_machine)


def check(cluster: OpenCluster, machines: Sequence[Machine] = (), among: Sequence[Machine] | None = None) -> None:
    """Raise Refused when this checkout's secrets may not be brought to the cluster's machines; changes nothing."""
    look(cluster, machines, among=among).refuse()


def upload(
    cluster: OpenCluster, machines: Sequence[Machine], agree: Agree, among: Sequence[Machine] | None = None
) -> Uploaded:
    """Bring the machines their secrets, at the same time, and return what changed. Idempotent; resumes.

    All is gathered before a machine is touched. Raises ConfigError, Refused, LockHeld and StalePlan with nothing
    changed on any machine, HostsFailed when some failed: the others are done.
    """
    seen = look(cluster, machines, among=among)
    seen.refuse()
    if seen.decision.taking and not seen.is_being_set_up:
        agree(seen.decision.taking)
    settings, report = cluster.settings, cluster.report
    if seen.nothing_to_do:
        recorder = Recorder(cluster, seen)
        if recorder.is_recorded(machine_files.gather(settings, machines, report)):
            recorder.remember()
            for machine in machines:
                report(machine.name, "secrets: unchanged")
            return Uploaded(seen, seen.changes, recorder.number)
    with _changing(cluster, seen) as recorder:
        files = machine_files.gather(settings, machines, report)
        recorder.begin(files)

        def bring(host: Host) -> list[Change]:
            return machine_files.bring(host, settings, files[host.name], report, seen.there.asked[host.name])

        changes = joined(cluster.hosts.each(bring, machines, what="Uploading secrets"))
        recorder.finish()
    return Uploaded(seen, changes, recorder.number)


def settle(cluster: OpenCluster, machines: Sequence[Machine]) -> None:
    """Record the secrets of a cluster that has been set up: its etcd was not there when they were brought. Idempotent.

    That etcd does not answer yet is told: the next upload records them.
    """
    answered, entry, _ = _record(cluster)
    if not answered:
        cluster.report(HERE, "etcd does not answer: the next inv cluster.upload-secrets records where they are from")
    elif entry is None:
        upload(cluster, machines, refuse_taking)


def refuse_taking(differences: Sequence[Difference]) -> None:
    """Agree to nothing: for tasks that ask nobody."""
    told = "; ".join(map(str, differences))
    raise Refused(f"the machines have other secrets ({told}): inv cluster.upload-secrets asks whether to do that")


class Recorder:
    """Writes the cluster's record as `seen` is changed: in etcd, when that answers, and in this checkout."""

    def __init__(self, cluster: OpenCluster, seen: Look) -> None:
        self._cluster = cluster
        self._seen = seen
        self._entry = seen.entry
        self._record = seen.base
        self._checkout = seen.here.remembered.checkout if seen.here.remembered else checkout.new_id()

    @property
    def number(self) -> int | None:
        present = self._record.present
        return present.number if present else None

    def is_recorded(self, files: Mapping[str, Mapping[str, Secret]]) -> bool:
        """Return whether the cluster's record has just these files, brought to their end."""
        present = self._record.present
        return self._entry is not None and present is not None and present.files == self._prints(files)

    def begin(self, files: Mapping[str, Mapping[str, Secret]]) -> None:
        """Record what is intended, before any machine is touched. Raises StalePlan when somebody else was faster."""
        prints = self._prints(files)
        present = self._record.present
        if present is not None and present.files == prints and self._record.intended is None:
            self._put(self._record)
            return
        remembered = self._seen.here.remembered
        least = remembered.record.newest + 1 if remembered and remembered.record.id == self._record.id else 1
        who, folder = Who.here(), str(self._cluster.settings.secrets_path)
        generation = Generation(least, str(who), self._checkout, folder, self._cluster.clock.now(), prints)
        self._put(begun(self._record, generation))

    def finish(self) -> None:
        """Record that the machines have what was intended."""
        if self._seen.there.answered:
            self._put(ended(self._record))

    def remember(self) -> None:
        checkout.remember(self._cluster.settings, self._checkout, self._record)

    def _put(self, record: SecretsRecord) -> None:
        """Write the record here and in etcd: here first, so that this checkout knows what it has begun."""
        text = record.text()
        if self._seen.there.answered and (self._entry is None or self._entry.value != text):
            begins = self._entry is None or record.intended is not None
            if begins:
                checkout.remember(self._cluster.settings, self._checkout, record)
            condition = unchanged(self._entry) if self._entry else absent(KEY)
            done = self._cluster.holding.transact([condition], [Put(KEY, text)])
            if not done.succeeded:
                raise StalePlan("somebody else has changed the cluster's secrets just now: run the same command again")
            self._entry = Entry(KEY, text, done.revision, done.revision)
        self._record = record
        self.remember()

    def _prints(self, files: Mapping[str, Mapping[str, Secret]]) -> dict[str, str]:
        wanted = {name: {file: secret.sha256 for file, secret in found.items()} for name, found in files.items()}
        here = Here(wanted, checkout.read_key(self._cluster.settings))
        own: dict[str, str] = {}
        for name in wanted:
            own |= own_prints(here, name)
        return merged_files(self._record, common_prints(here, next(iter(wanted))), own, tuple(wanted))


@contextmanager
def _changing(cluster: OpenCluster, seen: Look) -> Iterator[Recorder]:
    """Hold the cluster's lock, if there is an etcd that can be asked for it."""
    recorder = Recorder(cluster, seen)
    if not seen.there.answered:
        yield recorder
        return
    names = ", ".join(machine.name for machine in seen.machines)
    with cluster.locked(TASK), cluster.noted(f"secrets of {names}"):
        yield recorder


def _record(cluster: OpenCluster) -> tuple[bool, Entry | None, SecretsRecord | None]:
    """Return whether etcd answered, and what it has. Raises Refused for a record that can't be read."""
    if not authority.authority_path(cluster.settings.secrets_path).exists():
        return False, None, None
    try:
        entry = cluster.store.get(KEY)
    except EtcdError:
        return False, None, None
    try:
        return True, entry, SecretsRecord.parse(entry.value) if entry else None
    except ValueError as error:
        raise Refused(f"{KEY}: {error}") from None
