"""The check that every task passes which opens a cluster: whether its operator is one, and may do that.

It keeps honest tasks from what was not meant: etcd itself takes every certificate of the cluster's CA.
"""

from __future__ import annotations

from argosy.cluster.operator_record import (
    OPERATORS,
    Identity,
    OperatorRecord,
    Rights,
    lacking,
    may,
    operator_key,
    refusal,
)
from argosy.config.loading import Settings
from argosy.errors import EtcdError, Refused
from argosy.etcd.values import Reader
from argosy.pki import authority
from argosy.report import Report, silent


def read_records(store: Reader) -> dict[str, OperatorRecord]:
    """Return the records of all operators by name. Raises EtcdError, Refused for one that can't be read."""
    return {
        entry.key.removeprefix(OPERATORS): _parsed(entry.key, entry.value)
        for entry in store.get_prefix(OPERATORS).entries
    }


def read_record(store: Reader, name: str) -> OperatorRecord | None:
    entry = store.get(operator_key(name))
    return _parsed(entry.key, entry.value) if entry else None


def identity(settings: Settings) -> Identity:
    folder = settings.secrets_path
    signs = (folder / "pki" / "ca.key").exists()
    return Identity(
        authority.operator_name(folder), authority.operator_fingerprint(authority.operator_path(folder)), signs
    )


def refuse(settings: Settings, store: Reader, task: str = "", report: Report = silent) -> None:
    """Raise Refused when this operator is none of the cluster's, or has not the right to `task`.

    What is refused here is refused before anything is changed. Raises EtcdError when the record can't be read. Who has
    the CA's key is told of that, or that there is none, and may continue: nobody else could mend a cluster without a
    quorum, or after a restore.
    """
    who = identity(settings)
    if not who.name:
        return
    refuse_here(settings, task)
    try:
        record = read_record(store, who.name)
    except EtcdError as error:
        if not who.signs:
            raise
        report("cluster", f"whether {who.name} is still an operator can't be known: {error}")
        return
    reason = refusal(who, record, task)
    if record is None and who.signs:
        report("cluster", f"etcd has no record of the operator {who.name}, who has the CA's key")
    elif reason:
        raise Refused(reason)


def refuse_here(settings: Settings, task: str) -> None:
    """Raise Refused when it can be told without asking anybody that this operator has not the right to `task`."""
    who = identity(settings)
    if who.name and not who.signs and task and not may(Rights.DEPLOY, task):
        raise Refused(lacking(who.name, Rights.DEPLOY, task))


def _parsed(key: str, value: str) -> OperatorRecord:
    try:
        return OperatorRecord.parse(value)
    except ValueError as error:
        raise Refused(f"{key}: {error}; on a machine, `etcdctl del {key}` takes it away") from None
