"""A few connections to PostgreSQL, made when they are needed and thrown away when they fail."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pg8000.native

T = TypeVar("T")

KEPT_CONNECTIONS = 4
TIMEOUT_SECONDS = 5
SCHEMA_LOCK = 4_001
"""An advisory lock of our own: the backends of all machines may start at once, and CREATE TABLE IF NOT EXISTS of
two of them can collide."""

SCHEMA = "CREATE TABLE IF NOT EXISTS visits (service text PRIMARY KEY, total bigint NOT NULL)"
COUNT = """INSERT INTO visits (service, total) VALUES (:service, 1)
           ON CONFLICT (service) DO UPDATE SET total = visits.total + 1 RETURNING total"""


class Database:
    """Where it is: DATABASE_HOST, _PORT, _USER and _NAME; the password: in the file DATABASE_PASSWORD_FILE."""

    def __init__(self) -> None:
        self._host = os.environ["DATABASE_HOST"]
        self._port = int(os.environ.get("DATABASE_PORT", "5432"))
        self._user = os.environ["DATABASE_USER"]
        self._name = os.environ["DATABASE_NAME"]
        file = os.environ.get("DATABASE_PASSWORD_FILE", "/run/secrets/database-password")
        self._password = Path(file).read_text().rstrip("\r\n")
        self._idle: queue.LifoQueue[pg8000.native.Connection] = queue.LifoQueue(KEPT_CONNECTIONS)
        self._schema = threading.Event()

    def query(self, sql: str, **parameters: Any) -> list[list[Any]]:
        """Run one statement and return its rows. Raises pg8000's errors, or OSError."""
        rows: list[list[Any]] = self._run(lambda connection: connection.run(sql, **parameters) or [])
        return rows

    def count_visit(self, service: str) -> int:
        return int(self.query(COUNT, service=service)[0][0])

    def visits(self) -> dict[str, int]:
        return {service: int(total) for service, total in self.query("SELECT service, total FROM visits")}

    def _run(self, work: Callable[[pg8000.native.Connection], T]) -> T:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            return self._with(self._connect(), work)
        try:
            connection.run("SELECT 1")  # it may have died since it was used
        except (pg8000.native.Error, OSError):
            _close(connection)
            connection = self._connect()
        return self._with(connection, work)

    def _with(self, connection: pg8000.native.Connection, work: Callable[[pg8000.native.Connection], T]) -> T:
        try:
            result = work(connection)
        except BaseException:
            _close(connection)
            raise
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            _close(connection)
        return result

    def _connect(self) -> pg8000.native.Connection:
        connection = pg8000.native.Connection(
            self._user,
            host=self._host,
            port=self._port,
            database=self._name,
            password=self._password,
            timeout=TIMEOUT_SECONDS,
            application_name=os.environ.get("ARGOSY_MACHINE") or "backend",
        )
        if not self._schema.is_set():
            for statement in ("BEGIN", f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})", SCHEMA, "COMMIT"):
                connection.run(statement)
            self._schema.set()
        return connection


def _close(connection: pg8000.native.Connection) -> None:
    with suppress(pg8000.native.Error, OSError):
        connection.close()
