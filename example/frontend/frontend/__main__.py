"""GET /                    who answers, and who asked
GET /whole               the same and the backend's answer, which counts the visit in the database
GET /slow?seconds=N      the same after N seconds (at most 30): a request that is there while something changes
GET /health              200
"""

from __future__ import annotations

import json
import os
import threading
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

from webservice import Answer, Request, log, serve

BACKEND = os.environ.get("BACKEND_URL") or f"http://{os.environ.get('ARGOSY_ADDRESS', '127.0.0.1')}:8081"
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


def health(_request: Request) -> Answer:
    return Answer({"healthy": True})


serve(
    {("GET", "/"): index, ("GET", "/whole"): whole, ("GET", "/slow"): slow, ("GET", "/health"): health},
    port=int(os.environ.get("PORT", "8080")),
)
