"""Many machines at once, and how an operator's interruption ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
from ssh_server import SshServer, requires_sshd, ssh_server
from waiting import until

from argosy.config.loading import Settings, load
from argosy.errors import HostsFailed, HostUnreachable
from argosy.fanout import joined
from argosy.model import Machine
from argosy.ssh.host import Hosts
from argosy.ssh.identity import login_key

pytestmark = [pytest.mark.integration, requires_sshd]

ADDRESSES = [f"127.0.0.{number}" for number in range(11, 19)]
MACHINES = [Machine(f"air-{number:02}", address) for number, address in enumerate(ADDRESSES, 1)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd"), addresses=ADDRESSES) as running:
        yield running


@pytest.fixture
def settings(server: SshServer, tmp_path: Path) -> Settings:
    (tmp_path / ".argosy" / "test").mkdir(parents=True)
    (tmp_path / ".argosy" / "test" / "known_hosts").symlink_to(server.pins)
    ssh = {"user": server.host().ssh.user, "port": server.port, "key": str(server.key), "connect_attempts": 1}
    return load({"clusters": {"test": {"ssh": ssh}}}, root=tmp_path)


def test_every_machine_answers_in_order(settings: Settings) -> None:
    with Hosts(settings, MACHINES) as hosts:
        outcomes = hosts.each(lambda host: host.run("echo $SSH_CONNECTION").stdout.split()[2])
        assert joined(outcomes) == {machine.name: machine.address for machine in MACHINES}
        assert [host.name for host in hosts] == list(outcomes)
        assert hosts["air-02"] is hosts[MACHINES[1]]


def test_connections_stay_open_between_fan_outs(settings: Settings, server: SshServer) -> None:
    with Hosts(settings, MACHINES) as hosts:
        joined(hosts.each(lambda host: host.connect()))
        # Those of earlier tests are just ending.
        until(lambda: len(server.sessions()) == len(MACHINES))
        before = server.sessions()
        joined(hosts.each(lambda host: host.run(["true"])))
        assert server.sessions() == before


def test_one_dead_machine_fails_alone(settings: Settings) -> None:
    lost = Machine("air-99", "127.0.0.99")
    with Hosts(settings, [*MACHINES, lost]) as hosts:
        outcomes = hosts.each(lambda host: host.run(["true"]).code, what="Greeting")
    assert [name for name, outcome in outcomes.items() if not outcome.ok] == ["air-99"]
    assert isinstance(outcomes["air-99"].error, HostUnreachable)
    with pytest.raises(HostsFailed, match=r"^Greeting failed on 1 of 9 machines: air-99: no ssh connection"):
        joined(outcomes)


def test_some_of_the_machines_few_at_a_time(settings: Settings) -> None:
    with Hosts(settings, MACHINES) as hosts:
        started = time.monotonic()
        outcomes = hosts.each(lambda host: host.run(["sleep", "0.3"]).code, ["air-03", MACHINES[0]], max_parallel=1)
        assert list(outcomes) == ["air-03", "air-01"]
        assert time.monotonic() - started > 0.6


def test_a_dead_entry_node_is_asked_once_for_all(settings: Settings) -> None:
    with socket.create_server(("127.0.0.98", 0)) as server:
        asked: list[object] = []

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, address = server.accept()
                    asked.append(address)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        node = f"127.0.0.98:{server.getsockname()[1]}"
        ssh = settings.ssh.model_copy(update={"entry_node": node, "connect_attempts": 2, "max_parallel": len(MACHINES)})
        with Hosts(settings.model_copy(update={"ssh": ssh}), MACHINES) as hosts:
            outcomes = hosts.each(lambda host: host.run(["true"]))
        server.shutdown(socket.SHUT_RDWR)
    assert {str(outcome.error).split(":")[0] for outcome in outcomes.values()} == {"entry node 127.0.0.98"}
    assert len(asked) == 2


def test_all_machines_share_one_way_through_the_entry_node(settings: Settings, server: SshServer) -> None:
    ssh = settings.ssh.model_copy(update={"entry_node": f"{ADDRESSES[0]}:{server.port}"})
    with Hosts(settings.model_copy(update={"ssh": ssh}), MACHINES) as hosts:
        before = (server.folder / "log").read_text().count("Accepted publickey")
        joined(hosts.each(lambda host: host.run(["true"])))
        after = (server.folder / "log").read_text().count("Accepted publickey")
    assert after - before == len(MACHINES) + 1


def test_connections_whose_entry_node_is_gone_are_closed_all_the_same(settings: Settings, server: SshServer) -> None:
    ssh = settings.ssh.model_copy(update={"entry_node": f"{ADDRESSES[0]}:{server.port}"})
    with Hosts(settings.model_copy(update={"ssh": ssh}), MACHINES) as hosts:
        joined(hosts.each(lambda host: host.run(["true"])))
        gateway = next(iter(hosts)).gateway
        assert gateway is not None
        gateway.connect().sock.shutdown(socket.SHUT_RDWR)
    assert not any(host.is_connected for host in hosts)


def test_the_key_is_the_configured_one_else_the_clusters_own(settings: Settings, server: SshServer) -> None:
    assert login_key(settings) == server.key
    unset = settings.model_copy(update={"ssh": settings.ssh.model_copy(update={"key": ""})})
    assert login_key(unset) is None
    own = unset.secrets_path / "ssh" / "id_ed25519"
    own.parent.mkdir(parents=True)
    own.touch()
    assert login_key(unset) == own


PROGRAM = """
import sys
from pathlib import Path
from argosy.config.loading import load
from argosy.fanout import joined
from argosy.ssh.host import Hosts
from argosy.model import Machine
root, port, user, key, *addresses = sys.argv[1:]
ssh = {"user": user, "port": int(port), "key": key}
settings = load({"clusters": {"test": {"ssh": ssh}}}, root=Path(root))
with Hosts(settings, [Machine(address, address) for address in addresses]) as hosts:
    hosts.each(lambda host: host.run(f"echo $$ >{root}/{host.name}; exec sleep 60"))
"""


def test_ctrl_c_ends_the_operator_soon_and_the_remote_commands_too(settings: Settings, server: SshServer) -> None:
    arguments = [str(settings.root), str(server.port), settings.ssh.user, str(server.key), *ADDRESSES]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE) as process:
        files = [settings.root / address for address in ADDRESSES]
        for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(20)):
            with attempt:
                pids = [int(file.read_text()) for file in files]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=15)
    assert b"KeyboardInterrupt" in errors
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(8), reraise=True):
        with attempt:
            assert not [pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]


def is_zombie(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_a_follower_does_not_outlive_a_killed_operator(server: SshServer, tmp_path: Path) -> None:
    """The machine ends it by itself; here its grace is shortened, by a deadline that leaves a second."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "support")!r})
from argosy.ssh import commands
commands.FOLLOWER_GRACE_SECONDS = 0
from ssh_server import SshServer
from pathlib import Path
server = SshServer(Path({str(server.folder)!r}), addresses={ADDRESSES!r}, port={server.port})
host = server.host()
host.stream("echo $$ >{tmp_path}/pid; sleep 60", on_line=lambda _: None, deadline_seconds=2)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(20)):
            with attempt:
                pid = int((tmp_path / "pid").read_text())
        process.kill()
    assert Path(f"/proc/{pid}").exists()
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(8), reraise=True):
        with attempt:
            assert not Path(f"/proc/{pid}").exists() or is_zombie(pid)
    assert os.getpid() != pid
