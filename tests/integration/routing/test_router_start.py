"""The router's container starts HAProxy, whatever an earlier release left where it looks for its configuration."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_machine import IMAGE
from haproxy_server import HAPROXY, free_ports, requires_haproxy
from waiting import until

from argosy.agent.router.haproxy import Haproxy
from argosy.config.containers import OPEN_FILES
from argosy.routing.changes import parse_info

pytestmark = [pytest.mark.integration, requires_haproxy]

ADDRESS = "127.0.9.35"
EARLIER = """
global
    description structure=earlier
    stats socket {run}/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend http
    bind {address}:{port}
"""


def told(folder: Path) -> dict[str, str]:
    """Return what the worker tells of itself; nothing as long as it or its master does not answer."""
    haproxy = Haproxy(folder / "admin.sock", folder / "master.sock")
    try:
        haproxy.master()
        return parse_info(haproxy.ask("show info"))
    except (OSError, ValueError):
        return {}


@contextmanager
def started(config: str = "") -> Iterator[tuple[Path, dict[str, str]]]:
    """Start the image's program with `config` in its place; give its folder and what its worker tells of itself."""
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as name:
        folder, (port,) = Path(name), free_ports(ADDRESS, 1)
        if config:
            (folder / "haproxy.cfg").write_text(config.format(run=folder, address=ADDRESS, port=port))
        given = {
            **os.environ,
            "PATH": f"{Path(str(HAPROXY)).parent}:{os.environ['PATH']}",
            "ROUTER_LIB": str(folder),
            "ROUTER_RUN": str(folder),
            "ROUTER_INITIAL": str(IMAGE / "initial.cfg"),
            "ROUTER_BIND": f"{ADDRESS}:{port}",
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([IMAGE / "router"], env=given, stdout=log, stderr=log)
        try:
            until(lambda: told(folder))
            yield folder, told(folder)
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("config", ["", EARLIER, EARLIER.replace("global\n", "global\n    maxconn 500000\n")])
def test_its_connections_fit_its_descriptors_whatever_the_configuration_says(config: str) -> None:
    with started(config) as (_, info):
        assert info["Maxconn"] == "8000"
        assert int(info["Maxsock"]) <= OPEN_FILES
        assert info["description"] == ("structure=earlier" if config else "structure=initial")


def test_a_reload_leaves_them_as_they_are() -> None:
    with started() as (folder, before):
        haproxy = Haproxy(folder / "admin.sock", folder / "master.sock")
        path = folder / "haproxy.cfg"
        path.write_text(path.read_text().replace("structure=initial", "structure=other"))
        assert haproxy.reload("other", 20) == ""
        until(lambda: told(folder))
        info = told(folder)
        assert (info["Maxconn"], info["Pid"] != before["Pid"]) == ("8000", True)


def test_a_broken_configuration_is_kept_and_not_used() -> None:
    with started("nonsense") as (folder, info):
        assert info["description"] == "structure=initial"
        assert (folder / "haproxy.cfg.broken").read_text() == "nonsense"
