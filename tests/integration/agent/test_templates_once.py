"""Templates in once mode, as a process, and the commands that templates run in containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster
from image_project import BASE
from template_site import Site, only_file
from waiting import until

from argosy.agent.container_commands import main as container_command
from argosy.agent.templates import files as template_files
from argosy.agent.templates.keeping import Outcome
from argosy.engine.connection import connect
from argosy.engine.names import SYSTEM_LABEL
from argosy.errors import EngineError
from argosy.etcd import Etcd
from argosy.pki import authority

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "machine")


@pytest.fixture
def once(site: Site, cluster: EtcdCluster, store: Etcd) -> Callable[[], subprocess.CompletedProcess[str]]:
    path = cluster.settings().secrets_path
    pair = authority.ensure_machine_certificates(path, cluster.machines[0])["etcd-client"]
    secrets = site.root / "etc/air/secrets"
    secrets.mkdir(parents=True)
    sources = {
        "ca.crt": authority.authority_path(path),
        "etcd-client.crt": pair.certificate,
        "etcd-client.key": pair.key,
    }
    for name, source in sources.items():
        (secrets / name).write_bytes(source.read_bytes())
    environment = {
        **os.environ,
        "SYSTEM": "air",
        "CLUSTER": "test",
        "MACHINE_NAME": "air-01",
        "MACHINE_ADDRESS": cluster.machines[0].address,
        "ETCD_ENDPOINTS": f"https://{cluster.machines[0].address}:{cluster.client_port}",
        "ARGOSY_AGENT": json.dumps({"root": str(site.root), "etcd_seconds": 2}),
    }

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "argosy.agent", "templates", "--once"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    return run


def test_once_says_what_came_of_each_and_ends_with_0_or_1(
    site: Site, store: Etcd, cluster: EtcdCluster, once: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    store.put("/settings/a", "1")
    path = site.resource("a", "{{ getv('/settings/a') }} {{ machine_name }} {{ cluster }}\n", 'reload_cmd = "true"')
    done = once()
    assert (done.returncode, done.stdout) == (0, "conf.d/a.toml: written and reloaded\n")
    assert path.read_text() == "1 air-01 test\n"
    done = once()
    assert (done.returncode, done.stdout) == (0, "conf.d/a.toml: as it should be\n")
    site.resource("b", "{{ getv('/settings/none') }}")
    done = once()
    assert (done.returncode, done.stdout) == (1, "conf.d/a.toml: as it should be\n")
    assert "conf.d/b.toml: templates/b.j2:1: there is no key /settings/none" in done.stderr
    cluster.stop()
    try:
        done = once()
    finally:
        cluster.start()
        cluster.wait_until_healthy()
    assert done.returncode == 1
    assert done.stderr.startswith("nothing was rendered: etcd of cluster test does not answer")


@pytest.mark.parametrize("kind", ["check_cmd", "reload_cmd"])
def test_killed_before_or_after_the_file_is_replaced_the_reload_is_made_by_the_next_one(
    site: Site, store: Etcd, once: Callable[[], subprocess.CompletedProcess[str]], kind: str
) -> None:
    killed, reloaded = site.root / "killed", site.root / "reloaded"
    kill = f"test -e {killed} || {{ touch {killed}; kill -9 $PPID; exit 1; }}"
    after = f" && echo >> {reloaded}" if kind == "reload_cmd" else ""
    lines = [f'{kind} = "{kill}{after}"']
    if kind == "check_cmd":
        lines.append(f'reload_cmd = "echo >> {reloaded}"')
    path = site.resource("a", "new", *lines)
    assert once().returncode == -signal.SIGKILL
    assert path.exists() == (kind == "reload_cmd")
    assert site.pending == ([str(path)] if kind == "reload_cmd" else [])
    assert not reloaded.exists()
    done = once()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"conf.d/a.toml: {'reloaded' if kind == 'reload_cmd' else 'written and reloaded'}\n"
    assert path.read_text() == "new"
    assert reloaded.read_text() == "\n"
    assert site.pending == []
    assert only_file(path)


def test_killed_right_after_the_file_is_replaced_the_reload_is_noted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloaded = site.root / "reloaded"
    path = site.resource("a", "new", f'reload_cmd = "echo >> {reloaded}"')
    put = template_files.put

    def killed(folder: int, staged: str, name: str) -> None:
        put(folder, staged, name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(template_files, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            site.keep()
    assert (path.read_text(), site.pending, reloaded.exists()) == ("new", [str(path)], False)
    assert site.keep()["a"] == Outcome(reloaded=True)


@pytest.fixture
def container() -> Iterator[str]:
    try:
        with connect() as engine:
            if not engine.images.list(BASE):
                pytest.skip(f"no image {BASE} here: `make base` makes it")
            script = "trap 'echo hup >> /said' HUP; touch /ready; while :; do sleep 0.05; done"
            labels = {SYSTEM_LABEL: "test-templates", "argosy.test": "1"}
            made = engine.containers.run(BASE, ["/bin/sh", "-c", script], detach=True, labels=labels)
            try:
                until(lambda: made.exec_run(["test", "-e", "/ready"]).exit_code == 0)
                yield str(made.name)
            finally:
                made.remove(force=True)
    except EngineError as error:
        if "no Docker engine answers" not in str(error):
            raise
        pytest.skip(str(error))


def test_a_container_is_signalled(container: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert container_command(["signal", container, "HUP"]) == 0
    with connect() as engine:
        made = engine.containers.get(container)
        until(lambda: made.exec_run(["cat", "/said"]).output == b"hup\n")
        assert container_command(["signal", container, "NOSUCH"]) == 1
        assert "NOSUCH" in capsys.readouterr().err
        made.kill()
    assert container_command(["signal", container, "HUP"]) == 1
    assert capsys.readouterr().err == f"container {container} is not running\n"
    assert container_command(["signal", "--if-running", container, "HUP"]) == 0
    assert container_command(["signal", "--if-running", "none-such-container", "HUP"]) == 0


def test_a_command_is_run_in_a_container(container: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert container_command(["exec", container, "/bin/sh", "-c", "echo $0; seq 500; exit 3", "--word"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("--word", "500")
    assert container_command(["exec", "none-such-container", "true"]) == 1
    assert "none-such-container" in capsys.readouterr().err
    assert container_command(["exec", container]) == 1
