"""GET /                    who answers, and who asked
GET /whole               the same and the backend's answer, which counts the visit in the database
GET /slow?seconds=N      the same after N seconds (at most 30): a request that is there while something changes
GET /backends            where the backends are, as the file says that the agent makes of templates/backends.json.j2
GET /health              200
SIGHUP                   read that file again
"""

from __future__ import annotations

import json
import os
import signal
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

from webservice import Answer, Request, log, serve

BACKEND = os.environ.get("BACKEND_URL") or f"http://{os.environ.get('ARGOSY_ADDRESS', '127.0.0.1')}:8081"
BACKENDS_FILE = Path(os.environ.get("BACKENDS_FILE") or "/run/files/backends.json")
BACKEND_TIMEOUT_SECONDS = 5
LONGEST_SECONDS = 30


def index(request: Request) -> Answer:
    return Answer({"client": request.client})


def whole(request: Request) -> Answer:
    try:
        with urlopen(Call(f"{BACKEND}/visits", method="POST"), timeout=BACKEND_TIMEOUT_SECONDS) as response:  # noqa: S310
            return Answer({"client": request.client, "backend": json.load(response)})
    except HTTPError as error:
        return Answer({"error": f"the backend answered {error.code}"}, 502)
    except (OSError, HTTPException, ValueError) as error:
        log("backend", error=str(error))
        return Answer({"error": "the backend does not answer"}, 502)


def slow(request: Request) -> Answer:
    try:
        seconds = float(request.query.get("seconds", "1"))
    except ValueError:
        return Answer({"error": "seconds is no number"}, 400)
    threading.Event().wait(max(0.0, min(seconds, LONGEST_SECONDS)))
    return index(request)


class Backends:
    """What the file says: {"banner": TEXT, "backends": ["10.0.0.2:8081"]}. Without it, or while it is bad, what it said
    last; nothing at first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {"banner": "", "backends": []}

    def read(self) -> None:
        try:
            found = json.loads(self._path.read_text())
            self._known = {"banner": str(found["banner"]), "backends": [str(backend) for backend in found["backends"]]}
        except FileNotFoundError:
            log("backends", error=f"there is no {self._path} yet")
        except (OSError, ValueError, KeyError, TypeError) as error:
            log("backends", error=f"{self._path}: {type(error).__name__}: {error}")
        else:
            log("backends", count=len(self._known["backends"]))

    def answer(self, _request: Request) -> Answer:
        return Answer(self._known)


def health(_request: Request) -> Answer:
    return Answer({"healthy": True})


backends = Backends(BACKENDS_FILE)
# First the signal, then the file: a change in between is told, so none is missed. In a thread, since a signal may come
# while a line is being logged.
signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=backends.read).start())
backends.read()
serve(
    {
        ("GET", "/"): index,
        ("GET", "/whole"): whole,
        ("GET", "/slow"): slow,
        ("GET", "/backends"): backends.answer,
        ("GET", "/health"): health,
    },
    port=int(os.environ.get("PORT", "8080")),
)
