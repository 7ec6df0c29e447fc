"""What each machine holds of its secrets, never their values: names, states, certificates and how long these last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from argosy import pki
from argosy.certificate_report import Described, describe
from argosy.certificates import LEAF_RENEWAL_DAYS
from argosy.config import Settings
from argosy.fanout import Outcome
from argosy.host import Host, Hosts
from argosy.machine_files import Names
from argosy.model import Machine
from argosy.operations import secrets
from argosy.operations.rotation.here import HERE, read_record
from argosy.operations.rotation.machines import look_at_uses
from argosy.remote_shell import Script
from argosy.rotation import MEANING, Record
from argosy.secret_transfer import Deed, Observed, plan_changes

COLUMNS = ["machine", "file", "state", "certificate", "signed by", "days"]
AUTHORITY = "ca.crt"
CERTIFICATES = """\
set -eu
cd -- "$1" 2>/dev/null || exit 0
for file in *.crt keys/*.pem; do
  [ -f "$file" ] || continue
  echo "file $file"
  sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$file"
done
"""
"""$1: the folder. Prints `file NAME` and the certificates of each file: of a file with a key, too, only these."""

_STATES = {
    Deed.WRITE: "missing",
    Deed.REPLACE: "differs",
    Deed.REPAIR: "open to others",
    Deed.REMOVE: "not wanted",
    Deed.MARK: "not marked as complete",
}
GOOD = "as wanted"


@dataclass(frozen=True, slots=True)
class File:
    """One file. `state`: `as wanted`, or in which way it is not; `certificates`: those in it."""

    name: str
    state: str
    certificates: tuple[Described, ...] = ()

    def problems(self) -> Iterator[str]:
        if self.state != GOOD:
            yield f"{self.name} {'is ' if self.state != 'differs' else ''}{self.state}"
        for it in self.certificates:
            if it.ends_soon:
                yield (
                    f"{self.name}: {it.subject} expires in {it.days} days"
                    if it.days >= 0
                    else (f"{self.name}: {it.subject} has expired")
                )

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "certificates": [it.to_json() for it in self.certificates]}


@dataclass(frozen=True, slots=True)
class Holding:
    """One machine, or this host. `stale`: services that run with an older file of a secret; `reason`: why nothing is
    known of it."""

    name: str
    files: tuple[File, ...] = ()
    stale: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reason: str = ""

    def problems(self) -> list[str]:
        lines = [self.reason] if self.reason else []
        lines += [line for file in self.files for line in file.problems()]
        lines += [f"{service} runs with an older {', '.join(names)}" for service, names in self.stale.items()]
        return [f"{self.name}: {line}" for line in lines]


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """`rotation`: the one that has begun and not ended."""

    holdings: tuple[Holding, ...]
    rotation: Record | None = None

    def problems(self) -> list[str]:
        """Return what is wrong, a line each; none means that all is well."""
        lines = [line for holding in self.holdings for line in holding.problems()]
        if self.rotation:
            flag = " --ca" if self.rotation.changes_authority else ""
            lines.append(
                f"rotation {self.rotation.id} has not ended, it shall {MEANING[self.rotation.phase]}: "
                f"inv secrets.rotate{flag} goes on with it"
            )
        return lines

    def rows(self) -> list[list[object]]:
        """Return the rows of the table under COLUMNS: a line for each file, and for each further certificate in it."""
        rows: list[list[object]] = []
        for holding in self.holdings:
            if holding.reason:
                rows.append([holding.name, "", holding.reason, "", "", ""])
            for file in holding.files:
                cells = [[it.subject, it.signer, it.days] for it in file.certificates] or [["", "", ""]]
                rows.append([holding.name, file.name, file.state, *cells[0]])
                rows += [[holding.name, "", "", *more] for more in cells[1:]]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return {"healthy", "problems", "renewal_days", "rotation": {"id", "phase", "started"} or null, "machines":
        {NAME: {"reason", "stale": {SERVICE: [NAME]}, "files": [{"name", "state", "certificates": [{"subject",
        "signer", "days", "until"}]}]}}}; this host stands among them as `here`."""
        problems, begun = self.problems(), self.rotation
        return {
            "healthy": not problems,
            "problems": problems,
            "renewal_days": LEAF_RENEWAL_DAYS,
            "rotation": {"id": begun.id, "phase": begun.phase, "started": begun.started} if begun else None,
            "machines": {
                it.name: {
                    "reason": it.reason,
                    "stale": {service: list(names) for service, names in it.stale.items()},
                    "files": [file.to_json() for file in it.files],
                }
                for it in self.holdings
            },
        }


def observe(hosts: Hosts, settings: Settings, machines: Sequence[Machine]) -> SecretStatus:
    """Return what this host and the machines hold; changes nothing. Raises ConfigError as an upload does.

    A machine that can't be reached is part of the answer.
    """
    wanted = secrets.wanted(settings, machines)
    authorities, now = pki.authorities(settings.secrets_path), datetime.now(UTC)

    def look(host: Host) -> Holding:
        return _holding(host, settings, wanted[host.name], authorities, now)

    outcomes = hosts.each(look, machines, what="Looking at secrets")
    found = [_outcome(name, outcome) for name, outcome in outcomes.items()]
    return SecretStatus((_here(settings, authorities, now), *found), read_record(settings))


def _outcome(name: str, outcome: Outcome[Holding]) -> Holding:
    if outcome.error is not None:
        return Holding(name, reason=str(outcome.error).removeprefix(f"{name}: "))
    return outcome.get()


def _holding(
    host: Host,
    settings: Settings,
    wanted: Mapping[str, str | None],
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> Holding:
    observed = secrets.observe(host, settings)
    shown = host.run(Script("read certificates", CERTIFICATES, Names(settings.system).secrets), sudo=True).stdout
    certificates = {name: tuple(describe(pem, authorities, now)) for name, pem in parse_certificates(shown).items()}
    return Holding(host.name, files_of(wanted, observed, certificates), look_at_uses(host, settings).stale)


def files_of(
    wanted: Mapping[str, str | None], observed: Observed, certificates: Mapping[str, tuple[Described, ...]]
) -> tuple[File, ...]:
    """Return the state of each file that is wanted or there. Pure."""
    changes = {change.name: change.deed for change in plan_changes(wanted, observed)}
    names = sorted({*wanted, *changes})
    return tuple(
        File(name or "the folder", _state(name, wanted, changes), certificates.get(name, ())) for name in names
    )


def parse_certificates(output: str) -> dict[str, bytes]:
    """Return the certificates of each file, of what CERTIFICATES printed."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in output.splitlines():
        if line.startswith("file "):
            name = line.removeprefix("file ")
            found[name] = []
        elif name:
            found[name].append(line)
    return {file: "\n".join([*lines, ""]).encode() for file, lines in found.items()}


def _state(name: str, wanted: Mapping[str, str | None], changes: Mapping[str, Deed]) -> str:
    deed = changes.get(name)
    if deed is Deed.REPLACE and wanted.get(name) is None:
        return "to be renewed"
    return _STATES[deed] if deed is not None else GOOD


def _here(settings: Settings, authorities: Sequence[x509.Certificate], now: datetime) -> Holding:
    """Return this host's own certificates, and what is still to be made."""
    folder = settings.secrets_path
    paths = [pki.authority_path(folder), folder / "pki" / "operator.crt", folder / "registry" / "tls.crt"]
    files = [_own(path, folder, authorities, now) for path in paths if path.exists()]
    files += [File(str(path.relative_to(folder)), "missing") for path in paths[:1] if not path.exists()]
    return Holding(HERE, (*files, *(File(str(path), "missing") for path in secrets.to_make(settings))))


def _own(path: Path, folder: Path, authorities: Sequence[x509.Certificate], now: datetime) -> File:
    return File(str(path.relative_to(folder)), GOOD, tuple(describe(path.read_bytes(), authorities, now)))
