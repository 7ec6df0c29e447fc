"""GET /          who answers
GET /visits    the counts
POST /visits   count one, for the service that asks by ?service=NAME (default frontend)
GET /health    200 when the database answers, else 503
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pg8000.native
from webservice import Answer, Request, drop_privileges, log, serve

from backend.database import Database

UNAVAILABLE = (pg8000.native.Error, OSError)


def main() -> None:
    database = Database()
    drop_privileges()

    def index(request: Request) -> Answer:
        return Answer({"client": request.client})

    def count(request: Request) -> Answer:
        return _or_unavailable(lambda: {"visits": database.count_visit(request.query.get("service", "frontend"))})

    def counts(_request: Request) -> Answer:
        return _or_unavailable(lambda: {"visits": database.visits()})

    def health(_request: Request) -> Answer:
        return _or_unavailable(lambda: {"healthy": bool(database.query("SELECT 1"))})

    routes = {("GET", "/"): index, ("GET", "/visits"): counts, ("POST", "/visits"): count, ("GET", "/health"): health}
    serve(routes, port=int(os.environ.get("PORT", "8081")))


def _or_unavailable(work: Callable[[], dict[str, object]]) -> Answer:
    try:
        return Answer(work())
    except UNAVAILABLE as error:
        log("database", error=f"{type(error).__name__}: {error}")
        return Answer({"error": "the database does not answer", "healthy": False}, 503)


main()
