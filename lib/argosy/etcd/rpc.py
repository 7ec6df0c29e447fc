"""The etcd3 package and gRPC, imported with their noise turned off, and what we need of their types.

gRPC writes to stderr on its own, past Python's logging, and reads its settings when it is imported: so everybody who
needs it takes it from here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from argosy.etcd.values import Compare, Delete, Entry, Put, Target

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# We start programs from threads beside gRPC's; its fork handlers only complain of that.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# None of them has types.
grpc: Any = import_module("grpc")
etcd3: Any = import_module("etcd3")
etcdrpc: Any = import_module("etcd3.etcdrpc")
_unknown_fields: Any = import_module("google.protobuf.unknown_fields")

Etcd3Exception: Any = etcd3.exceptions.Etcd3Exception
RevisionCompactedError: Any = etcd3.exceptions.RevisionCompactedError

MEMBER_IS_LEARNER = 5
STATUS_IS_LEARNER = 10
_LEARNER_FLAG = b"\x10\x01"
"""Field numbers that the etcd3 package's older schema lacks
(https://github.com/etcd-io/etcd/blob/v3.4.23/etcdserver/etcdserverpb/rpc.proto)."""

_TARGETS = {Target.CREATE_REVISION: etcdrpc.Compare.CREATE, Target.MOD_REVISION: etcdrpc.Compare.MOD}


def text(data: bytes) -> str:
    """Return what etcd holds as text; bytes that are none survive a round trip."""
    return data.decode(errors="surrogateescape")


def data(value: str) -> bytes:
    """Return the bytes that `text` was made of."""
    return value.encode(errors="surrogateescape")


def entry_of(found: Any) -> Entry:
    """Return etcd's KeyValue as ours."""
    return Entry(text(found.key), text(found.value), found.create_revision, found.mod_revision, found.lease)


def condition(compare: Compare) -> Any:
    """Return etcd's message for a transaction's condition."""
    key = data(compare.key)
    return etcdrpc.Compare(
        result=etcdrpc.Compare.LESS if compare.below else etcdrpc.Compare.EQUAL,
        target=_TARGETS[compare.target],
        key=key,
        range_end=etcd3.utils.prefix_range_end(key) if compare.prefix else b"",
        **{compare.target.value: compare.value},
    )


def operation(write: Put | Delete) -> Any:
    """Return etcd's message for a transaction's write."""
    if isinstance(write, Put):
        request = etcdrpc.PutRequest(key=data(write.key), value=data(write.value), lease=write.lease)
        return etcdrpc.RequestOp(request_put=request)
    end = etcd3.utils.prefix_range_end(data(write.key)) if write.prefix else b""
    return etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=data(write.key), range_end=end))


def transaction(conditions: Sequence[Compare], writes: Sequence[Put | Delete]) -> Any:
    """Return etcd's message for a transaction."""
    return etcdrpc.TxnRequest(
        compare=[condition(compare) for compare in conditions], success=[operation(write) for write in writes]
    )


def keep_alive(client: Any, lease: int) -> int:
    """Renew `lease` once and return its seconds to live, 0 when there is none such."""
    for answer in client.refresh_lease(lease):
        return int(answer.TTL)
    # etcd ends the stream without an answer while it stops.
    raise etcd3.exceptions.ConnectionFailedError


def revoke(client: Any, lease: int) -> None:
    """End `lease`; one that is not there has ended already."""
    try:
        client.revoke_lease(lease)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise


def member_add(channel: Any, peer_urls: Sequence[str], seconds: float) -> int:
    """Add a learner and return its id. `isLearner` is field 2, which the schema at hand lacks."""
    request = etcdrpc.MemberAddRequest(peerURLs=peer_urls)
    request.MergeFromString(_LEARNER_FLAG)
    return int(etcdrpc.ClusterStub(channel).MemberAdd(request, seconds).member.ID)


def alarms(client: Any) -> list[tuple[int, int]]:
    """Return the member and the kind of each alarm. The schema at hand lacks CORRUPT; its number comes all the same."""
    request = etcdrpc.AlarmRequest(action=etcdrpc.AlarmRequest.GET)
    try:
        answer = etcdrpc.MaintenanceStub(client.channel).Alarm(request, client.timeout)
    except grpc.RpcError:
        # As the client does for calls of its own: another member is asked next.
        client.endpoint_in_use.fail()
        raise
    return [(alarm.memberID, alarm.alarm) for alarm in answer.alarms]


def snapshot(channel: Any, seconds: float) -> Iterator[bytes]:
    """Yield a member's database and the SHA-256 of it, as one stream."""
    for answer in etcdrpc.MaintenanceStub(channel).Snapshot(etcdrpc.SnapshotRequest(), seconds):
        yield bytes(answer.blob)


def flag(message: Any, number: int) -> bool:
    """Return a boolean field that the schema at hand does not know."""
    return any(field.field_number == number and bool(field.data) for field in _unknown_fields.UnknownFieldSet(message))


def failure_of(error: BaseException) -> tuple[grpc.StatusCode | None, str]:
    """Return the gRPC status behind an error, and its words on one line.

    The etcd3 package raises exceptions of its own without a word; the one with the words is their context.
    """
    cause = error if isinstance(error, grpc.RpcError) else error.__context__
    if not isinstance(cause, grpc.Call):
        return None, " ".join(str(error).split()) or type(error).__name__
    code = cause.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return code, "no answer in time"
    # Only for people: the last part says what happened, those before it are the layers that passed it on.
    parts = " ".join((cause.details() or code.name).split()).removesuffix(": OK").split(": ")
    return code, parts[-1][:120]
