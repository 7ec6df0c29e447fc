"""etcd by its JSON gateway, with mutual TLS.

Keys and values travel as base64, numbers as strings. Both etcd 3.4 and 3.5 serve it under /v3.
Source: https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/ and rpc.proto of etcd.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from argosy_installer.errors import Failed, TryAgain
from argosy_installer.progress import Say

T = TypeVar("T")

TIMEOUT_SECONDS = 5
POLL_SECONDS = 0.25
TELL_SECONDS = 10
"""How often waiting says that it waits, and for what."""


class Unavailable(Exception):
    """No endpoint answered, or the cluster has no quorum; the message says which."""


@dataclass(frozen=True)
class Value:
    """`revision`: the mod_revision of the key, for a later `put_if_unchanged`; 0 is that of a key that is not there."""

    text: str
    revision: int


class Etcd:
    """A client that waits: each call is repeated while etcd is unavailable, until `deadline` (of time.monotonic), or
    until somebody sets `abandoned`."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: ssl.SSLContext | None,
        deadline: float,
        say: Say,
        abandoned: threading.Event | None = None,
    ) -> None:
        self._endpoints = tuple(endpoints)
        # No proxy of the environment may stand between us and our own cluster.
        self._open = build_opener(ProxyHandler({}), HTTPSHandler(context=tls)).open
        self._deadline = deadline
        self._say = say
        self._abandoned = abandoned or threading.Event()

    def wait_until_healthy(self) -> None:
        """Return when the cluster has a quorum: /health does a linearizable read. Raises TryAgain at the deadline."""
        self.patiently(self._health)

    def own_member(self) -> tuple[int, bool]:
        """Return the id of the member that answers, and whether it is a learner, which has no vote yet; it answers
        without a quorum, too. Raises Unavailable."""
        status = self._call("/v3/maintenance/status", {})
        return int(status["header"]["member_id"]), bool(status.get("isLearner", False))

    def promote(self, member: int) -> None:
        """Make the learner a voting member. Raises Unavailable with etcd's words while it has not caught up.

        Only a voting member can be asked; it asks the leader, who knows how far the learner is.
        """
        self._call("/v3/cluster/member/promote", {"ID": str(member)})

    def get(self, key: str) -> Value:
        """Return the value of `key`; an empty text of revision 0 when it is not there."""
        answer = self.patiently(lambda: self._call("/v3/kv/range", {"key": _encode(key)}))
        for entry in answer.get("kvs", []):
            return Value(_decode(entry.get("value", "")), int(entry["mod_revision"]))
        return Value("", 0)

    def put_if_absent(self, key: str, value: str) -> bool:
        """Write `key` unless it is there, in one transaction. Returns whether it wrote."""
        return self.put_if_unchanged(key, value, 0)

    def put_if_unchanged(self, key: str, value: str, revision: int) -> bool:
        """Write `key` unless somebody wrote it after `revision`, in one transaction. Returns whether it wrote."""
        compare = {"key": _encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
        put = {"requestPut": {"key": _encode(key), "value": _encode(value)}}
        answer = self.patiently(lambda: self._call("/v3/kv/txn", {"compare": [compare], "success": [put]}))
        return bool(answer.get("succeeded", False))

    def patiently(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, called until it no longer raises Unavailable. Raises TryAgain, with the last
        reason, when we give up."""
        began = told = time.monotonic()
        while True:
            try:
                return work()
            except Unavailable as error:
                now = time.monotonic()
                if now >= self._deadline or self._abandoned.is_set():
                    raise TryAgain(f"etcd is not healthy after {now - began:.0f} s: {error}") from None
                if now - told >= TELL_SECONDS:
                    self._say(f"etcd: waiting, {error}")
                    told = now
            self._abandoned.wait(POLL_SECONDS)

    def _health(self) -> None:
        answer = self._call("/health", None)
        if answer.get("health") != "true":
            raise Unavailable(
                f"{self._endpoints[0]} says that it is not healthy: {answer.get('reason') or 'no quorum'}"
            )

    def _call(self, path: str, body: object) -> dict[str, Any]:
        """Return the answer of the first endpoint that has one."""
        problem = Unavailable("no endpoint is known")
        for endpoint in self._endpoints:
            data = None if body is None else json.dumps(body).encode()
            try:
                # The scheme is that of ETCD_ENDPOINTS, a file of root's.
                with self._open(Request(endpoint + path, data), timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                    answer = json.load(response)
                # Every answer of etcd's has a header, and its health this key. Anything else has told nothing.
                if isinstance(answer, dict) and ("health" if body is None else "header") in answer:
                    return answer
                problem = Unavailable(f"{endpoint}: what answers there is not etcd")
            except HTTPError as error:
                words = _words_of(error) or "it has no quorum yet"
                problem = Unavailable(f"{endpoint} answers {error.code}, {words}")
            except (OSError, HTTPException, ValueError) as error:
                problem = Unavailable(f"{endpoint}: {getattr(error, 'reason', None) or error}")
        raise problem


def mutual_tls(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context that shows our certificate and takes only those of our CA. Raises Failed for a bad file."""
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Failed.because(f"the certificates for etcd in {ca.parent} can't be used: {error}") from None
    return context


def _words_of(error: HTTPError) -> str:
    """Return what the gateway says of a failure, `{"error": "etcdserver: no leader", "code": 14, ...}`."""
    try:
        return str(json.load(error).get("error", "")).removeprefix("etcdserver: ")
    except (OSError, HTTPException, ValueError, AttributeError):
        return ""


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()
