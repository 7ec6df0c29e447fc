"""Files that follow a real etcd through the agent's own mirror."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster
from template_site import Site, holds
from waiting import until

from argosy import etcd
from argosy.agent.mirror import Mirror
from argosy.agent.templates import commands
from argosy.agent.templates.functions import ResourceTemplate
from argosy.agent.templates.keeping import Keeper, Outcome
from argosy.agent.templates.resources import Resource
from argosy.agent.templates.watching import Timing
from argosy.etcd import Entry, Etcd

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


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
        told = {problem.resource: problem.reason for problem in templates.problems()}
        assert told["conf.d/divided.toml"].startswith("conf.d/divided.toml: templates/divided.j2:1: integer division")
        assert told["conf.d/bad.toml"].startswith("conf.d/bad.toml:2: unknown key 'source'")
        assert "templates/broken.j2:1:" in told["conf.d/broken.toml"]
        store.put("/settings/n", "3")
        until(holds(divided, "2"))
        until(lambda: len(templates.problems()) == 2)
        status = templates.status()
        assert {file["resource"]: file["writes"] for file in status["files"]}["conf.d/divided.toml"] == 2
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
        return commands.run(command, say, deadline_seconds=2)

    with site.watching(mirror, Keeper(site.state, run)) as templates:
        until(started.exists)
        store.put("/settings/a", "1")
        until(holds(quick, "1"), seconds=1)
        until(
            lambda: any("did not end within 2 s and was killed" in problem.reason for problem in templates.problems())
        )


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
        assert [file["resource"] for file in templates.status()["files"]] == ["conf.d/two.toml"]


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
