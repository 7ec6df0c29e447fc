"""This host's part in a rotation: the record of it, the CA and what is made here, the registry that runs here.

The record is secrets/CLUSTER/rotation.json, beside the CA that it is about: only a host that has that can resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from argosy import atomic
from argosy.config.loading import Settings
from argosy.engine.connection import has_engine
from argosy.errors import ConfigError
from argosy.model import Machine
from argosy.pki import authority
from argosy.providers import provider_of
from argosy.registry import container
from argosy.report import Report
from argosy.rotation.plan import Phase, Record
from argosy.secrets import sources
from argosy.secrets.upload import HERE


def record_path(settings: Settings) -> Path:
    return settings.secrets_path / "rotation.json"


def read_record(settings: Settings) -> Record | None:
    """Return the rotation that has begun and not ended. Raises ConfigError for one that can't be read."""
    path = record_path(settings)
    try:
        return Record.parse(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(f"{error}; restore it from a backup", str(path)) from None


def write_record(settings: Settings, record: Record) -> None:
    atomic.ensure_private_folder(settings.secrets_path)
    atomic.write(record_path(settings), record.text().encode(), mode=0o600)


def remove_record(settings: Settings) -> None:
    record_path(settings).unlink(missing_ok=True)
    atomic.sync_folder(settings.secrets_path)


def check_names(settings: Settings, only: tuple[str, ...]) -> None:
    """Raise ConfigError for a secret that can't be made anew here."""
    for name in only:
        if name not in settings.secrets:
            known = ", ".join(settings.secrets) or "none"
            raise ConfigError(f"no such secret under secrets: (known: {known})", name)
        if not settings.secrets[name].generate_bytes:
            raise ConfigError(
                "it is not made here (generate_bytes): change it where it comes from, then rotate without --only", name
            )


def begin_phase(settings: Settings, record: Record, report: Report) -> Record:
    """Do here what the record's phase begins with, and return the record, which is written. Idempotent."""
    path = settings.secrets_path
    match record.phase:
        case Phase.ROLL:
            for name in record.to_make:
                sources.renew(settings, sources.named_source(settings, name))
                record = replace(record, made=(*record.made, name))
                write_record(settings, record)
                report(HERE, f"made {name} anew")
        case Phase.TRUST:
            authority.add_authority(path)
        case Phase.ISSUE:
            authority.switch_authority(path)
        case Phase.RETIRE:
            authority.drop_authorities(path)
    if record.certificates:
        renewed = authority.renew_certificates(path, datetime.fromisoformat(record.started))
        if renewed:
            report(HERE, f"renews {len(renewed)} certificates")
    return record


def refresh(settings: Settings, machines: Sequence[Machine], report: Report) -> None:
    """Let what runs on this host use the present certificates: the registry, the engine's trust in it, what the
    provider runs. Nothing that does not run is started. Raises EngineError for an engine that can't be asked."""
    if not has_engine():
        report(HERE, "there is no Docker engine here, so nothing that runs here has certificates")
        return
    container.renew(settings, report)
    provider_of(settings).renew_certificates(settings, machines, report)
