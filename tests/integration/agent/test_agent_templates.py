"""Files that follow a real etcd through the agent's own mirror, and what must not go wrong on the way to the disk."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from etcd_cluster import EtcdCluster
from image_project import BASE
from waiting import until

from argosy import etcd, pki
from argosy.agent import template_commands, template_files
from argosy.agent.container_commands import main as container_command
from argosy.agent.mirror import Mirror
from argosy.agent.template_functions import ResourceTemplate
from argosy.agent.template_keeping import Keeper, Outcome
from argosy.agent.template_loading import load
from argosy.agent.template_resources import Resource
from argosy.agent.templates import Templates, Timing, render_once
from argosy.engine import SYSTEM_LABEL
from argosy.engine_connection import connect
from argosy.errors import EngineError
from argosy.etcd import Entry, Etcd

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

QUICK = Timing(settle=0.02, pause=0.05, retry=0.05, longest_retry=0.2, again=60, folder=0.1)
NOBODY = 65534


class Site:
    """A machine's folders below one of the test's own, as the agent of the system `air` sees them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / "var/lib/air/files"
        self.folder = root / "var/lib/air/templates"
        self.state = root / "var/lib/agent"
        self.state.mkdir(parents=True)

    def resource(self, name: str, template: str, *lines: str, keys: str = "/settings", dest: str = "") -> Path:
        """Write a resource and its template; return the path of the file that it makes."""
        for part in ("conf.d", "templates"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        dest = dest or f"{name}/{name}.conf"
        body = ["[template]", f'src = "{name}.j2"', f'dest = "{dest}"', f'keys = ["{keys}"]', *lines]
        (self.folder / f"templates/{name}.j2").write_text(template)
        (self.folder / f"conf.d/{name}.toml").write_text("\n".join(body) + "\n")
        return self.files / dest

    def keep(self, keeper: Keeper | None = None, **values: str) -> dict[str, Outcome]:
        """Do what once mode does, with these keys below /settings/; return the outcomes by the resource's bare name."""
        entries = {f"/settings/{name}": Entry(f"/settings/{name}", value, 1, 1) for name, value in values.items()}
        found = load(self.folder, [PurePosixPath(self.files)], {"system": "air"})
        outcomes = render_once(found, keeper or Keeper(self.state), entries)
        return {Path(name).stem: outcome for name, outcome in outcomes.items()}

    @contextmanager
    def watching(self, mirror: Mirror, keeper: Keeper | None = None, timing: Timing = QUICK) -> Iterator[Templates]:
        facts = {"system": "air"}
        files = [PurePosixPath(self.files)]
        templates = Templates(self.folder, mirror, keeper or Keeper(self.state), facts, files, timing)
        templates.start()
        try:
            yield templates
        finally:
            templates.stop()

    @property
    def pending(self) -> list[str]:
        path = self.state / "templates.json"
        return list(json.loads(path.read_text())["pending"]) if path.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "machine")


@pytest.fixture
def cluster(cluster: EtcdCluster) -> Iterator[EtcdCluster]:
    """The shared etcd, which a test may kill."""
    yield cluster
    if not cluster.processes:
        cluster.start()
        cluster.wait_until_healthy()


@pytest.fixture
def mirror(cluster: EtcdCluster, store: Etcd) -> Iterator[Mirror]:
    with etcd.connect(cluster.settings(), cluster.machines) as client:
        made = Mirror(client, retry_seconds=0.1)
        made.start()
        yield made
        made.stop()


def holds(path: Path, text: str) -> Callable[[], bool]:
    return lambda: path.is_file() and path.read_text() == text


def only_file(path: Path) -> bool:
    """Return whether nothing lies beside the file: no leftover."""
    return [it.name for it in path.parent.iterdir()] == [path.name]


# Watch mode


class Counting(Keeper):
    """Counts how often each resource is looked at."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.looks: dict[str, int] = {}

    def keep(self, resource: Resource, template: ResourceTemplate, entries: Mapping[str, Entry] | None) -> Outcome:
        self.looks[Path(resource.name).stem] = self.looks.get(Path(resource.name).stem, 0) + 1
        return super().keep(resource, template, entries)


def test_a_change_reaches_its_file_and_no_other_is_looked_at(site: Site, store: Etcd, mirror: Mirror) -> None:
    store.put("/settings/a", "1")
    mine = site.resource("mine", "{{ getv('/settings/a') }}", keys="/settings/a")
    other = site.resource("other", "{{ getvs('/services/*/scheme') | join }}", keys="/services")
    keeper = Counting(site.state)
    # What the mirror reads first may concern every file.
    until(lambda: "/settings/a" in mirror.snapshot()[1])
    with site.watching(mirror, keeper):
        until(lambda: holds(mine, "1")() and holds(other, "")())
        looks = dict(keeper.looks)
        store.put("/settings/a", "2")
        until(holds(mine, "2"), seconds=1)
        assert keeper.looks["mine"] == looks["mine"] + 1
        assert keeper.looks["other"] == looks["other"]
        store.put("/services/web/scheme", "http")
        until(holds(other, "http"), seconds=1)
        store.delete("/services/web/scheme")
        until(holds(other, ""), seconds=1)


def test_a_burst_ends_in_the_last_value_with_few_reloads(site: Site, store: Etcd, mirror: Mirror) -> None:
    reloads = site.root / "reloads"
    path = site.resource("a", "{{ getv('/settings/a', '') }}", f'reload_cmd = "echo >> {reloads}"')
    with site.watching(mirror, timing=Timing(settle=0.05, pause=0.3)) as templates:
        until(holds(path, ""))
        for number in range(500):
            store.put("/settings/a", str(number))
        until(holds(path, "499"))
        until(lambda: not site.pending)
        assert templates.problems() == ()
        assert 2 <= len(reloads.read_text()) < 20


def test_a_bad_key_or_template_keeps_its_file_and_harms_no_other(site: Site, store: Etcd, mirror: Mirror) -> None:
    store.put("/settings/n", "2")
    divided = site.resource("divided", "{{ 6 // getv('/settings/n') | int }}")
    plain = site.resource("plain", "{{ getv('/settings/n') }}")
    site.resource("broken", "{% if %}")
    (site.folder / "conf.d/bad.toml").write_text("[template]\nsource = 1\n")
    with site.watching(mirror) as templates:
        until(lambda: holds(divided, "3")() and holds(plain, "2")())
        store.put("/settings/n", "0")
        until(holds(plain, "0"))
        until(lambda: len(templates.problems()) == 3)
        assert divided.read_text() == "3"
        told = {it.resource: it.reason for it in templates.problems()}
        assert told["conf.d/divided.toml"].startswith("conf.d/divided.toml: templates/divided.j2:1: integer division")
        assert told["conf.d/bad.toml"].startswith("conf.d/bad.toml:2: unknown key 'source'")
        assert "templates/broken.j2:1:" in told["conf.d/broken.toml"]
        store.put("/settings/n", "3")
        until(holds(divided, "2"))
        until(lambda: len(templates.problems()) == 2)
        status = templates.status()
        assert {it["resource"]: it["writes"] for it in status["files"]}["conf.d/divided.toml"] == 2
        assert len(status["problems"]) == 2


def test_a_reload_that_fails_is_made_until_it_succeeds_though_nothing_changes(
    site: Site, store: Etcd, mirror: Mirror
) -> None:
    ready, done = site.root / "ready", site.root / "done"
    path = site.resource("a", "x", f'reload_cmd = "test -e {ready} && echo >> {done}"')
    with site.watching(mirror) as templates:
        until(lambda: bool(templates.problems()))
        assert path.read_text() == "x"
        assert site.pending == [str(path)]
        assert "reload_cmd `test -e" in templates.problems()[0].reason
        assert "it ended with 1; it is tried again" in templates.problems()[0].reason
        ready.touch()
        until(lambda: not templates.problems())
        assert done.read_text() == "\n"
        assert site.pending == []


def test_a_command_that_hangs_keeps_no_other_file_waiting(site: Site, store: Etcd, mirror: Mirror) -> None:
    started = site.root / "started"
    site.resource("slow", "{{ getv('/settings/a', '') }}", f'reload_cmd = "touch {started}; exec sleep 60"')
    quick = site.resource("quick", "{{ getv('/settings/a', '') }}")

    def run(command: str, say: Callable[[str], None]) -> str:
        return template_commands.run(command, say, deadline_seconds=2)

    with site.watching(mirror, Keeper(site.state, run)) as templates:
        until(started.exists)
        store.put("/settings/a", "1")
        until(holds(quick, "1"), seconds=1)
        until(lambda: any("did not end within 2 s and was killed" in it.reason for it in templates.problems()))


def test_another_release_is_noticed(site: Site, store: Etcd, mirror: Mirror) -> None:
    slots = [Site(site.root / "slots" / name) for name in "ab"]
    first, second = slots[0].resource("one", "1"), slots[1].resource("two", "2")
    site.folder.mkdir(parents=True)
    (site.folder / "current").symlink_to(slots[0].folder)
    with site.watching(mirror) as templates:
        until(holds(site.files / first.relative_to(slots[0].files), "1"))
        (site.folder / "next").symlink_to(slots[1].folder)
        (site.folder / "next").replace(site.folder / "current")
        until(holds(site.files / second.relative_to(slots[1].files), "2"))
        assert [it["resource"] for it in templates.status()["files"]] == ["conf.d/two.toml"]


def test_what_somebody_did_to_a_file_is_undone(site: Site, store: Etcd, mirror: Mirror) -> None:
    path = site.resource("a", "mine")
    with site.watching(mirror, timing=Timing(again=0.1)):
        until(holds(path, "mine"))
        path.write_text("theirs")
        until(holds(path, "mine"))
        path.chmod(0o666)
        until(lambda: stat.S_IMODE(path.stat().st_mode) == 0o644)
        path.unlink()
        until(holds(path, "mine"))


def test_without_etcd_nothing_is_rendered_but_reloads_are_made(site: Site, cluster: EtcdCluster) -> None:
    done = site.root / "done"
    path = site.resource("a", "{{ getvs('/settings/*') | join }}", f'reload_cmd = "echo >> {done}"')
    site.keep(a="1")
    (site.state / "templates.json").write_text(json.dumps({"pending": [str(path)]}))
    cluster.stop()
    with etcd.connect(cluster.settings(), cluster.machines) as client:
        mirror = Mirror(client, retry_seconds=0.1)
        mirror.start()
        with site.watching(mirror) as templates:
            until(lambda: done.read_text() == "\n\n")
            until(lambda: not site.pending)
            assert path.read_text() == "1"
            path.unlink()
            threading.Event().wait(0.3)  # nothing is to happen in it
            assert not path.exists()
            assert templates.problems() == ()
        mirror.stop()
        until(lambda: not any(thread.name == "mirror" for thread in threading.enumerate()))


def test_with_etcd_gone_files_stay_and_it_goes_on_when_etcd_is_back(
    site: Site, store: Etcd, mirror: Mirror, cluster: EtcdCluster
) -> None:
    store.put("/settings/a", "1")
    path = site.resource("a", "{{ getvs('/settings/*') | join }}")
    with site.watching(mirror, timing=Timing(again=0.1, pause=0.05)):
        until(holds(path, "1"))
        cluster.stop()
        until(lambda: not mirror.connected)
        path.unlink()
        until(holds(path, "1"))
        cluster.start()
        cluster.wait_until_healthy()
        store.put("/settings/a", "2")
        until(holds(path, "2"))


# One file


def test_owner_group_and_mode_are_as_the_resource_says(site: Site) -> None:
    path = site.resource("a", "x", f"uid = {NOBODY}", 'group = "nogroup"', 'mode = "0640"')
    assert site.keep()["a"] == Outcome(changed=True)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o640)
    assert site.keep()["a"] == Outcome(), "a second run changes nothing"
    os.chown(path, 0, 0)
    assert site.keep()["a"] == Outcome(changed=True)
    assert path.stat().st_uid == NOBODY
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_an_owner_that_nobody_knows_is_told(site: Site) -> None:
    site.resource("a", "x", 'owner = "nosuchuser"')
    assert "knows no user 'nosuchuser': give its number" in site.keep()["a"].reason


def test_a_file_that_its_check_refuses_leaves_the_old_one(site: Site) -> None:
    reloaded = site.root / "reloaded"
    lines = ('check_cmd = "echo looking; grep -q good {{.src}}"', f'reload_cmd = "echo >> {reloaded}"')
    path = site.resource("a", "{{ getv('/settings/a') }}", *lines)
    assert site.keep(a="good 1")["a"] == Outcome(changed=True, reloaded=True)
    inode = path.stat().st_ino
    outcome = site.keep(a="bad")["a"]
    assert outcome.reason.startswith("conf.d/a.toml: check_cmd `echo looking; grep -q good")
    assert "it ended with 1" in outcome.reason
    assert outcome.reason.endswith(f"{path} stays as it was")
    assert (path.read_text(), path.stat().st_ino) == ("good 1", inode)
    assert only_file(path)
    assert site.pending == []
    assert reloaded.read_text() == "\n"


def test_the_file_is_closed_until_its_owner_is_right(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    change = os.fchown

    def watched(descriptor: int, uid: int, gid: int) -> None:
        seen.append((stat.S_IMODE(os.fstat(descriptor).st_mode), os.fstat(descriptor).st_size))
        change(descriptor, uid, gid)

    monkeypatch.setattr(os, "fchown", watched)
    site.resource("a", "secret", f"uid = {NOBODY}")
    assert site.keep()["a"].changed
    assert seen == [(0o600, 6)]


def test_a_link_in_the_file_s_place_is_replaced_and_not_followed(site: Site) -> None:
    elsewhere = site.root / "elsewhere"
    elsewhere.write_text("not ours")
    path = site.resource("a", "x")
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    staged = path.with_name(".a.conf.argosy-new")
    staged.symlink_to(elsewhere)
    assert site.keep()["a"] == Outcome(changed=True)
    assert not path.is_symlink()
    assert (path.read_text(), elsewhere.read_text()) == ("x", "not ours")
    assert only_file(path)


def test_a_folder_that_is_a_link_leads_nowhere(site: Site) -> None:
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir()
    path = site.resource("a", "x")
    site.files.mkdir(parents=True)
    path.parent.symlink_to(elsewhere)
    assert f"{path} can't be written (a): " in site.keep()["a"].reason
    assert list(elsewhere.iterdir()) == []


def test_folders_that_are_missing_are_made_for_everybody_to_read(site: Site) -> None:
    path = site.resource("a", "x", dest="one/two/three/a.conf")
    umask = os.umask(0o077)
    try:
        assert site.keep()["a"].changed
    finally:
        os.umask(umask)
    folders = [it for it in path.parents if it.is_relative_to(site.files / "one")]
    assert [stat.S_IMODE(it.stat().st_mode) for it in folders] == [0o755] * 3


def test_something_that_is_no_file_is_not_replaced(site: Site) -> None:
    path = site.resource("a", "x")
    path.mkdir(parents=True)
    assert "something that is no file is in its place" in site.keep()["a"].reason
    assert path.is_dir()


def test_a_full_disk_keeps_the_old_file_and_the_next_try_is_whole(site: Site) -> None:
    path = site.resource("a", "{{ getv('/settings/a') * 1000 }}", f'reload_cmd = "echo >> {site.root}/reloaded"')
    path.parent.mkdir(parents=True)
    with tiny_disk(path.parent):
        assert site.keep(a="old ")["a"].changed
        reason = site.keep(a="x" * 500)["a"].reason
        assert f"{path} can't be written" in reason
        assert "No space left on device" in reason
        assert path.read_text() == "old " * 1000
        assert only_file(path)
        assert site.pending == []
        subprocess.run(["mount", "-o", "remount,size=4m", path.parent], check=True)
        assert site.keep(a="x" * 500)["a"] == Outcome(changed=True, reloaded=True)


@contextmanager
def tiny_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of 64 kB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_reload_that_can_t_be_noted_keeps_the_old_file(site: Site) -> None:
    path = site.resource("a", "{{ getv('/settings/a') }}", 'reload_cmd = "true"')
    site.keep(a="1")
    site.state.joinpath("templates.json").unlink()
    with tiny_disk(site.state):
        fill(site.state)
        outcome = site.keep(a="2")["a"]
        assert "No space left on device" in outcome.reason
        assert path.read_text() == "1"
        assert only_file(path)


def fill(folder: Path) -> None:
    """Fill the disk of `folder` to its last byte."""
    subprocess.run(["dd", "if=/dev/zero", f"of={folder}/filling", "bs=4k"], capture_output=True, check=False)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pending": 1}'])
def test_a_note_that_can_t_be_understood_means_that_all_reloads_are_due(
    site: Site, store: Etcd, mirror: Mirror, content: str
) -> None:
    done = site.root / "done"
    site.resource("a", "x", f'reload_cmd = "echo >> {done}"')
    site.keep()
    (site.state / "templates.json").write_text(content)
    with site.watching(mirror):
        until(lambda: done.read_text() == "\n\n")
        until(lambda: site.pending == [])


def test_a_command_that_leaves_something_running_or_says_much_is_no_trouble() -> None:
    said: list[str] = []
    assert template_commands.run("sleep 30 & echo done", said.append) == ""
    assert said == ["done"]
    said.clear()
    assert template_commands.run("seq 200000; exit 3", said.append) == "it ended with 3"
    assert said[-1] == "200000"
    assert len(said) < 5000
    assert template_commands.run("kill -TERM $$", said.append) == "it was killed by signal 15"
    assert template_commands.run("exec sleep 60", said.append, deadline_seconds=0.2).startswith("it did not end")


# Once mode, as a process


@pytest.fixture
def once(site: Site, cluster: EtcdCluster, store: Etcd) -> Callable[[], subprocess.CompletedProcess[str]]:
    path = cluster.settings().secrets_path
    pair = pki.ensure_machine_certificates(path, cluster.machines[0])["etcd-client"]
    secrets = site.root / "etc/air/secrets"
    secrets.mkdir(parents=True)
    sources = {"ca.crt": pki.authority_path(path), "etcd-client.crt": pair.certificate, "etcd-client.key": pair.key}
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
    done = once()
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


# argosy-signal, argosy-exec


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
