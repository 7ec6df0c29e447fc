"""The scripts of an upgrade, run by this host's shell with their folders moved and the OS's programs stood in for."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_host import FakeMachine

from argosy.cluster.release import Release
from argosy.draining.scripts import connections, parse_connections
from argosy.machine.images import remove_images
from argosy.paths import Names
from argosy.rendering.service_unit import marker
from argosy.rollouts import scripts
from argosy.stamps import clock_skew_seconds

NAMES = Names("air")
NEW = Release("0.1.3", "r:5000/air/installer/test@sha256:new")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> FakeMachine:
    machine = FakeMachine(tmp_path)
    for folder in ("var/lib/air", "etc/air", "opt/air/bin"):
        machine.path(folder).mkdir(parents=True)
    return machine


class TestLooking:
    def test_all_is_told_at_once(self, place: FakeMachine) -> None:
        place.program("docker", "echo /")
        place.program("pull-image", 'echo "$@" >>"$calls"; printf 200', "/opt/air/bin")
        place.write("/etc/air/release.env", "RELEASE_VERSION=0.1.1\nRELEASE_IMAGE=first\n")
        place.write("/var/lib/air/release.env", "RELEASE_VERSION=0.1.2\nRELEASE_IMAGE=r:5000/air/old\n")
        place.write("/var/lib/air/install.json", json.dumps({"state": "active", "release": "0.1.2"}) + "\n")
        before = datetime.now(UTC)
        looked = scripts.parse_looked(place.run_script(scripts.look(NAMES, NEW.image)).stdout)
        assert before - timedelta(seconds=1) < looked.now < datetime.now(UTC) + timedelta(seconds=1)
        assert looked.free_root > 0
        assert looked.free_docker == pytest.approx(looked.free_root, rel=0.2)  # others write meanwhile
        assert looked.release == Release("0.1.2", "r:5000/air/old")
        assert looked.installed
        assert looked.registry == "200"
        assert place.calls == [f"--ask {NEW.image}"]

    def test_a_machine_without_docker_or_an_install_says_what_it_can(self, place: FakeMachine) -> None:
        place.program("docker", "exit 1")
        place.write("/etc/air/release.env", "RELEASE_VERSION=0.1.1\nRELEASE_IMAGE=first\n")
        place.write("/var/lib/air/install.json", "{broken")
        looked = scripts.parse_looked(place.run_script(scripts.look(NAMES, "")).stdout)
        assert looked.free_docker is None
        assert looked.release == Release("0.1.1", "first")
        assert not looked.installed
        assert looked.registry == ""

    def test_a_machine_without_curl_says_so(self, place: FakeMachine) -> None:
        place.program("docker", "echo /")
        assert scripts.parse_looked(place.run_script(scripts.look(NAMES, "")).stdout).lacks == ""
        place.path("/undeclared/curl").unlink()
        assert scripts.parse_looked(place.run_script(scripts.look(NAMES, NEW.image)).stdout).lacks == "curl"

    def test_units_are_compared_with_what_the_installer_wrote_down(self, place: FakeMachine) -> None:
        place.program("docker", "echo /")
        mark, units = marker("air"), "/etc/systemd/system"

        def drifted() -> tuple[str, ...] | None:
            return scripts.parse_looked(place.run_script(scripts.look(NAMES, "")).stdout).drifted

        assert drifted() is None
        texts = {f"air-{name}.service": f"{mark}\n# {name}\n" for name in ("web", "api", "db")}
        for name, text in texts.items():
            place.write(f"{units}/{name}", text)
        place.write(f"{units}/air-installer.service", "[Unit]\n")
        place.write(f"{units}/other-web.service", f"{mark}\n")
        digests = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in texts.items()]
        place.write("/var/lib/air/units.sha256", "".join(digests))
        assert drifted() == ()
        place.write(f"{units}/air-web.service", f"{mark}\n# web\n# by hand\n")
        place.write(f"{units}/air-old.service", f"{mark}\n# of another release\n")
        place.path(f"{units}/air-db.service").unlink()
        assert drifted() == ("air-db.service", "air-old.service", "air-web.service")

    @pytest.mark.parametrize(("state", "release"), [("failed", "0.1.2"), ("active", "0.1.1"), (None, None)])
    def test_only_a_result_of_its_own_release_counts(self, state: str | None, release: str | None) -> None:
        record = {"state": state, "release": release}
        assert not scripts.Looked(NOW, 1, 1, Release("0.1.2"), record).installed

    @pytest.mark.parametrize("text", ["", "now=1", "sh: not found"])
    def test_half_an_answer_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="told only"):
            scripts.parse_looked(text)

    @pytest.mark.parametrize(
        ("offset", "skew"), [(-3600, -3600), (-0.5, -0.5), (0, 0), (1, 0), (2, 0), (2.5, 0.5), (3602, 3600)]
    )
    def test_a_clock_is_off_only_as_far_as_is_sure(self, offset: float, skew: float) -> None:
        said, answered = NOW + timedelta(seconds=offset), NOW + timedelta(seconds=2)
        assert clock_skew_seconds(said, NOW, answered) == pytest.approx(skew)

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ("200", ""),
            ("401", "refuses its password: inv cluster.upload-secrets"),
            ("404", "does not have release 0.1.3: inv registry.push"),
            ("500", r"can't reach the registry r:5000 \(HTTP status 500\)"),
            ("", r"can't reach the registry r:5000 \(no answer\)"),
            ("000", r"can't reach the registry r:5000 \(no answer\)"),
        ],
    )
    def test_the_registry_s_answer_is_put_in_words(self, status: str, words: str) -> None:
        import re

        problem = scripts.registry_problem(status, "r:5000", "0.1.3")
        assert re.search(words, problem) if words else problem == ""


class TestInstalling:
    def begin(self, place: FakeMachine, held: str = '{"id": "abc", "holder": "x"}', state: str = "inactive") -> int:
        place.program("etcdctl", f"echo '{held}'", "/opt/air/bin")
        place.program("systemctl", f'case $1 in show) echo {state} ;; *) echo "$@" >>"$calls" ;; esac')
        return place.run_script(scripts.install(NAMES, NEW, "abc")).returncode

    def test_the_release_is_put_in_one_step_and_the_installer_restarted(self, place: FakeMachine) -> None:
        place.write("/var/lib/air/install.json", "{}")
        assert self.begin(place) == 0
        written = place.path("/var/lib/air/release.env")
        assert written.read_text() == f"RELEASE_VERSION=0.1.3\nRELEASE_IMAGE={NEW.image}\n"
        assert written.stat().st_mode & 0o777 == 0o644
        assert sorted(path.name for path in written.parent.iterdir()) == ["release.env"]
        assert place.calls[-1] == "restart --no-block air-installer.service"

    def test_who_does_not_hold_the_lock_begins_nothing(self, place: FakeMachine) -> None:
        assert self.begin(place, held='{"id": "other"}') == scripts.LOCK_IS_ANOTHER_S
        assert self.begin(place, held="") == scripts.LOCK_IS_ANOTHER_S
        assert not place.path("/var/lib/air/release.env").exists()
        assert place.calls == []

    def test_nor_does_who_can_t_be_told_from_others(self, place: FakeMachine) -> None:
        place.program("etcdctl", "echo no quorum >&2; exit 1", "/opt/air/bin")
        ended = place.run_script(scripts.install(NAMES, NEW, "abc"))
        assert (ended.returncode, ended.stderr) == (75, "no quorum\n")

    def test_an_install_of_the_same_release_that_goes_on_is_left_alone(self, place: FakeMachine) -> None:
        assert self.begin(place) == 0
        said = place.calls
        assert self.begin(place, state="activating") == 0
        assert place.calls == said
        assert self.begin(place, state="inactive") == 0
        assert len(place.calls) > len(said)

    def test_one_of_another_release_is_cut_off(self, place: FakeMachine) -> None:
        place.write("/var/lib/air/release.env", "RELEASE_VERSION=0.1.2\nRELEASE_IMAGE=old\n")
        assert self.begin(place, state="activating") == 0
        assert place.calls[-1] == "restart --no-block air-installer.service"


SYSTEMCTL = """case $1 in
    is-active)
        shift
        for unit in "$@"; do
            case $unit in zincati.service | apt-daily.timer) echo active ;; *) echo inactive ;; esac
        done ;;
    *) echo "$@" >>"$calls" ;;
esac"""


class TestUpdates:
    def test_what_ran_is_stopped_and_started_again(self, place: FakeMachine) -> None:
        place.program("systemctl", SYSTEMCTL)
        for _ in range(2):
            assert place.run_script(scripts.hold_updates(NAMES)).returncode == 0
        assert place.calls[-1] == "stop zincati.service apt-daily.timer"
        assert place.path("/run/air/held-updates").read_text() == "zincati.service\napt-daily.timer\n"
        assert place.run_script(scripts.let_updates(NAMES)).returncode == 0
        assert place.calls[-2:] == ["start --no-block zincati.service", "start --no-block apt-daily.timer"]
        said = place.calls
        assert place.run_script(scripts.let_updates(NAMES)).returncode == 0
        assert place.calls == said


DOCKER = """case $1$2 in
    ps--all) echo c1 ;;
    inspect--format) echo r:5000/air/web@sha256:used ;;
    imagels)
        for name in web@sha256:used web@sha256:old api@sha256:kept api@sha256:busy; do echo "r:5000/air/$name"; done
        echo other/thing@sha256:1
        echo r:5000/air/web@'<none>' ;;
    imagerm) case $3 in *busy) exit 1 ;; esac; echo "$3" >>"$calls" ;;
esac"""


class TestCleaningUp:
    def test_only_the_system_s_images_that_nobody_needs_go(self, place: FakeMachine) -> None:
        place.program("docker", DOCKER)
        done = place.run_script(remove_images("r:5000", "air", ["r:5000/air/api@sha256:kept"]))
        assert done.stdout == "1\n"
        assert place.calls == ["r:5000/air/web@sha256:old"]


class TestConnections:
    def test_the_machine_s_agent_is_asked(self) -> None:
        *_, limit, option, path, url = connections(NAMES, 60)
        assert (limit, option) == ("70", "--unix-socket")
        assert (path, url) == ("/run/air/agent/agent.sock", "http://agent/connections?seconds=60")

    @pytest.mark.parametrize(
        ("text", "left"),
        [('{"connections": 7}\n', 7), ('{"error": "no"}', None), ("nothing of this name", None), ("[1]", None)],
    )
    def test_what_it_tells_is_a_number_or_nothing(self, text: str, left: int | None) -> None:
        assert parse_connections(text) == left
