"""The example's frontend as a process: what it answers, logs, and does when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tenacity
from ssh_server import free_port
from waiting import until

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).resolve().parents[3] / "example"


class Frontend:
    def __init__(self, folder: Path) -> None:
        self.backends = folder / "backends.json"
        self.port = free_port()
        self.log = folder / "log"
        named = {"SERVICE": "frontend", "MACHINE": "air-01", "VERSION": "0.1.3", "ADDRESS": "10.0.0.1"}
        environment = {
            **os.environ,
            **{f"ARGOSY_{name}": value for name, value in named.items()},
            "PYTHONPATH": f"{EXAMPLE}/webservice:{EXAMPLE}/frontend",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PORT": str(self.port),
            "BACKEND_URL": "http://127.0.0.1:1",
            "BACKENDS_FILE": str(self.backends),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "frontend"], env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    running = Frontend(tmp_path)
    try:
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(urllib.error.URLError),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(20),
            reraise=True,
        ):
            with attempt:
                assert running.ask("/health")[0] == 200
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_every_answer_says_who_gave_it(frontend: Frontend) -> None:
    status, body = frontend.ask("/frontend/", **{"X-Forwarded-For": "198.51.100.7"})
    assert status == 200
    assert (body["service"], body["machine"], body["version"]) == ("frontend", "air-01", "0.1.3")
    assert body["instance"]
    assert body["client"] == "198.51.100.7"


def test_what_goes_wrong_has_its_status(frontend: Frontend) -> None:
    assert frontend.ask("/nowhere")[0] == 404
    assert frontend.ask("/", method="POST")[0] == 405
    assert frontend.ask("/slow?seconds=soon")[0] == 400
    assert frontend.ask("/whole") == (502, frontend.ask("/whole")[1])


def test_it_logs_one_json_line_for_each_request_but_not_for_checks(frontend: Frontend) -> None:
    frontend.ask("/frontend/slow?seconds=0")
    frontend.ask("/health")
    requests = [line for line in frontend.lines() if line["event"] == "request"]
    assert [(line["method"], line["path"], line["status"]) for line in requests] == [
        ("GET", "/frontend/slow?seconds=0", 200)
    ]


def test_stopped_politely_it_finishes_the_requests_that_have_begun(frontend: Frontend) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(frontend.ask, "/slow?seconds=2")
        for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(10)):
            with attempt:
                assert _connections(frontend.port) > 0
        frontend.process.send_signal(signal.SIGTERM)
        assert slow.result()[0] == 200
    assert frontend.process.wait(timeout=10) == 0
    assert frontend.lines()[-1] == {"event": "stopped"}


def test_it_shows_the_backends_of_its_file_as_it_was_at_the_last_sighup(frontend: Frontend) -> None:
    def shown() -> tuple[str, list[str]]:
        body = frontend.ask("/frontend/backends")[1]
        return body["banner"], body["backends"]

    def hang_up() -> None:
        told = len(frontend.events("backends"))
        frontend.process.send_signal(signal.SIGHUP)
        until(lambda: len(frontend.events("backends")) > told)

    assert shown() == ("", []), "without the file it works, too"
    frontend.backends.write_text('{"banner": "Hi", "backends": ["10.0.0.2:8081"]}')
    assert shown() == ("", [])
    hang_up()
    assert shown() == ("Hi", ["10.0.0.2:8081"])
    for bad in ("{", "[]", '{"banner": "x"}', '{"banner": "x", "backends": 1}'):
        frontend.backends.write_text(bad)
        hang_up()
        assert shown() == ("Hi", ["10.0.0.2:8081"]), bad
    assert "error" in frontend.events("backends")[-1]
    frontend.backends.unlink()
    hang_up()
    assert frontend.ask("/health")[0] == 200


def _connections(port: int) -> int:
    """Return how many connections to a local port are established, by the kernel's table (state 01)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
