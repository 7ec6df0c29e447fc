"""What an installation needs of Docker: images from the registry, and the machine's containers.

Source: https://docs.docker.com/engine/api/v1.41/.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from argosy.engine.api import Json, at_socket
from argosy.engine.running import Command, MachineContainers
from argosy.errors import EngineError, EngineRefused
from argosy_installer.errors import TryAgain

ANSWER_SECONDS = 60.0
PULL_SILENCE_SECONDS = 300.0
"""A pull that says nothing for so long has stalled."""
UNAUTHORIZED = "unauthorized:"
OUTPUT_BYTES = 1_000_000
"""Of what a command says: its last words are told."""


class PullFailed(Exception):
    """Docker could not pull an image; the message is Docker's own."""


@dataclass(frozen=True)
class Credentials:
    """What /etc/SYSTEM/secrets/registry/config.json, a file of Docker's client, says about one registry."""

    registry: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.registry}, {self.user}, ***)"

    def headers(self) -> dict[str, str]:
        login = {"username": self.user, "password": self.password, "serveraddress": self.registry}
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


@contextmanager
def _awaited() -> Iterator[None]:
    """Raise TryAgain while Docker does not answer."""
    try:
        yield
    except EngineError as error:
        raise TryAgain(str(error)) from error


class Docker:
    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._containers = MachineContainers(socket_path, ANSWER_SECONDS)
        self._engine = self._containers.engine

    @_awaited()
    def image_exists(self, reference: str) -> bool:
        return self._engine.find(f"/images/{quote(reference)}/json") is not None

    @_awaited()
    def ask_registry(self, reference: str, credentials: Credentials) -> tuple[int, str]:
        """Let Docker ask the registry for `reference`; return a status and Docker's message.

        200: it is there. 401, 403: the registry does not take our password, or does not show us this image. 404: it is
        not there. 500: the registry does not answer. (POST /auth can't tell 401 from 500 in Docker 20.10.) Where a
        token service refuses the password Docker says 500, with the registry's own word for 401.
        """
        try:
            with self._engine.reading(f"/distribution/{quote(reference)}/json", headers=credentials.headers()):
                return 200, ""
        except EngineRefused as error:
            refused = error.status == 500 and UNAUTHORIZED in error.reason
            return 401 if refused else error.status, error.reason

    def pull(self, reference: str, credentials: Credentials, on_event: Callable[[Json], None]) -> None:
        """Pull `reference`; `on_event` gets each event of Docker's progress stream. Raises PullFailed.

        Errors come as a status before the stream or as an event in it, whose status was 200 already.
        """
        engine = at_socket(self._socket_path, timeout_seconds=PULL_SILENCE_SECONDS)
        query, headers = {"fromImage": reference}, credentials.headers()
        try:
            with engine.reading("/images/create", query, method="POST", headers=headers) as events:
                for line in events:
                    if line.strip():
                        event = json.loads(line)
                        if "error" in event or "errorDetail" in event:
                            told = (event.get("errorDetail") or {}).get("message") or event.get("error")
                            raise PullFailed(str(told or "Docker gives no reason"))
                        on_event(event)
        except EngineRefused as error:
            raise PullFailed(error.reason) from error
        except (EngineError, ValueError) as error:
            raise PullFailed(f"the stream of Docker's progress broke: {error}") from error

    @_awaited()
    def container(self, name: str) -> Json | None:
        """Return what `docker inspect` says of the container, None when there is none."""
        return self._containers.inspect(name)

    @_awaited()
    def labelled(self, label: str) -> list[Json]:
        """Return what `docker inspect` says of every running container that has `label`, sorted by name."""
        found = [self._containers.inspect(name) for name in self._containers.ids(label, "running")]
        # One that has ended meanwhile is gone.
        return sorted((entry for entry in found if entry is not None), key=lambda entry: str(entry["Name"]))

    @_awaited()
    def run(self, container: str, argv: tuple[str, ...], timeout_seconds: float) -> Command:
        """Run `argv` in the container; what takes longer is not ended."""
        return self._containers.run(container, argv, timeout_seconds, OUTPUT_BYTES)


def credentials(config: Mapping[str, Any], registry: str) -> Credentials | None:
    """Return what a config.json of Docker's client holds for `registry`, None when nothing or nothing readable."""
    try:
        user, _, password = base64.b64decode(config["auths"][registry]["auth"]).decode().partition(":")
    except (KeyError, TypeError, ValueError):
        return None
    return Credentials(registry, user, password) if user and password else None
