"""What each machine holds of its secrets, never their values: names, states, certificates and how long these last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from argosy.config.loading import Settings
from argosy.model import Machine
from argosy.paths import Names
from argosy.pki import authority
from argosy.pki.certificates import LEAF_RENEWAL_DAYS
from argosy.pki.report import Described, describe
from argosy.rotation.machines import look_at_uses
from argosy.rotation.plan import MEANING, Record
from argosy.rotation.provisioning_host import read_record
from argosy.secrets import upload
from argosy.secrets.transfer import Action, Observed, plan_changes
from argosy.secrets.upload import HERE
from argosy.ssh.host import Host, Hosts
from argosy.ssh.shell import Script

COLUMNS = ["machine", "file", "state", "certificate", "signed by", "days"]
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
    Action.WRITE: "missing",
    Action.REPLACE: "differs",
    Action.REPAIR: "open to others",
    Action.REMOVE: "not wanted",
    Action.MARK: "not marked as complete",
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
        for certificate in self.certificates:
            if certificate.ends_soon:
                ends = f"expires in {certificate.days} days" if certificate.days >= 0 else "has expired"
                yield f"{self.name}: {certificate.subject} {ends}"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "certificates": [certificate.to_json() for certificate in self.certificates],
        }


@dataclass(frozen=True, slots=True)
class Holding:
    """One machine, or this host. `stale`: services that run with an older file of a secret; `reason`: why nothing is
    known of it."""

    name: str
    files: tuple[File, ...] = ()
    stale: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        stale = {service: list(names) for service, names in self.stale.items()}
        return {"reason": self.reason, "stale": stale, "files": [file.to_json() for file in self.files]}

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
                f"rotation {self.rotation.id} has not ended, it is to {MEANING[self.rotation.phase]}: "
                f"inv secrets.rotate{flag} resumes it"
            )
        return lines

    def rows(self) -> list[list[object]]:
        """Return the rows of the table under COLUMNS: a line for each file, and for each further certificate in it."""
        rows: list[list[object]] = []
        for holding in self.holdings:
            if holding.reason:
                rows.append([holding.name, "", holding.reason, "", "", ""])
            for file in holding.files:
                cells = [
                    [certificate.subject, certificate.signer, certificate.days] for certificate in file.certificates
                ] or [["", "", ""]]
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
            "machines": {holding.name: holding.to_json() for holding in self.holdings},
        }


def observe(hosts: Hosts, settings: Settings, machines: Sequence[Machine]) -> SecretStatus:
    """Return what this host and the machines hold; changes nothing. Raises ConfigError as an upload does.

    A machine that can't be reached is part of the answer.
    """
    wanted = upload.wanted(settings, machines)
    authorities, now = authority.authorities(settings.secrets_path), datetime.now(UTC)

    def look(host: Host) -> Holding:
        return _holding(host, settings, wanted[host.name], authorities, now)

    outcomes = hosts.each(look, machines, what="Looking at secrets")
    found = [
        Holding(name, reason=str(outcome.error).removeprefix(f"{name}: ")) if outcome.error else outcome.get()
        for name, outcome in outcomes.items()
    ]
    return SecretStatus((_here(settings, authorities, now), *found), read_record(settings))


def _holding(
    host: Host,
    settings: Settings,
    wanted: Mapping[str, str | None],
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> Holding:
    observed = upload.observe(host, settings)
    shown = host.run(Script("read certificates", CERTIFICATES, Names(settings.system).secrets), sudo=True).stdout
    certificates = {name: tuple(describe(pem, authorities, now)) for name, pem in parse_certificates(shown).items()}
    return Holding(host.name, files_of(wanted, observed, certificates), look_at_uses(host, settings).stale)


def files_of(
    wanted: Mapping[str, str | None], observed: Observed, certificates: Mapping[str, tuple[Described, ...]]
) -> tuple[File, ...]:
    """Return the state of each file that is wanted or there. Pure."""
    changes = {change.name: change.action for change in plan_changes(wanted, observed)}
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


def _state(name: str, wanted: Mapping[str, str | None], changes: Mapping[str, Action]) -> str:
    action = changes.get(name)
    if action is Action.REPLACE and wanted.get(name) is None:
        return "to be renewed"
    return _STATES[action] if action is not None else GOOD


def _here(settings: Settings, authorities: Sequence[x509.Certificate], now: datetime) -> Holding:
    """Return this host's own certificates, and what is still to be made."""
    folder = settings.secrets_path
    paths = [authority.authority_path(folder), folder / "pki" / "operator.crt", folder / "registry" / "tls.crt"]
    files = [_own(path, folder, authorities, now) for path in paths if path.exists()]
    files += [File(str(path.relative_to(folder)), "missing") for path in paths[:1] if not path.exists()]
    return Holding(HERE, (*files, *(File(str(path), "missing") for path in upload.to_make(settings))))


def _own(path: Path, folder: Path, authorities: Sequence[x509.Certificate], now: datetime) -> File:
    return File(str(path.relative_to(folder)), GOOD, tuple(describe(path.read_bytes(), authorities, now)))
