"""Rotate: under the cluster's lock, recorded, phase by phase, so that whoever is killed, the same again goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from argosy import etcd, inventory, pki
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Refused, Unhealthy
from argosy.etcd import Etcd
from argosy.host import Hosts
from argosy.membership import cluster_of
from argosy.model import Machine, Step
from argosy.operations import secrets, status
from argosy.operations.clock import SystemClock
from argosy.operations.cluster_lock import ClusterLock, held
from argosy.operations.journal import Journal, new_id
from argosy.operations.rotation import here
from argosy.operations.rotation.driver import Lock, Machines, run_phase
from argosy.operations.rotation.machines import RemoteMachines, look_at_uses, uses
from argosy.rotation import (
    AUTHORITY_FILE,
    MEANING,
    NEXT,
    Enter,
    Finish,
    Phase,
    Record,
    Seen,
    Wish,
    begin,
    readers,
    work,
)


@dataclass(frozen=True, slots=True)
class Seams:
    """What a phase changes outside of the secrets folder. `machines`: asked once the phase has begun here, when the
    files are what they shall be; `refresh`: lets what runs on this host use them."""

    machines: Callable[[], Machines]
    refresh: Callable[[], None]


TASK = "secrets.rotate"
_CERTIFICATES = ("etcd-client.crt", "etcd-peer.crt", "etcd-server.crt")


def plan(settings: Settings, wish: Wish) -> list[Step]:
    """Return what `rotate` would do, changing nothing; names of files, never what is in them."""
    record = _record(settings, wish, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
    machines = inventory.select(settings)
    here_steps = [Step(here.HERE, f"make {name} anew") for name in record.to_make]
    here_steps += [Step(here.HERE, "renew all certificates")] if record.certificates else []
    with Hosts(settings, machines) as hosts, etcd.connect(settings, machines, hosts) as store:
        cluster = cluster_of(machines, store.members())
        differences = secrets.differences(hosts, settings, machines)
        used = hosts.each(lambda host: look_at_uses(host, settings), what="Looking")
    steps: list[Step] = []
    for phase in _phases(record):
        will = _will_change(phase, record)
        for machine in machines:
            known = used[machine.name].get()
            names = [it.name for it in differences[machine.name]] if phase is record.phase else []
            seen = Seen(
                machine.name,
                tuple(dict.fromkeys((*names, *will))),
                tuple(known.stale) if phase is record.phase else (),
                "",
                cluster.member(machine.name) is not None,
                bool(known.registry) and AUTHORITY_FILE in will,
            )
            label = f" ({MEANING[phase]})" if record.changes_authority else ""
            steps += [Step(machine.name, f"{deed}{label}") for deed in work(phase, seen, "", uses(settings))]
    return [*here_steps, *steps]


def rotate(settings: Settings, wish: Wish, report: Report) -> None:
    """Bring what is wished to all machines, one after the other, each well before the next. Idempotent, resumable.

    Raises ConfigError, Refused and LockHeld with nothing changed; Unhealthy, HostsFailed, LockLost, EtcdError for what
    went wrong on the way.
    """
    machines = inventory.select(settings)
    with Hosts(settings, machines) as hosts:
        first = True
        action: Enter | Finish | None = None
        while not isinstance(action, Finish):
            # For each phase a connection of its own: it has the CAs and the certificate of that time.
            with (
                etcd.connect(settings, machines, hosts) as store,
                held(store, TASK, ttl_seconds=settings.rollout.lock_ttl_seconds, report=report) as lock,
            ):
                present = here.read_record(settings)
                if present is None and not first:
                    raise Refused("somebody else has ended this rotation meanwhile")
                record = present if present and not first else _record(settings, wish, SystemClock().now())
                if present is None:
                    _preflight(settings, hosts, store, machines, record)
                action = _phase(settings, hosts, store, lock, record, report)
            first = False
    for name in readers({name: it.secrets for name, it in settings.scheduled.items()}, wish):
        report(here.HERE, f"instances of {name} have read the old secrets: inv service.update {name} --renew")


def go_through(
    settings: Settings, record: Record, seams: Seams, lock: Lock, note: Callable[[str, str], None], report: Report
) -> Enter | Finish:
    """Go through the record's phase; return what follows, recorded. `note`: adds to the audit trail."""
    here.write_record(settings, record)
    record = here.begin_phase(settings, record, report)
    if record.changes_authority:
        report(here.HERE, f"phase {record.phase}: {MEANING[record.phase]}")
    try:
        action = run_phase(record.phase, seams.machines(), lock, uses(settings), report)
    except Unhealthy as error:
        note(_what(record), f"stopped: {error}")
        raise
    # What runs on this host comes last: the machines trust by now whatever it may show them.
    seams.refresh()
    lock.check()
    note(_what(record), "done")
    if isinstance(action, Enter):
        here.write_record(settings, replace(record, phase=action.phase))
    else:
        here.remove_record(settings)
    return action


def _phase(
    settings: Settings, hosts: Hosts, store: Etcd, lock: ClusterLock, record: Record, report: Report
) -> Enter | Finish:
    machines = [host.machine for host in hosts]
    seams = Seams(
        lambda: RemoteMachines(settings, hosts, store, secrets.gather(settings, machines, report), report),
        lambda: here.refresh(settings, machines, report),
    )
    journal, clock = Journal(store, lock), SystemClock()
    return go_through(
        settings, record, seams, lock, lambda what, outcome: journal.note(clock.now(), what, outcome), report
    )


def _what(record: Record) -> str:
    if record.changes_authority:
        return f"rotation {record.id} of the CA: {MEANING[record.phase]}"
    names = [*record.only, *(["certificates"] if record.certificates else [])]
    return f"rotation {record.id} of {', '.join(names) or 'what had changed'}"


def _record(settings: Settings, wish: Wish, now: datetime) -> Record:
    here.check_names(settings, wish.only)
    secrets.check(settings)
    started = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        return begin(wish, here.read_record(settings), new_id(now), started)
    except ValueError as error:
        raise Refused(str(error)) from None


def _preflight(settings: Settings, hosts: Hosts, store: Etcd, machines: Sequence[Machine], record: Record) -> None:
    """Refuse to begin what could not be ended: another CA has to come to everybody."""
    if not record.changes_authority:
        return
    if len(pki.authorities(settings.secrets_path)) > 1:
        raise Refused("ca.crt holds several CAs already, and no rotation is recorded: restore secrets/ from a backup")
    known = {machine.name for machine in machines}
    strangers = [it.name for it in cluster_of(machines, store.members()).members if it.name not in known]
    if strangers:
        raise Refused(f"{', '.join(strangers)} run etcd and are not known here, so they would not get the new CA")
    problems = status.observe(settings, hosts).problems()
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
