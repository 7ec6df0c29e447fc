"""Rotate: under the cluster's lock, recorded, phase by phase, so that the same command resumes after any end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from argosy.cluster.change import Finish
from argosy.cluster.history import Trail, new_id
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import Refused, Unhealthy
from argosy.etcd.quorum import cluster_of
from argosy.model import Step
from argosy.pki import authority
from argosy.report import Report
from argosy.rotation import provisioning_host
from argosy.rotation.machines import RemoteMachines, look_at_uses, uses
from argosy.rotation.plan import (
    AUTHORITY_FILE,
    MEANING,
    NEXT,
    Action,
    Enter,
    Gate,
    MachineWork,
    ObservedMachine,
    Phase,
    Record,
    RotationRequest,
    begin,
    next_action,
    readers,
    renewed_files,
    work,
)
from argosy.secrets import syncing, upload
from argosy.secrets.upload import HERE
from argosy.status import observing

TASK = "secrets.rotate"
_CERTIFICATES = ("etcd-client.crt", "etcd-peer.crt", "etcd-server.crt")
ATTEMPTS = 2
"""Of a machine: its files may change once more while we are at it, but not for ever."""


class Machines(Protocol):
    """The machines of a cluster as one phase sees them. `authority`: the SHA-256 of the CA file that they must have.

    What they raise are ArgosyErrors; each action may be cut off at any moment and be done again.
    """

    @property
    def authority(self) -> str: ...

    def look(self) -> Sequence[ObservedMachine]:
        """Return all machines as they are."""

    def look_at(self, name: str) -> ObservedMachine:
        """Return one machine as it is."""

    def do(self, name: str, action: Action) -> None:
        """Do this on the machine. Raises QuorumAtRisk for a restart that etcd could not bear now."""

    def wait_until_well(self, names: Collection[str]) -> None:
        """Wait until these machines and etcd are well. Raises Unhealthy, naming what is not."""


class Lock(Protocol):
    def check(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Effects:
    """What a phase changes outside of the secrets folder. `machines`: asked once the phase has begun here, when the
    files are what they must be; `refresh`: lets what runs on this host use them; `note`: adds to the audit trail."""

    machines: Callable[[], Machines]
    refresh: Callable[[], None]
    note: Callable[[str, str], None]


def plan(settings: Settings, request: RotationRequest) -> list[Step]:
    """Return what `rotate` would do, changing nothing; names of files, never what is in them."""
    record = _record(settings, request, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
    steps = [Step(HERE, f"make {name} anew") for name in record.to_make]
    steps += [Step(HERE, "renew all certificates")] if record.certificates else []
    with OpenCluster(settings) as cluster:
        machines, hosts = cluster.machines, cluster.hosts
        seen_secrets = syncing.look(cluster, machines, renewed_files(record))
        seen_secrets.refuse()
        steps += [Step("secrets", str(difference)) for difference in seen_secrets.decision.taking]
        members = cluster_of(machines, cluster.store.members())
        differences = upload.differences(hosts, settings, machines)
        used = hosts.each(lambda host: look_at_uses(host, settings), what="Looking")
    for phase in _phases(record):
        will = _will_change(phase, record)
        for machine in machines:
            known = used[machine.name].get()
            names = [difference.name for difference in differences[machine.name]] if phase is record.phase else []
            seen = ObservedMachine(
                machine.name,
                tuple(dict.fromkeys((*names, *will))),
                tuple(known.stale) if phase is record.phase else (),
                "",
                members.member(machine.name) is not None,
                bool(known.registry) and AUTHORITY_FILE in will,
            )
            label = f" ({MEANING[phase]})" if record.changes_authority else ""
            steps += [Step(machine.name, f"{action}{label}") for action in work(phase, seen, "", uses(settings))]
    return steps


def rotate(settings: Settings, request: RotationRequest, report: Report) -> None:
    """Bring what is asked for to all machines, one after the other, each well before the next. Idempotent, resumable.

    Raises ConfigError, Refused and LockHeld with nothing changed; Unhealthy, HostsFailed, LockLost, EtcdError for what
    went wrong on the way.
    """
    with OpenCluster(settings, report) as whole:
        first = True
        action: Enter | Finish | None = None
        while not isinstance(action, Finish):
            # For each phase a connection of its own: it has the CAs and the certificate of that time.
            with OpenCluster(settings, report, machines=whole.machines, hosts=whole.hosts) as cluster:
                action = _next_phase(cluster, request, first=first)
            first = False
    for name in readers({name: service.secrets for name, service in settings.scheduled.items()}, request):
        report(HERE, f"instances of {name} have read the old secrets: inv service.update {name} --renew")


def _next_phase(cluster: OpenCluster, request: RotationRequest, *, first: bool) -> Enter | Finish:
    """Go through the phase that comes next, under the cluster's lock. `first`: of this run."""
    settings = cluster.settings
    with cluster.locked(TASK) as lock:
        present = provisioning_host.read_record(settings)
        if present is None and not first:
            raise Refused("somebody else has ended this rotation meanwhile")
        record = present if present and not first else _record(settings, request, cluster.clock.now())
        seen = syncing.look(cluster, cluster.machines, renewed_files(record))
        seen.refuse()
        if present is None:
            _preflight(cluster, record)
        trail = Trail(cluster.store, lock)
        recorder = syncing.Recorder(cluster, seen)

        def machines() -> RemoteMachines:
            files = upload.gather(settings, cluster.machines, cluster.report)
            recorder.begin(files)
            return RemoteMachines(cluster, files)

        effects = Effects(
            machines,
            lambda: provisioning_host.refresh(settings, cluster.machines, cluster.report),
            lambda what, outcome: trail.note(cluster.clock.now(), what, outcome),
        )
        action = go_through(settings, record, effects, lock, cluster.report)
        recorder.finish()
        return action


def go_through(settings: Settings, record: Record, effects: Effects, lock: Lock, report: Report) -> Enter | Finish:
    """Go through the record's phase; return what follows, recorded."""
    provisioning_host.write_record(settings, record)
    record = provisioning_host.begin_phase(settings, record, report)
    if record.changes_authority:
        report(HERE, f"phase {record.phase}: {MEANING[record.phase]}")
    try:
        action = run_phase(record.phase, effects.machines(), lock, uses(settings), report)
    except Unhealthy as error:
        effects.note(_what(record), f"stopped: {error}")
        raise
    # What runs on this host comes last: the machines trust by now whatever it may show them.
    effects.refresh()
    lock.check()
    effects.note(_what(record), "done")
    if isinstance(action, Enter):
        provisioning_host.write_record(settings, replace(record, phase=action.phase))
    else:
        provisioning_host.remove_record(settings)
    return action


def run_phase(
    phase: Phase, machines: Machines, lock: Lock, uses: Mapping[str, Collection[str]], report: Report
) -> Enter | Finish:
    """Do on every machine what `phase` wants, one after the other, each well before the next; return what follows.

    Raises Unhealthy when a machine does not become well: all others are as they were.
    """
    seen = {observed_machine.name: observed_machine for observed_machine in machines.look()}
    gated: set[str] = set()
    attempts: Counter[str] = Counter()
    while True:
        lock.check()
        action = next_action(phase, seen.values(), gated, machines.authority, uses)
        match action:
            case Gate(names):
                gated |= set(names)
                machines.wait_until_well(frozenset(gated))
            case MachineWork(name, actions):
                attempts[name] += 1
                if attempts[name] > ATTEMPTS:
                    raise Unhealthy(f"{name}: there is still to do: {'; '.join(map(str, actions))}")
                for each in actions:
                    lock.check()
                    report(name, str(each))
                    machines.do(name, each)
                gated.discard(name)
                seen[name] = machines.look_at(name)
            case _:
                return action


def _what(record: Record) -> str:
    if record.changes_authority:
        return f"rotation {record.id} of the CA: {MEANING[record.phase]}"
    names = [*record.only, *(["certificates"] if record.certificates else [])]
    return f"rotation {record.id} of {', '.join(names) or 'what had changed'}"


def _record(settings: Settings, request: RotationRequest, now: datetime) -> Record:
    provisioning_host.check_names(settings, request.only)
    upload.check(settings)
    started = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        return begin(request, provisioning_host.read_record(settings), new_id(now), started)
    except ValueError as error:
        raise Refused(str(error)) from None


def _preflight(cluster: OpenCluster, record: Record) -> None:
    """Refuse to begin what could not be ended: another CA has to come to everybody."""
    if not record.changes_authority:
        return
    if len(authority.authorities(cluster.settings.secrets_path)) > 1:
        raise Refused("ca.crt holds several CAs already, and no rotation is recorded: restore secrets/ from a backup")
    members = cluster_of(cluster.machines, cluster.store.members())
    strangers = [member.name for member in members.members if member.name not in members.machines]
    if strangers:
        raise Refused(f"{', '.join(strangers)} run etcd and are not known here, so they would not get the new CA")
    problems = observing.observe(cluster.settings, cluster.hosts).problems()
    if problems:
        raise Refused(f"the CA is changed in a cluster that is well only: {'; '.join(problems)}")


def _phases(record: Record) -> list[Phase]:
    phases = [record.phase]
    while phases[-1] in NEXT:
        phases.append(NEXT[phases[-1]])
    return phases


def _will_change(phase: Phase, record: Record) -> tuple[str, ...]:
    """Return the files of a machine that differ once the phase has begun."""
    if phase in (Phase.TRUST, Phase.RETIRE):
        return (AUTHORITY_FILE,)
    if phase is Phase.ISSUE:
        return _CERTIFICATES
    return (*record.to_make, *(_CERTIFICATES if record.certificates else ()))
