"""operator.add: keys for another operator, its record, a place on each machine, and its bundle.

Each step looks at what is there, so the same command resumes after any end; when all is there, it writes the bundle
anew: with the machines, host keys and certificates of today.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from argosy import atomic
from argosy.cluster import operators
from argosy.cluster.lock import Who
from argosy.cluster.opening import OpenCluster
from argosy.cluster.operator_record import OperatorRecord, Rights, operator_key
from argosy.config.loading import NAME_PATTERN, Settings
from argosy.errors import ConfigError, HostsFailed, Refused
from argosy.etcd import Put
from argosy.machine import authorized
from argosy.membership.actions import Action, Planned, action, do
from argosy.operators import keys
from argosy.operators.bundle import ARMOR, VERSION, Bundle, BundledMachine
from argosy.pki import authority
from argosy.registry import access
from argosy.report import Report
from argosy.secrets.logins import further
from argosy.ssh import keypair, known_hosts, pins
from argosy.ssh.host import Host
from argosy.ssh.known_hosts import HostKey

TASK = "operator.add"
Seal = Callable[[Bundle], bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """Who becomes an operator. `output`: where the bundle goes."""

    name: str
    rights: Rights
    output: Path


@dataclass(frozen=True, slots=True)
class Added:
    """`unreachable`: why which machines do not let the operator in yet; `total`: how many machines there are."""

    planned: Planned
    unreachable: dict[str, Exception]
    total: int

    def refuse_unreachable(self) -> None:
        """Raise HostsFailed when not all machines could be told."""
        if self.unreachable:
            raise HostsFailed("Letting it in", self.unreachable, self.total)


def parse_rights(text: str) -> Rights:
    """Return the rights. Raises ConfigError."""
    try:
        return Rights(text)
    except ValueError:
        raise ConfigError(f"{text!r} is none of {', '.join(Rights)}", "rights") from None


def plan(settings: Settings, request: Request, report: Report) -> Added:
    """Return what `add` would do, changing nothing. Raises Refused, ConfigError, EtcdError."""
    with OpenCluster(settings, report) as cluster:
        operators.refuse(settings, cluster.store, TASK, report)
        return _planned(cluster, request, lambda _: b"")


def add(settings: Settings, request: Request, seal: Seal, report: Report) -> Added:
    """Make somebody an operator, and write its bundle. Idempotent; the same command resumes.

    Machines that can't be reached are left out: the same command again lets it in there. Raises Refused, ConfigError,
    EtcdError, LockHeld.
    """
    check(settings, request)
    with OpenCluster(settings, report) as cluster, cluster.locked(TASK):
        added = _planned(cluster, request, seal)
        do(cluster, added.planned, request.name, f"add operator {request.name} ({request.rights})")
        return added


def refusal(name: str, rights: Rights, record: OperatorRecord | None, made_here: bool) -> str:
    """Return why the operator can't be added, or an empty string. Pure. `made_here`: this checkout has its keys."""
    if record is None:
        return ""
    if record.removed is not None:
        left = ", ".join(record.left_on)
        return f"{name} was removed, and {left} may let it in still: inv operator.remove {name} first" if left else ""
    if record.rights is not rights:
        return f"{name} has the rights {record.rights} already: inv operator.remove {name} first"
    if not made_here:
        return (
            f"{name} was added by {record.by} from another checkout, which has its keys: make its bundle there, or "
            f"inv operator.remove {name} first"
        )
    return ""


def check(settings: Settings, request: Request) -> None:
    """Raise ConfigError, Refused for what can be told without asking anybody."""
    if not re.fullmatch(NAME_PATTERN, request.name) or len(request.name) > 32:
        raise ConfigError("a name is made of lower-case letters, digits and dashes, 32 at most", request.name)
    pki = settings.secrets_path / "pki"
    if not (pki / "ca.key").exists():
        raise Refused(f"only who has the CA's key makes operators, and {pki / 'ca.key'} is not here")
    if len(authority.authorities(settings.secrets_path)) > 1:
        raise Refused("the CA is being changed for another: inv secrets.rotate --ca first")
    if request.rights is Rights.FULL:
        keypair.authorized_keys(settings)
    output = request.output
    if output.is_dir():
        raise ConfigError("a folder: name the bundle's file in it", str(output))
    if output.exists() and not output.read_bytes().startswith(ARMOR):
        raise Refused(f"{output} is no bundle, and is not replaced: name another file by --output")


def _planned(cluster: OpenCluster, request: Request, seal: Seal) -> Added:
    settings, name = cluster.settings, request.name
    check(settings, request)
    record = operators.read_record(cluster.store, name)
    if reason := refusal(name, request.rights, record, keys.are_made(settings, name)):
        raise Refused(reason)
    known = record is not None and record.removed is None
    line = record.ssh_key if known and record else ""
    outcomes = cluster.hosts.each(lambda host: _observe(host, line), what="Looking at who may log in")
    unreachable = {name: outcome.error for name, outcome in outcomes.items() if outcome.error is not None}
    lacking = [host for host in cluster.hosts if outcomes[host.name].ok and not outcomes[host.name].get()]
    notes = [f"{error}: run the same again when it is back" for error in unreachable.values()]
    if settings.ssh.entry_node:
        public = keys.folder(settings, name) / f"{keys.SSH_KEY}.pub"
        notes.append(f"let {public} in on the entry node {settings.ssh.entry_node} yourself: no task does that")
    actions = tuple(_actions(cluster, request, record, lacking, seal))
    return Added(Planned(actions, tuple(notes)), unreachable, len(outcomes))


def _observe(host: Host, line: str) -> bool:
    """Return whether the machine lets the key in; one that is still to be made it does not."""
    if not line:
        host.connect()
        return False
    return authorized.has(host, line)


def _actions(
    cluster: OpenCluster, request: Request, record: OperatorRecord | None, lacking: list[Host], seal: Seal
) -> Iterator[Action]:
    settings, name = cluster.settings, request.name
    if record is not None and record.removed is not None:
        yield action("here", f"remove the keys that {name} had", lambda: keys.remove(settings, name))
    if record is None or record.removed is not None:
        where = keys.folder(settings, name)
        yield action("here", f"make its keys in {where}", lambda: keys.ensure(settings, name))
        yield action("etcd", f"record the operator {name} ({request.rights})", lambda: _record(cluster, request))
    for host in lacking:
        yield _letting_in(settings, name, host)
    yield action("here", f"write {request.output}", lambda: _write(cluster, request, seal))


def _letting_in(settings: Settings, name: str, host: Host) -> Action:
    def run() -> None:
        authorized.let_in(host, keys.ensure(settings, name).ssh_public_key)

    return action(host.name, f"let {name} in by ssh", run)


def _record(cluster: OpenCluster, request: Request) -> None:
    made = keys.ensure(cluster.settings, request.name)
    line = made.ssh_public_key
    record = OperatorRecord(
        rights=request.rights,
        certificate=authority.operator_fingerprint(made.certificate.certificate),
        ssh_key=line,
        ssh_fingerprint=HostKey.parse(line).fingerprint,
        added=cluster.clock.now(),
        by=str(Who.here()),
    )
    cluster.holding.write([Put(operator_key(request.name), record.text())])


def _write(cluster: OpenCluster, request: Request, seal: Seal) -> None:
    sealed = seal(_bundle(cluster, request))
    try:
        request.output.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(request.output, sealed, mode=0o600)
    except OSError as error:
        raise ConfigError(
            f"can't be written: {error.strerror}; name another file by --output", str(request.output)
        ) from None


def _bundle(cluster: OpenCluster, request: Request) -> Bundle:
    settings, made = cluster.settings, keys.ensure(cluster.settings, request.name)
    folder = settings.secrets_path
    full = request.rights is Rights.FULL
    pinned = known_hosts.read(pins.path(settings))
    # Who is an operator stands in etcd, and the key of one who was removed must not live on in bundles.
    recorded = {record.ssh_key.split()[1] for record in operators.read_records(cluster.store).values()}
    opening = keypair.authorized_keys(settings) if full else []
    others = [line for line in opening if not recorded.intersection(line.split())]
    return Bundle(
        version=VERSION,
        system=settings.system,
        cluster=settings.cluster,
        name=request.name,
        rights=request.rights,
        ssh_key=made.ssh_key.read_text(),
        ssh_public_key=made.ssh_public_key,
        certificate=made.certificate.certificate.read_text(),
        certificate_key=made.certificate.key.read_text(),
        authority=authority.authority_path(folder).read_text(),
        authority_key=(folder / "pki" / "ca.key").read_text() if full else "",
        registry_address=settings.registry.address,
        registry_user=settings.registry.user,
        registry_password=access.password(settings) if settings.registry.address else "",
        registries={place: further(settings, place).password for place in settings.registries},
        authorized_keys=tuple(others),
        known_hosts={entry: tuple(map(str, found)) for entry, found in sorted(pinned.items())},
        machines=tuple(
            BundledMachine(machine.name, machine.address, machine.os, dict(machine.metadata))
            for machine in cluster.machines
        ),
    )
