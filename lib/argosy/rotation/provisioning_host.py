"""This host's part in a rotation: the record of it, the CA and what is made here, the registry that runs here.

The record is secrets/CLUSTER/rotation.json, beside the CA that it is about: only a host that has that can go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from argosy import atomic, pki
from argosy.config import Settings
from argosy.console import Report
from argosy.engine import find_container
from argosy.engine_connection import connect, refusals
from argosy.errors import ConfigError, EngineError
from argosy.local_names import container_name
from argosy.model import Machine
from argosy.operations import registry, secret_sources
from argosy.operations.local import balancer
from argosy.rotation import Phase, Record, parse_record

HERE = "here"


def record_path(settings: Settings) -> Path:
    return settings.secrets_path / "rotation.json"


def read_record(settings: Settings) -> Record | None:
    """Return the rotation that has begun and not ended. Raises ConfigError for one that can't be read."""
    path = record_path(settings)
    try:
        return parse_record(path.read_text())
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
                secret_sources.renew(settings, secret_sources.named_source(settings, name))
                record = replace(record, made=(*record.made, name))
                write_record(settings, record)
                report(HERE, f"made {name} anew")
        case Phase.TRUST:
            pki.add_authority(path)
        case Phase.ISSUE:
            pki.switch_authority(path)
        case Phase.RETIRE:
            pki.drop_authorities(path)
    if record.certificates:
        renewed = pki.renew_certificates(path, datetime.fromisoformat(record.started))
        if renewed:
            report(HERE, f"renews {len(renewed)} certificates")
    return record


def refresh(settings: Settings, machines: Sequence[Machine], report: Report) -> None:
    """Let what runs on this host use the present certificates: the registry, the engine's trust in it, the agent of the
    local balancer. Nothing that does not run is started."""
    try:
        with connect():
            pass
    except EngineError:
        report(HERE, "there is no Docker engine here, so nothing that runs here has certificates")
        return
    registry.renew(settings, report)
    with connect() as client:
        with refusals(balancer.AGENT):
            there = find_container(client, container_name(settings, balancer.AGENT))
        if there and balancer.follow(settings, client, "", machines) != "unchanged":
            report(balancer.BALANCER, "its agent has other certificates")
