"""Reading and writing the cluster's etcd, on whichever member answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from argosy.errors import EtcdError
from argosy.etcd import rpc
from argosy.etcd.alarms import Alarm, alarms_of
from argosy.etcd.hints import ChangeHint, hinted
from argosy.etcd.members import Changing
from argosy.etcd.statuses import Endpoint, answers_any, ask_members, ask_statuses, members_of, voters_of
from argosy.etcd.values import Change, Compare, Delete, EndpointStatus, Entry, Listing, Put, TransactionResult
from argosy.etcd.watch import watched
from argosy.model import Member

if TYPE_CHECKING:
    from argosy.etcd.snapshots import Snapshot

T = TypeVar("T")

RETRY_SECONDS = 1.0
"""After a failure a member is left alone for this long, unless it is the only one."""
POLL_SECONDS = 0.1
PROBE_SECONDS = 0.5
NOT_ASKED = "the time was over before it was asked"
CHANGE_SECONDS = 20.0
"""etcd changes no members in the first five seconds after any of them has come (back)."""
SNAPSHOT_SECONDS = 600.0

_HANDED_ON = frozenset(
    {
        rpc.grpc.StatusCode.UNAVAILABLE,
        rpc.grpc.StatusCode.DEADLINE_EXCEEDED,
        rpc.grpc.StatusCode.INTERNAL,
        # etcd passes on the end of its own waiting for a quorum as one of these.
        rpc.grpc.StatusCode.UNKNOWN,
        rpc.grpc.StatusCode.CANCELLED,
        None,
    }
)
"""Another member may do better."""

_OPTIONS = {
    # gRPC would refuse a listing of more than 4 MB; how much etcd holds is bounded by etcd (2 GB by default).
    "grpc.max_receive_message_length": -1,
    # A frozen member keeps its connections: without a ping nobody would notice. etcd refuses pings closer than 5 s.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    # A member that came back is tried again at once, not after two minutes.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1_000,
}


class Etcd:
    """A client of one cluster. May be used by several threads; its calls take turns.

    A call tries one member after the other, each for its share of `timeout_seconds`, which bounds the whole call; as
    long as one is there at all, it continues so, for an election takes a moment. It raises EtcdError when none does
    it, or when etcd refuses. Use `argosy.etcd.connect` to make one.
    """

    def __init__(
        self,
        cluster: str,
        endpoints: Sequence[Endpoint],
        credentials: Any,
        timeout_seconds: float,
        *,
        unreachable: Mapping[str, str] | None = None,
        first: str = "",
    ) -> None:
        """`unreachable`: members that are known not to be there, and why; only for messages and `statuses`.

        `first`: the name of the member to begin with, else one by chance: many clients spread over the members.
        """
        self._cluster = cluster
        self._endpoints = {f"{endpoint.host}:{endpoint.port}": endpoint for endpoint in endpoints}
        self._credentials = credentials
        self._timeout_seconds = timeout_seconds
        self._unreachable = dict(unreachable or {})
        self._first = next((netloc for netloc, endpoint in self._endpoints.items() if endpoint.name == first), "")
        self._failures: dict[str, tuple[float, str]] = {}
        self._turn = threading.RLock()
        self._pause = threading.Event()
        self._client: Any = self._make_client() if endpoints else None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def extend(self, endpoints: Sequence[Endpoint]) -> None:
        """Use these members, too: they have joined since the client was made. Those that it has stay as they are."""
        with self._turn:
            joined = {
                netloc: endpoint
                for endpoint in endpoints
                if (netloc := f"{endpoint.host}:{endpoint.port}") not in self._endpoints
            }
            # A new dict, since others may go through the old one just now.
            self._endpoints = {**self._endpoints, **joined}
            if self._client is not None:
                self._client.endpoints.update({netloc: self._connect(endpoint) for netloc, endpoint in joined.items()})
                for endpoint in self._client.endpoints.values():
                    endpoint.time_retry = self._retry_seconds

    def follow_members(self) -> bool:
        """Use the members that etcd lists now, instead of those of before, and return whether these were others.

        For who is on the members' own network: they are reached at their client URLs. A learner, or one that has not
        started, answers no reads and is left out. Raises EtcdError when nobody answers.
        """
        with self._fresh_channels() as channels:
            listed = self._listed(ask_members(channels, self._timeout_seconds))
        wanted = {f"{voter.host}:{voter.port}": voter for voter in voters_of(listed)}
        with self._turn:
            known = self._endpoints
            if not wanted or wanted.keys() == known.keys():
                return False
            self.extend([endpoint for netloc, endpoint in wanted.items() if netloc not in known])
            self._endpoints = {netloc: known.get(netloc, endpoint) for netloc, endpoint in wanted.items()}
            for netloc in known.keys() - wanted.keys():
                self._drop(netloc)
        return True

    def _drop(self, netloc: str) -> None:
        dropped = self._client.endpoints.pop(netloc)
        if self._client._current_endpoint_label == netloc:
            # As at the start: there is no public way to it.
            self._client._current_endpoint_label = next(iter(self._client.endpoints))
        dropped.close()

    @property
    def names(self) -> list[str]:
        """The names of the members that it uses."""
        return sorted(endpoint.name for endpoint in self._endpoints.values())

    # Reading

    def get(self, key: str) -> Entry | None:
        """Return the entry of `key`, or None."""
        found = self._call(lambda client: client.get_response(rpc.data(key)))
        return rpc.entry_of(found.kvs[0]) if found.kvs else None

    def get_prefix(self, prefix: str) -> Listing:
        """Return all entries whose keys begin with `prefix`."""
        found = self._call(lambda client: client.get_prefix_response(rpc.data(prefix), sort_order="ascend"))
        return Listing(found.header.revision, tuple(rpc.entry_of(kv) for kv in found.kvs))

    def health(self) -> int:
        """Return the cluster's revision, read through the quorum. Raises EtcdError when there is none."""
        found = self._call(lambda client: client.get_response(b"health"))
        return int(found.header.revision)

    @contextmanager
    def watch(self, prefix: str, revision: int) -> Iterator[Iterator[Change]]:
        """Give the changes of all keys under `prefix` from `revision` on, each revision once, whole and in order.

        Continues at another member when one fails. Raises EtcdError when none answered for the client's timeout, and
        EtcdCompacted when the wanted revisions are compacted: list anew then, and watch from there.
        """
        client = self._make_client(watching=True)
        try:
            yield watched(client, prefix, revision, self._timeout_seconds, self._error)
        finally:
            client.close()

    def hint(self, *prefixes: str) -> AbstractContextManager[ChangeHint]:
        """Give what rings when keys under `prefixes` may have changed: for who waits for something, and looks."""
        return hinted(self._make_client(watching=True), prefixes, self._timeout_seconds / len(self._endpoints))

    # Writing

    def put(self, key: str, value: str, lease: int = 0) -> int:
        """Set `key` and return the revision of it. Idempotent."""
        done = self._call(lambda client: client.put(rpc.data(key), rpc.data(value), lease or None))
        return int(done.header.revision)

    def delete(self, key: str, *, prefix: bool = False) -> int:
        """Delete `key`, or all keys that begin with it; return how many there were. Idempotent."""
        name = "delete_prefix" if prefix else "delete"
        arguments = {} if prefix else {"return_response": True}
        return int(self._call(lambda client: getattr(client, name)(rpc.data(key), **arguments)).deleted)

    def transact(self, conditions: Sequence[Compare], writes: Sequence[Put | Delete]) -> TransactionResult:
        """Do all of `writes` if all `conditions` hold, else nothing, as one revision.

        Sent once only: when its answer is lost, EtcdError says that nobody knows, since a second try would find the
        first one's work. Read before trying again.
        """
        request = rpc.transaction(conditions, writes)
        with self._turn:
            # Finds a member that works, so that the one attempt has the best chance.
            self.health()
            done = self._call_once(lambda client: client.kvstub.Txn(request, client.timeout))
        return TransactionResult(bool(done.succeeded), int(done.header.revision))

    # Leases

    def grant(self, ttl_seconds: int) -> int:
        """Make a lease and return its id. Keys that are put with it go `ttl_seconds` after its last `keep_alive`.

        When the answer of one member is lost another makes a second lease; the first runs out by itself.
        """
        return int(self._call(lambda client: client.lease(ttl_seconds)).id)

    def keep_alive(self, lease: int) -> int:
        """Renew `lease` and return for how many seconds from now; 0 when there is none such (it ran out)."""
        return int(self._call(lambda client: rpc.keep_alive(client, lease)))

    def revoke(self, lease: int) -> None:
        """End `lease`: its keys go at once, as one revision. Idempotent."""
        self._call(lambda client: rpc.revoke(client, lease))

    # The members

    def members(self, statuses: Mapping[str, EndpointStatus] | None = None) -> list[Member]:
        """Return the members with what they tell of themselves, sorted by name (one that never started has none).

        `statuses`: what they tell, when they were asked just now.
        """
        with self._fresh_channels() as channels:
            if statuses is None:
                statuses = ask_statuses(channels, self._timeout_seconds)
            listed = self._listed(ask_members(channels, self._timeout_seconds))
        return members_of(listed, statuses.values())

    def _listed(self, answer: Any) -> Any:
        """Return the list of members. Raises EtcdError for an answer that is everybody's failure."""
        if isinstance(answer, dict):
            for member, error in answer.items():
                self._note(member, error)
            raise self._error()
        return answer

    def statuses(self) -> dict[str, EndpointStatus]:
        """Return what each member that we know of tells of itself, by machine, asked all at once. Never raises."""
        missing = {name: EndpointStatus(name, "", reason=reason) for name, reason in self._unreachable.items()}
        with self._fresh_channels() as channels:
            return missing | ask_statuses(channels, self._timeout_seconds)

    def alarms(self) -> list[Alarm]:
        """Return the alarms that stand, told by the quorum: while there is one, etcd refuses writes."""
        raised = self._call(rpc.alarms)
        if not raised:
            return []
        with self._fresh_channels() as channels:
            listed = self._listed(ask_members(channels, self._timeout_seconds))
        return alarms_of(raised, {f"{member.ID:x}": member.name for member in listed.members})

    # Changing the members

    def member_add(self, peer_urls: Sequence[str], *, seconds: float = CHANGE_SECONDS) -> str:
        """Return the id of the member with these peer URLs, added as a learner unless there is one.

        Idempotent, as all of these are. Raises EtcdError when etcd refuses, or does not do it within `seconds`.
        """
        with self._changing(seconds) as changing:
            return changing.add(peer_urls)

    def member_remove(self, member: str, *, seconds: float = CHANGE_SECONDS) -> None:
        """Remove a member, dead or alive; one that is gone is removed already."""
        with self._changing(seconds) as changing:
            changing.remove(member)

    def move_leader(self, member: str, *, seconds: float = CHANGE_SECONDS) -> None:
        """Let a voter lead, by a hand-over: the cluster takes writes all the time but for a moment."""
        with self._changing(seconds) as changing:
            changing.lead(member)

    def snapshot(self, path: Path, *, seconds: float = SNAPSHOT_SECONDS) -> Snapshot:
        """Write all that etcd holds to `path`, 0600, whole and verified, or leave `path` as it was.

        Taken from the member that is furthest; also without a quorum. Raises EtcdError.
        """
        from argosy.etcd import snapshots

        with self._fresh_channels() as channels:
            statuses = ask_statuses(channels, self._timeout_seconds)
            there = [
                channel
                for channel in channels
                if statuses[channel.name].reachable and not statuses[channel.name].learner
            ]
            if not there:
                self._failures.update(
                    {channel.name: (time.monotonic(), statuses[channel.name].reason) for channel in channels}
                )
                raise self._error()
            best = max(there, key=lambda endpoint: (statuses[endpoint.name].healthy, statuses[endpoint.name].revision))
            try:
                made = snapshots.write(path, rpc.snapshot(channels[best], seconds))
            except rpc.grpc.RpcError as error:
                raise EtcdError(f"etcd on {best.name} broke off its snapshot: {rpc.failure_of(error)[1]}") from None
        return replace(made, revision=statuses[best.name].revision, member=best.name)

    @contextmanager
    def _changing(self, seconds: float) -> Iterator[Changing]:
        with self._fresh_channels() as channels:
            yield Changing(self._cluster, channels, self._timeout_seconds, seconds)

    @contextmanager
    def _fresh_channels(self) -> Iterator[dict[Endpoint, Any]]:
        """Give connections of their own: one that is in use may still wait before it tries a member again."""
        opened = {endpoint: self._connect(endpoint, fresh=True) for endpoint in self._endpoints.values()}
        try:
            yield {member: endpoint.channel for member, endpoint in opened.items()}
        finally:
            for endpoint in opened.values():
                endpoint.close()

    # Calling

    def _call(self, function: Callable[[Any], T]) -> T:
        """Return `function(client)` from the first member that answers."""
        with self._turn:
            started = time.monotonic()
            self._failures = {
                name: failure for name, failure in self._failures.items() if failure[0] > started - RETRY_SECONDS
            }
            for member in self._candidates(started + self._timeout_seconds):
                try:
                    return function(self._client)
                except (rpc.Etcd3Exception, rpc.grpc.RpcError) as error:
                    self._note(member, error)
            raise self._error()

    def _call_once(self, function: Callable[[Any], T]) -> T:
        """Return `function(client)` from the member that answered last; never try twice."""
        member = self._endpoints[self._client.endpoint_in_use.netloc]
        self._client.timeout = self._timeout_seconds
        try:
            return function(self._client)
        except (rpc.Etcd3Exception, rpc.grpc.RpcError) as error:
            words = self._note(member, error)
            unknown = "it may be done or not; run the same again"
            raise EtcdError(f"etcd on {member.name} did not confirm a change ({words}): {unknown}") from None

    def _candidates(self, deadline: float) -> Iterator[Endpoint]:
        """Make the client use one member after the other, and yield which, while there is time and hope."""
        while self._client is not None and (left := deadline - time.monotonic()) > 0:
            self._client.timeout = min(left, self._timeout_seconds / len(self._endpoints))
            try:
                _ = self._client.channel
            except rpc.Etcd3Exception:
                if not answers_any(
                    [endpoint.channel for endpoint in self._client.endpoints.values()], min(left, PROBE_SECONDS)
                ):
                    return
                self._pause.wait(min(left, POLL_SECONDS))
            else:
                yield self._endpoints[self._client.endpoint_in_use.netloc]
                if len(self._endpoints) == 1 and (left := deadline - time.monotonic()) > 0:
                    # The only one is not left alone: it may refuse again at once.
                    self._pause.wait(min(left, POLL_SECONDS))

    def _note(self, member: Endpoint, error: BaseException) -> str:
        """Remember, and return, why a member failed; raise what another one would not do better."""
        code, words = rpc.failure_of(error)
        if code not in _HANDED_ON:
            raise EtcdError(f"etcd on {member.name} refused: {words}") from None
        self._failures[member.name] = (time.monotonic(), words)
        return words

    def _error(self) -> EtcdError:
        told = {}
        for endpoint in self._endpoints.values():
            _, reason = self._failures.get(endpoint.name, (0, NOT_ASKED))
            told[endpoint.name] = f"{endpoint.address}: {reason}"
        reasons = "; ".join(f"{name} ({reason})" for name, reason in sorted((self._unreachable | told).items()))
        what = f"etcd of cluster {self._cluster} does not answer"
        return EtcdError(f"{what}: {reasons or 'no member is known'}; see inv cluster.status")

    def _make_client(self, watching: bool = False) -> Any:
        client = rpc.etcd3.MultiEndpointEtcd3Client(
            [self._connect(endpoint) for endpoint in self._endpoints.values()],
            timeout=self._timeout_seconds,
            failover=True,
        )
        if self._first:
            # There is no public way to it; the property's setter is what the client itself fails over by.
            client._current_endpoint_label = self._first
        if watching:
            # The member that answered last most likely takes the watch, too, over the connection that is there.
            label = self._client._current_endpoint_label
            client._current_endpoint_label = label if label in client.endpoints else client._current_endpoint_label
            # A member that lost its leader ends the stream instead of staying silent.
            client.metadata = (("hasleader", "true"),)
        return client

    @property
    def _retry_seconds(self) -> float:
        return RETRY_SECONDS if len(self._endpoints) > 1 else 0

    def _connect(self, endpoint: Endpoint, fresh: bool = False) -> Any:
        options: dict[str, int | str] = {**_OPTIONS, "grpc.use_local_subchannel_pool": int(fresh)}
        if endpoint.server_name:
            options["grpc.ssl_target_name_override"] = endpoint.server_name
        return rpc.etcd3.Endpoint(
            endpoint.host,
            endpoint.port,
            creds=self._credentials,
            time_retry=self._retry_seconds,
            opts=list(options.items()),
        )
