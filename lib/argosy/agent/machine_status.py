"""`POST /machine`: what `SYSTEM status` prints on this machine, without a container of the installer to be started.

It is the installer's code that finds it out, so both say the same. The agent's container sees neither the machine's
files nor its systemd, so the command on the machine sends what they say, as a form:

    version              of the release that the machine has
    release, install     STATE/release.json and STATE/install.json, as the installer wrote them
    states               what `systemctl show` says of the system's units
    SYSTEM-X.service     a unit file, under its name; all that there are

`?format=json` is one line of JSON, else a table. Secrets that are missing are not known of: the command asks only when
there are none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from argosy.agent.health import health
from argosy.agent.options import Options
from argosy.agent.telemetry import JSON, TEXT, Answer
from argosy.engine.running import Command
from argosy_installer.docker import Docker
from argosy_installer.errors import TryAgain
from argosy_installer.release import parse
from argosy_installer.status import Known, lines, machine_status, recorded_state
from argosy_installer.systemd import parse_states

PATH = "/machine"
HEALTH = ("python3", "-m", "argosy.agent", "health")
"""What the check of the agent's own service begins with; how long it may take follows."""


class _Docker(Docker):
    """Docker, but for the agent's own check: what that asks is asked here, without a process in our container."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.paths.docker_socket)
        self._socket = str(options.paths.agent_socket)

    def run(self, container: str, argv: tuple[str, ...], timeout_seconds: float) -> Command:
        if argv[: len(HEALTH)] != HEALTH:
            return super().run(container, argv, timeout_seconds)
        code, line = health(self._socket, timeout_seconds)
        return Command("", code, line)


class MachineStatus:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._docker = _Docker(options)

    def answer(self, _path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Handle the request; see the module. 400: not asked rightly; 409: the installer has not written down this
        release; 503: Docker does not answer. Whoever asks asks the installer then."""
        sent = dict(parse_qsl(body.decode(), keep_blank_values=True))
        try:
            version, states = sent["version"], parse_states(sent["states"])
            written, recorded = json.loads(sent["release"]), json.loads(sent["install"])
            if written["version"] != version or not states:
                return 409, TEXT, b"this is not known of the release that the machine has\n"
            release = parse(written["release"], written["units"], {}, self._options.machine)
            state = recorded_state(recorded, version)
        except (ValueError, KeyError, TypeError) as error:
            return 400, TEXT, f"what the machine has is not as the installer writes it: {error!r}\n".encode()
        known = Known(self._options.machine, self._options.address, state, [], version)
        present = {name: text for name, text in sent.items() if name.endswith(".service")}
        try:
            status = machine_status(known, release, states, present, self._docker)
        except TryAgain as error:
            return 503, TEXT, f"{error}\n".encode()
        as_json = query.get("format") == "json"
        return 200, JSON if as_json else TEXT, "".join(f"{line}\n" for line in lines(status, as_json)).encode()
