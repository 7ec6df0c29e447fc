"""Changing who etcd's members are. Each change looks first whether it is done, so an answer that got lost does no harm.

A change is sent to the leader, which sees best whether all others are connected. What etcd refuses only for the moment
(it adds nobody in the first seconds of a member's life, nor while one is disconnected) is tried again until time is
over; what it refuses for good is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from argosy.errors import EtcdError
from argosy.etcd import rpc
from argosy.etcd.statuses import Endpoint, ask_members, ask_statuses
from argosy.etcd.values import EndpointStatus

T = TypeVar("T")

POLL_SECONDS = 0.2
_FOR_GOOD = frozenset({rpc.grpc.StatusCode.FAILED_PRECONDITION, rpc.grpc.StatusCode.INVALID_ARGUMENT})


@dataclass
class Changing:
    """Changes through `channels`, each within `seconds`; one call waits for an answer `call_seconds` at most."""

    cluster: str
    channels: Mapping[Endpoint, Any]
    call_seconds: float
    seconds: float
    _reasons: dict[str, str] = field(default_factory=dict)

    def add(self, peer_urls: Sequence[str]) -> str:
        """Return the id of the member with these peer URLs, added unless there is one."""

        def present(members: Sequence[Any]) -> str:
            return next((_id(member.ID) for member in members if set(member.peerURLs) & set(peer_urls)), "")

        def add(channel: Any) -> str:
            return _id(rpc.member_add(channel, peer_urls, self.call_seconds))

        return self._until_done(f"add {peer_urls[0]}", present, add)

    def remove(self, member: str) -> None:
        """Remove the member unless it is gone."""

        def gone(members: Sequence[Any]) -> bool:
            return all(_id(listed.ID) != member for listed in members)

        def remove(channel: Any) -> None:
            request = rpc.etcdrpc.MemberRemoveRequest(ID=int(member, 16))
            rpc.etcdrpc.ClusterStub(channel).MemberRemove(request, self.call_seconds)

        self._until_done(f"remove {member}", gone, remove)

    def lead(self, member: str) -> None:
        """Make the member the leader unless it is; the present leader hands over without an election."""
        deadline = time.monotonic() + self.seconds
        while (leading := self._leader())[1] != member:
            try:
                request = rpc.etcdrpc.MoveLeaderRequest(targetID=int(member, 16))
                if leading[0] is not None:
                    rpc.etcdrpc.MaintenanceStub(self.channels[leading[0]]).MoveLeader(request, self.call_seconds)
            except rpc.grpc.RpcError as error:
                self._note(leading[0], error)
            self._wait(f"make {member} its leader", deadline)

    def _until_done(self, what: str, done: Callable[[Sequence[Any]], T], change: Callable[[Any], T | None]) -> T:
        """Return what `done` says of the members, once that is true of them, else what `change` returns."""
        deadline = time.monotonic() + self.seconds
        while True:
            member = self._asked()
            if member is not None:
                try:
                    return self._once(member, done, change)
                except rpc.grpc.RpcError as error:
                    words = self._note(member, error)
                    if error.code() in _FOR_GOOD:
                        raise EtcdError(f"etcd of cluster {self.cluster} refused to {what}: {words}") from None
            self._wait(what, deadline)

    def _once(self, member: Endpoint, done: Callable[[Sequence[Any]], T], change: Callable[[Any], T | None]) -> T:
        channel = self.channels[member]
        listed = ask_members({member: channel}, self.call_seconds)
        if isinstance(listed, dict):
            raise listed[member]
        found = done(listed.members)
        return found or change(channel) or found

    def _leader(self) -> tuple[Endpoint | None, str]:
        """Return the leader, None when there is none or we know no way to it, and its id."""
        statuses = self._statuses()
        leading = [channel for channel in self.channels if _leads(statuses[channel.name])]
        return next(iter(leading), None), next((status.leader_id for status in statuses.values() if status.healthy), "")

    def _asked(self) -> Endpoint | None:
        """Return whom to ask for a change: the leader, or another voter if we know no way to that."""
        statuses = self._statuses()
        voters = [
            channel
            for channel in self.channels
            if statuses[channel.name].healthy and not statuses[channel.name].learner
        ]
        return next((voter for voter in voters if _leads(statuses[voter.name])), next(iter(voters), None))

    def _statuses(self) -> dict[str, EndpointStatus]:
        statuses = ask_statuses(self.channels, self.call_seconds)
        self._reasons.update({name: status.reason for name, status in statuses.items() if status.reason})
        return statuses

    def _note(self, member: Endpoint | None, error: BaseException) -> str:
        words = rpc.failure_of(error)[1]
        if member is not None:
            self._reasons[member.name] = words
        return words

    def _wait(self, what: str, deadline: float) -> None:
        """Wait a moment. Raises EtcdError when time is over."""
        if time.monotonic() >= deadline:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(self._reasons.items()))
            why = reasons or "there is no way to its leader"
            raise EtcdError(f"etcd of cluster {self.cluster} did not {what} within {self.seconds:g} s ({why})")
        threading.Event().wait(POLL_SECONDS)


def _leads(status: EndpointStatus) -> bool:
    return status.healthy and status.member_id == status.leader_id


def _id(number: int) -> str:
    return f"{number:x}"
