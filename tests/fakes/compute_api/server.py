"""The HTTP server of the pretended API."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from compute_api.discovery import Call, Discovery, Invalid, compute
from compute_api.faults import Fault, Faults
from compute_api.handlers import Handlers
from compute_api.state import Refusal, State

READING = {"get", "list", "aggregatedList", "wait", "getFromFamily", "getGuestAttributes", "getSerialPortOutput"}
READING |= {"listInstances", "getHealth"}


@dataclass(frozen=True)
class Request:
    """`method`: such as instances.insert; `body`: what came; `status`: of the answer, 0 when there was none."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    status: int

    @property
    def changes(self) -> bool:
        return self.method.partition(".")[2] not in READING


class FakeCompute:
    """The server, its state and its faults. `requests`: those that were in order or refused, oldest first; `invalid`:
    what was wrong with those that the API would not understand."""

    def __init__(self, port: int = 0, state: State | None = None) -> None:
        self.state = state or State()
        self.faults = Faults()
        self.requests: list[Request] = []
        self.invalid: list[str] = []
        self.handlers = Handlers(self.state)
        self._numbers = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeCompute:
        compute()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until the process ends."""
        self._server.serve_forever()

    def changes(self) -> list[str]:
        """Return the methods of all requests that were to change something."""
        return [request.method for request in self.requests if request.changes]

    def bodies(self, method: str) -> list[dict[str, Any]]:
        return [request.body for request in self.requests if request.method == method and request.status == 200]

    def forget(self) -> None:
        """Begin the record of requests anew."""
        self.requests.clear()

    def number(self) -> int:
        """Count a request."""
        with self.state.lock:
            self._numbers += 1
            return self._numbers

    @property
    def asked(self) -> int:
        return self._numbers

    def begin(self, saved: dict[str, Any]) -> None:
        """Go back to what `State.saved` gave, with no faults, counting from 1."""
        with self.state.lock:
            self.faults.clear()
            self.handlers.ending.clear()
            self.state.restore(saved)
            self.requests.clear()
            self._numbers = 0

    def answer(self, call: Call, path: str, fault: Fault | None) -> tuple[int, dict[str, Any]]:
        """Do what is asked, with what the fault adds."""
        with self.state.lock:
            try:
                if fault and fault.deed == "fail":
                    raise Refusal(fault.status, fault.reason, f"told to fail with {fault.reason}")
                document = self.handlers.handle(call)
                if fault and fault.deed == "repeat":
                    document = self.handlers.handle(call)
                self._spoil(document, fault)
                status, document = 200, json.loads(json.dumps(document))
                compute().check_answer(call.method, document)
            except Refusal as refusal:
                status, document = refusal.status, error_document(refusal.status, refusal.reason, refusal.message)
            except (LookupError, TypeError) as error:
                status, document = 400, error_document(400, "required", f"Required field: {error}")
            self.requests.append(Request(call.method.id, path, call.query, call.body, status))
            return status, document

    def _spoil(self, operation: dict[str, Any], fault: Fault | None) -> None:
        if fault and fault.deed == "end":
            self.handlers.fail(operation, fault.reason)
        if fault and fault.deed == "stall":
            operation["description"] = "stalled"
            threading.Thread(target=self._release_later, args=(operation,), daemon=True).start()

    def _release_later(self, operation: dict[str, Any]) -> None:
        self.faults.released.wait(60)
        with self.state.lock:
            operation.pop("description", None)


def error_document(status: int, reason: str, message: str) -> dict[str, Any]:
    """Return the body of an error (https://cloud.google.com/compute/docs/reference/rest/v1/errors)."""
    errors = [{"message": message, "domain": "global", "reason": reason}]
    return {"error": {"code": status, "message": message, "errors": errors}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def fake(self) -> FakeCompute:
        return cast("FakeCompute", self.server.fake)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/_fake/"):
            self._send(200, self._told(raw))
        elif self.path.startswith("/v1/projects/"):
            self._send(*self._rights(raw))
        else:
            self._compute(raw)

    def _compute(self, raw: bytes) -> None:
        fake = self.fake
        try:
            call = compute().call(self.command, self.path, raw)
            if call is None:
                raise Invalid(self.path, f"the API has no {self.command} here")
        except Invalid as invalid:
            fake.invalid.append(f"{self.command} {self.path}: {invalid}")
            self._send(400, error_document(400, "invalid", str(invalid)))
            return
        number, fault = fake.number(), fake.faults.take(call.method.id)
        if fake.faults.at(number, "before") or (fault and fault.deed == "drop"):
            self._hang_up()
            return
        if fault and fault.deed == "slow":
            threading.Event().wait(fault.seconds)
        status, document = fake.answer(call, self.path, fault)
        if fake.faults.at(number, "after") or (fault and fault.deed == "lose"):
            self._hang_up()
            return
        self._send(status, document)

    def _rights(self, raw: bytes) -> tuple[int, dict[str, Any]]:
        try:
            call = _resource_manager().call(self.command, self.path, raw)
            assert call, self.path
        except Invalid as invalid:
            self.fake.invalid.append(str(invalid))
            return 400, error_document(400, "invalid", str(invalid))
        asked, granted = call.body["permissions"], self.fake.state.granted
        return 200, {"permissions": [ask for ask in asked if granted is None or ask in granted]}

    def _told(self, raw: bytes) -> dict[str, Any]:
        """The commands of whoever tests from the command line (docs/gce.md)."""
        what, body = self.path.removeprefix("/_fake/"), json.loads(raw or b"{}")
        if what == "faults":
            self.fake.faults.add(Fault(**body))
        elif what == "unhealthy":
            self.fake.state.unhealthy = set(body["names"])
        elif what == "requests":
            return {"requests": [asdict(request) for request in self.fake.requests], "invalid": self.fake.invalid}
        return self.fake.state.snapshot()

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            # Whoever asked is gone, which is what some tests are about.
            self.close_connection = True

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()


def _resource_manager() -> Discovery:
    return Discovery("cloudresourcemanager.v1")
