"""What each member tells of itself and of the others, all asked at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from argosy.etcd import rpc
from argosy.etcd.values import EndpointStatus
from argosy.model import Member


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a member takes clients. `name`: the machine's; `address`: for messages; `host`, `port`: what we connect to;
    `server_name`: the name in its certificate, when that is not `host`."""

    name: str
    address: str
    host: str
    port: int
    server_name: str = ""


def ask_statuses(channels: Mapping[Endpoint, Any], seconds: float) -> dict[str, EndpointStatus]:
    """Return what each member says of itself, by machine, within `seconds`. Never raises."""
    asked = {
        member: (
            rpc.etcdrpc.MaintenanceStub(channel).Status.future(rpc.etcdrpc.StatusRequest(), seconds),
            rpc.etcdrpc.KVStub(channel).Range.future(rpc.etcdrpc.RangeRequest(key=b"health"), seconds),
        )
        for member, channel in channels.items()
    }
    return {member.name: _status(member, *calls) for member, calls in asked.items()}


def answers_any(channels: Iterable[Any], seconds: float) -> bool:
    """Return whether any member is there, be it without a leader."""
    request = rpc.etcdrpc.StatusRequest()
    asked = [rpc.etcdrpc.MaintenanceStub(channel).Status.future(request, seconds) for channel in channels]
    answers = [call for call in asked if call.exception() is None]
    return bool(answers)


def ask_members(channels: Mapping[Endpoint, Any], seconds: float) -> Any:
    """Return the first MemberListResponse of all, else a dict of their errors.

    A member knows the others even when there is no quorum.
    """
    request = rpc.etcdrpc.MemberListRequest()
    asked = {
        endpoint: rpc.etcdrpc.ClusterStub(channel).MemberList.future(request, seconds)
        for endpoint, channel in channels.items()
    }
    errors: dict[Endpoint, BaseException] = {}
    for member, call in asked.items():
        try:
            return call.result()
        except rpc.grpc.RpcError as error:
            errors[member] = error
    return errors


def members_of(listed: Any, statuses: Iterable[EndpointStatus]) -> list[Member]:
    """Return the listed members, sorted by name, each with what it said of itself."""
    told = {status.member_id: status for status in statuses if status.reachable}
    leaders = {status.leader_id for status in told.values() if status.healthy} - {"0"}
    members = [_member(member, told.get(f"{member.ID:x}"), leaders) for member in listed.members]
    return sorted(members, key=lambda member: (member.name, member.id))


def voters_of(listed: Any) -> list[Endpoint]:
    """Return where the listed members that answer reads take clients: at their first client URL."""
    started = [member for member in listed.members if member.clientURLs and not rpc.flag(member, rpc.MEMBER_IS_LEARNER)]
    urls = {member.name: urlsplit(member.clientURLs[0]) for member in started}
    return [
        Endpoint(name, url.netloc, url.hostname, url.port) for name, url in urls.items() if url.hostname and url.port
    ]


def _status(endpoint: Endpoint, status: Any, read: Any) -> EndpointStatus:
    """Return what the two answers, which may still be on their way, say."""
    found = EndpointStatus(endpoint.name, endpoint.address)
    try:
        told = status.result()
    except rpc.grpc.RpcError as error:
        read.cancel()
        return replace(found, reason=rpc.failure_of(error)[1])
    learner = rpc.flag(told, rpc.STATUS_IS_LEARNER)
    found = replace(
        found,
        reachable=True,
        member_id=f"{told.header.member_id:x}",
        leader_id=f"{told.leader:x}",
        version=told.version,
        learner=learner,
        revision=told.header.revision,
    )
    try:
        read.result()
    except rpc.grpc.RpcError as error:
        return replace(found, healthy=learner, reason="" if learner else rpc.failure_of(error)[1])
    return replace(found, healthy=True)


def _member(listed: Any, told: EndpointStatus | None, leaders: set[str]) -> Member:
    return Member(
        id=f"{listed.ID:x}",
        name=listed.name,
        peer_urls=tuple(listed.peerURLs),
        client_urls=tuple(listed.clientURLs),
        learner=rpc.flag(listed, rpc.MEMBER_IS_LEARNER),
        leader=f"{listed.ID:x}" in leaders,
        healthy=told is not None and told.healthy,
        version=told.version if told else "",
    )
