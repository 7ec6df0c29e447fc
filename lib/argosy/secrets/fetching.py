"""`secrets.fetch`: a checkout gets the cluster's secrets from the machines, and may bring them there from then on.

Whoever is root on a machine by ssh has all of it anyway. The CA's key is on no machine: it comes from the checkout that
has it. The files come through ssh on the standard output of one program, and are written 0600.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

from argosy import atomic, etcd, inventory
from argosy.cluster import machines as known_machines
from argosy.cluster import operators
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import ArgosyError, CommandFailed, ConfigError, EtcdError, Refused, StalePlan
from argosy.etcd import Entry, Etcd, Put, unchanged
from argosy.etcd.connection import Credentials
from argosy.fanout import joined
from argosy.model import Machine, Step
from argosy.paths import Names
from argosy.pki import authority
from argosy.report import Report
from argosy.secrets import checkout, sources
from argosy.secrets import upload as machine_files
from argosy.secrets.choosing import Chosen, choose
from argosy.secrets.deciding import Effect
from argosy.secrets.generations import KEY, SecretsRecord, fingerprint, given_up
from argosy.secrets.logins import docker_config, passwords_in
from argosy.secrets.names import FINGERPRINT_KEY, OWN_SECRETS
from argosy.secrets.sources import Source
from argosy.secrets.upload import KEYS, REGISTRY_LOGIN
from argosy.secrets.value import Secret
from argosy.ssh.host import Host, Hosts
from argosy.ssh.shell import Script

TASK = "secrets.fetch"
READ = """\
set -eu
cd -- "$1"
shift
exec tar -c -f - -- "$@"
"""
"""$1: the folder; then names of files in it. Prints a tar of them."""

CLIENT = ("ca.crt", "etcd-client.crt", "etcd-client.key")


@dataclass(frozen=True, slots=True)
class LocalChange:
    """What happens to a file here. `secret`: None for one that goes."""

    effect: Effect
    path: Path
    secret: Secret | None = None

    def __str__(self) -> str:
        return f"{self.effect} {self.path}"


Agree = Callable[[Sequence[LocalChange]], None]
"""Asks whether these files here may be replaced and removed; raises Refused when they may not."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`generation`: the number of what this checkout has now, None where the cluster has no record; `changes`: of files
    here; `lacking`: what is left for somebody to do before this checkout can bring secrets."""

    generation: int | None
    changes: tuple[LocalChange, ...] = ()
    lacking: tuple[str, ...] = ()

    def steps(self) -> list[Step]:
        return [Step("here", str(change)) for change in self.changes]

    def to_json(self) -> dict[str, Any]:
        """Return {"generation": NUMBER or null, "changes": [{"change", "path"}], "lacking": [TEXT]}."""
        changes = [{"change": change.effect, "path": str(change.path)} for change in self.changes]
        return {"generation": self.generation, "changes": changes, "lacking": list(self.lacking)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """`machines`: by the names that they have in the cluster; `held`: of those that could be asked; `unasked`: all
    others."""

    settings: Settings
    machines: Sequence[Machine]
    hosts: Mapping[str, Host]
    held: Mapping[str, Mapping[str, str]]
    unasked: Sequence[str]
    store: Etcd
    entry: Entry | None
    record: SecretsRecord | None
    key: bytes | None = None
    chosen: Chosen = field(default_factory=lambda: Chosen({}))


def plan(settings: Settings, words: Sequence[str], report: Report) -> Fetched:
    """Return what `fetch` would do, changing nothing."""
    with _looked(settings, words, report) as seen:
        return _fetched(seen)


def fetch(settings: Settings, words: Sequence[str], report: Report, agree: Agree) -> Fetched:
    """Bring the cluster's secrets here from its machines, and return what was done. Idempotent; resumes.

    `words`: names of machines, or addresses when this checkout knows none yet. Raises HostsFailed when none can be
    asked, EtcdError when etcd can't be, and Refused when the machines have no whole set.
    """
    with _looked(settings, words, report) as seen:
        fetched = _fetched(seen)
        taking = [change for change in fetched.changes if change.effect is not Effect.ADDS]
        if taking:
            agree(taking)
        record = seen.record
        if record is not None and seen.chosen.gives_up and seen.entry is not None:
            record = given_up(record)
            _give_up(seen, seen.entry, record, report)
        atomic.ensure_private_folder(settings.secrets_path)
        with atomic.locked(settings.secrets_path / ".lock"):
            for change in fetched.changes:
                _write(settings, change)
        inventory.remember(settings, seen.machines)
        known_machines.take(settings, known_machines.read(seen.store), report)
        if record is not None:
            present = checkout.remembered(settings)
            checkout.remember(settings, present.checkout if present else checkout.new_id(), record)
        return fetched


def _fetched(seen: _Seen) -> Fetched:
    changes, lacking = _changes(seen)
    number = seen.chosen.generation.number if seen.chosen.generation else None
    return Fetched(number, tuple(changes), (*lacking, *_lacking_authority(seen)))


@contextmanager
def _looked(settings: Settings, words: Sequence[str], report: Report) -> Iterator[_Seen]:
    operators.refuse_here(settings, TASK)
    known = inventory.load(settings)
    machines = inventory.select(settings, words) if known else inventory.resolve(settings, words)
    if not machines:
        raise ConfigError("give the address of a machine of the cluster: this checkout knows none", "machines")
    with Hosts(settings, machines) as hosts:

        def observe(host: Host) -> Mapping[str, str]:
            return machine_files.observe(host, settings).files

        outcomes = hosts.each(observe, what="Looking at secrets")
        if not any(outcome.ok for outcome in outcomes.values()):
            joined(outcomes)
        for name, outcome in outcomes.items():
            if outcome.error is not None:
                report(name, f"is left out: {outcome.error}")
        held = {name: outcome.get() for name, outcome in outcomes.items() if outcome.ok}
        with _store(settings, machines, hosts, held) as store:
            operators.refuse(settings, store, TASK, report)
            told = _machines(settings, store)
            named = {machine.name: machine if known else told.get(machine.address, machine) for machine in machines}
            files = {named[name].name: found for name, found in held.items()}
            all_names = {machine.name for machine in (*known, *told.values(), *named.values())}
            entry = store.get(KEY)
            yield _chosen(
                _Seen(
                    settings,
                    list(named.values()),
                    {named[host.name].name: host for host in hosts},
                    files,
                    sorted(all_names - set(files)),
                    store,
                    entry,
                    _parsed(entry),
                )
            )


def _chosen(seen: _Seen) -> _Seen:
    """Return `seen` with what to take. Raises Refused when there is no set to be had."""
    holder = next((name for name, files in seen.held.items() if FINGERPRINT_KEY in files), None)
    key = _read_one(seen, holder, FINGERPRINT_KEY).reveal() if holder else None
    try:
        return replace(seen, key=key, chosen=choose(seen.record, seen.held, seen.unasked, key))
    except ValueError as error:
        raise Refused(str(error)) from None


@contextmanager
def _store(
    settings: Settings, machines: Sequence[Machine], hosts: Hosts, held: Mapping[str, Mapping[str, str]]
) -> Iterator[Etcd]:
    """Give the cluster's etcd, with the certificate of a machine: this host's own may be of another CA, or none."""
    failure: ArgosyError = Refused("no machine that can be asked has a certificate for etcd")
    for name, files in held.items():
        if not set(CLIENT) <= set(files):
            continue
        found = _read(hosts[name], settings, {file: files[file] for file in CLIENT})
        credentials = Credentials(*(found[file].reveal() for file in CLIENT))
        with etcd.connect(settings, machines, hosts, credentials) as store:
            try:
                store.get(KEY)
            except EtcdError as error:
                failure = error
                continue
            yield store
            return
    raise failure


def _machines(settings: Settings, store: Etcd) -> dict[str, Machine]:
    """Return the cluster's machines by address, as etcd tells of them."""
    told = known_machines.new_machines(known_machines.read(store), (), settings.machine.os)
    return {machine.address: machine for machine in told}


def _parsed(entry: Entry | None) -> SecretsRecord | None:
    try:
        return SecretsRecord.parse(entry.value) if entry else None
    except ValueError as error:
        raise Refused(f"{KEY}: {error}") from None


def _give_up(seen: _Seen, entry: Entry, record: SecretsRecord, report: Report) -> None:
    """Let nobody resume what has been begun and has come to no machine whole."""
    cluster = OpenCluster(seen.settings, report, machines=seen.machines, store=seen.store)
    with cluster.locked(TASK) as lock, cluster.noted("give up secrets that were begun"):
        if not lock.transact([unchanged(entry)], [Put(KEY, record.text())]).succeeded:
            raise StalePlan("somebody else has changed the cluster's secrets just now: run the same command again")


def _changes(seen: _Seen) -> tuple[list[LocalChange], list[str]]:
    """Return what changes here, and what of the machines' secrets can't be written here."""
    settings, lacking = seen.settings, []
    wanted: dict[Path, tuple[str, str, str]] = {}
    for name, machine in seen.chosen.sources.items():
        source = _source(settings, name)
        if name == REGISTRY_LOGIN:
            continue
        if source.command:
            lacking += _other_command(settings, source, name, seen.held[machine][name])
        else:
            wanted[source.path] = (machine, name, seen.held[machine][name])
    for machine, files in seen.held.items():
        folder = settings.secrets_path / "pki" / "machines" / machine
        wanted |= {folder / name: (machine, name, files[name]) for name in OWN_SECRETS if name in files}
    differing = {path: found for path, found in wanted.items() if _digest(path) != found[2]}
    changes = [LocalChange(_effect(path), path, secret) for path, secret in _read_all(seen, differing).items()]
    changes += [LocalChange(Effect.REMOVES, path) for path in _gone(seen)]
    password, reasons = _password(seen)
    return [*changes, *password], [*lacking, *reasons]


def _source(settings: Settings, name: str) -> Source:
    """Return where a file of the machines has its place here."""
    folder = settings.secrets_path
    if name == "ca.crt":
        return Source(name, authority.authority_path(folder))
    if name == FINGERPRINT_KEY:
        return checkout.key_source(settings)
    if name in settings.secrets:
        return sources.named_source(settings, name)
    return Source(name, folder / name if name.startswith(f"{KEYS}/") else folder / "machine" / name)


def _other_command(settings: Settings, source: Source, name: str, there: str) -> list[str]:
    try:
        same = sources.read(settings, source).sha256 == there
    except ConfigError as error:
        return [str(error)]
    return [] if same else [f"{source.key}.command prints another {name} than the machines have: change it there"]


def _password(seen: _Seen) -> tuple[list[LocalChange], list[str]]:
    """Return what changes here so that the logins of registries are the machines'."""
    settings, machine = seen.settings, seen.chosen.sources.get(REGISTRY_LOGIN)
    if machine is None:
        return [], []
    login = _read_one(seen, machine, REGISTRY_LOGIN)
    found = passwords_in(login.reveal())
    if not found:
        return [], [f"{REGISTRY_LOGIN} of {machine} has no password"]
    own = next(iter(found.values()))
    others = {place: found[place] for place in settings.registries if place in found}
    config = docker_config(settings, Secret(own), {place: Secret(value) for place, value in others.items()})
    lacking = [] if config.sha256 == login.sha256 else ["registry or registries: not those of the machines' logins"]
    wanted = [(sources.registry_password_source(settings), own)]
    wanted += [(sources.login_source(settings, place), value) for place, value in others.items()]
    changed = []
    for source, password in wanted:
        if source.command:
            lacking += _other_command(settings, source, "password", sha256(password).hexdigest())
        # A line break at the end of the file is none of the password.
        elif not source.path.exists() or source.path.read_bytes().removesuffix(b"\n") != password:
            changed.append(LocalChange(_effect(source.path), source.path, Secret(password)))
    return changed, lacking


def _gone(seen: _Seen) -> list[Path]:
    """Return the files here that were the cluster's and are no more; what it never had stays."""
    if seen.record is None or seen.key is None:
        return []
    found = []
    for folder, prefix in (("machine", ""), (KEYS, f"{KEYS}/")):
        for path in sorted((seen.settings.secrets_path / folder).glob("*")):
            name = f"{prefix}{path.name}"
            was = path.is_file() and seen.record.knows(name, fingerprint(seen.key, name, _digest(path)))
            if was and name not in seen.chosen.sources:
                found.append(path)
    return found


def _lacking_authority(seen: _Seen) -> Iterator[str]:
    """Tell when the CA's key is not here, or is another's."""
    folder = seen.settings.secrets_path
    key = folder / "pki" / "ca.key"
    trusted = _read_one(seen, seen.chosen.sources["ca.crt"], "ca.crt").reveal()
    origin = seen.chosen.generation
    where = f"{origin.folder} of {origin.by}" if origin else "the checkout that set the cluster up"
    if not key.exists():
        yield f"{key} is on no machine: copy it from {where}"
    elif not authority.signs(folder, trusted):
        yield f"{key} is of another CA: copy the cluster's from {where}"


def _effect(path: Path) -> Effect:
    return Effect.REPLACES if path.exists() else Effect.ADDS


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _read_all(seen: _Seen, wanted: Mapping[Path, tuple[str, str, str]]) -> dict[Path, Secret]:
    by_machine: dict[str, dict[str, str]] = {}
    for machine, name, digest in wanted.values():
        by_machine.setdefault(machine, {})[name] = digest
    found = {machine: _read(seen.hosts[machine], seen.settings, names) for machine, names in by_machine.items()}
    return {path: found[machine][name] for path, (machine, name, _) in wanted.items()}


def _read_one(seen: _Seen, machine: str, name: str) -> Secret:
    return _read(seen.hosts[machine], seen.settings, {name: seen.held[machine][name]})[name]


def _read(host: Host, settings: Settings, names: Mapping[str, str]) -> dict[str, Secret]:
    """Return these files of the machine. `names`: with their SHA-256; raises StalePlan for one that has changed."""
    script = Script("read secrets", READ, Names(settings.system).secrets, *names)
    found: dict[str, Secret] = {}
    with host.reading(script, sudo=True) as stream:
        try:
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
                for entry in archive:
                    content = archive.extractfile(entry)
                    if content is not None:
                        found[entry.name] = Secret(content.read())
        except tarfile.ReadError:
            # Not all came: the command's own error says why, and is raised when the context ends.
            stream.drain()
            raise CommandFailed(f"{host.name}: what came of its secrets is not complete") from None
    if {name: secret.sha256 for name, secret in found.items()} != dict(names):
        raise StalePlan(f"{host.name}: its secrets have changed just now: run the same command again")
    return found


def _write(settings: Settings, change: LocalChange) -> None:
    if change.secret is None:
        change.path.unlink(missing_ok=True)
        return
    if change.path.is_relative_to(settings.secrets_path):
        atomic.ensure_private_folder(change.path.parent)
    change.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(change.path, change.secret.reveal(), mode=0o644 if change.path.suffix == ".crt" else 0o600)
