"""GET /                    which instance of which version answers, on which machine
GET /slow?seconds=N      the same after N seconds (at most 30): a request that is there while something changes
GET /health              200; 503 with UNHEALTHY in the environment: a version that never gets well
"""

from __future__ import annotations

import os
import threading

from webservice import Answer, Request, serve

LONGEST_SECONDS = 30


def index(request: Request) -> Answer:
    return Answer({"client": request.client})


def slow(request: Request) -> Answer:
    try:
        seconds = float(request.query.get("seconds", "1"))
    except ValueError:
        return Answer({"error": "seconds is no number"}, 400)
    threading.Event().wait(max(0.0, min(seconds, LONGEST_SECONDS)))
    return index(request)


def health(_request: Request) -> Answer:
    ill = bool(os.environ.get("UNHEALTHY"))
    return Answer({"healthy": not ill}, 503 if ill else 200)


serve(
    {("GET", "/"): index, ("GET", "/slow"): slow, ("GET", "/health"): health},
    port=int(os.environ.get("PORT", "8080")),
)
