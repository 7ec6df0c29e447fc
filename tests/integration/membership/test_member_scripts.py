"""What is run on machines when the members change: under a real shell, with stand-ins for systemctl and docker."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy import machine_etcd, machine_goodbye
from argosy.etcd import Entry
from argosy.service_unit import marker

pytestmark = pytest.mark.integration

SYSTEMCTL = """\
#!/bin/sh
if [ "$1" = cat ]; then [ -e "{folder}/units/$2" ]; exit; fi
echo "$*" >>{folder}/calls
"""
DOCKER = """\
#!/bin/sh
echo "$*" >>{folder}/calls
for word in "$@"; do case $word in *:/var/lib/etcd) data=${{word%:*}} ;; esac; done
mkdir -p "$data/restored/member/snap"
echo new >"$data/restored/member/snap/db"
"""


@dataclass
class Scene:
    """A machine's folders. `calls`: what systemctl, docker and pull-image were asked to do."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("units", "bin", "programs", "etc/secrets", "lib/etcd"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "calls").touch()
        self.program("bin/systemctl", SYSTEMCTL.format(folder=self.folder))
        self.program("bin/docker", DOCKER.format(folder=self.folder))
        self.program("programs/pull-image", f"#!/bin/sh\necho pull $1 >>{self.folder}/calls\n")

    def program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def unit(self, name: str, first_line: str = "[Unit]") -> None:
        (self.folder / "units" / name).write_text(f"{first_line}\n[Service]\n")

    def run(self, script: str, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        argv = ["sh", "-c", script, "argosy", *map(str, words)]
        return subprocess.run(argv, env=environment, check=check, capture_output=True, text=True)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def data(self) -> Path:
        return self.folder / "lib" / "etcd"

    def member(self, content: str = "old") -> None:
        (self.data / "member").mkdir()
        (self.data / "member" / "db").write_text(content)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_services_stop_before_what_routes_to_them_and_stay_stopped(scene: Scene) -> None:
    for name in ("web", "backend", "router", "agent"):
        scene.unit(f"air-{name}.service", marker("air"))
    for name in ("etcd.service", "installer.service", "secrets.path", "secrets.service", "theirs.service"):
        scene.unit(f"air-{name}")
    scene.unit("airship-web.service", marker("airship"))
    words = ("air", scene.folder / "units", marker("air"), "agent", "router", "dns")
    scene.run(machine_goodbye.STOP_SERVICES, *words)
    assert scene.calls == [
        "--quiet disable --now air-secrets.path",
        "stop air-secrets.service",
        "stop air-installer.service",
        "--quiet disable --now -- air-backend.service air-web.service",
        "--quiet disable --now -- air-agent.service air-router.service",
    ]


def test_a_machine_with_nothing_on_it_is_left_without_a_word(scene: Scene) -> None:
    scene.run(machine_goodbye.STOP_SERVICES, "air", scene.folder / "units", marker("air"), "agent")
    scene.run(machine_goodbye.LEAVE, "air", scene.folder / "etc", scene.folder / "lib")
    scene.run(machine_etcd.START, "air")
    scene.run(machine_etcd.STOP_ETCD, "air")
    scene.run(machine_etcd.RESTART_AGENT, "air")
    assert scene.calls == []


def test_what_the_machine_was_trusted_with_goes_with_etcd(scene: Scene) -> None:
    scene.unit("air-etcd.service")
    scene.member()
    (scene.folder / "etc/secrets/registry").mkdir()
    for name in (".complete", "ca.crt", "registry/config.json"):
        (scene.folder / "etc/secrets" / name).write_text("x")
    (scene.folder / "lib/install.json").write_text("{}")
    for _ in range(2):
        scene.run(machine_goodbye.LEAVE, "air", scene.folder / "etc", scene.folder / "lib")
        assert list((scene.folder / "etc/secrets").iterdir()) == []
        assert list(scene.data.iterdir()) == []
        assert not (scene.folder / "lib/install.json").exists()
    assert scene.calls[0] == "--quiet disable --now air-etcd.service"


def test_the_members_are_written_in_place_and_nothing_else(scene: Scene) -> None:
    path = scene.folder / "etc/machine.env"
    path.write_text("SYSTEM=air\nETCD_ENDPOINTS=https://10.0.0.1:2379\nREGISTRY=r:5000\n")
    assert scene.run(machine_etcd.READ_ENDPOINTS, path).stdout == "https://10.0.0.1:2379\n"
    wanted = "https://10.0.0.1:2379,https://10.0.0.2:2379"
    scene.run(machine_etcd.WRITE_ENDPOINTS, path, wanted)
    assert path.read_text() == f"SYSTEM=air\nETCD_ENDPOINTS={wanted}\nREGISTRY=r:5000\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [it.name for it in path.parent.iterdir() if it.is_file()] == ["machine.env"]


def test_a_machine_env_without_the_members_is_left_alone(scene: Scene) -> None:
    path = scene.folder / "etc/machine.env"
    path.write_text("SYSTEM=air\n")
    done = scene.run(machine_etcd.WRITE_ENDPOINTS, path, "x", check=False)
    assert done.returncode == 1
    assert "has no ETCD_ENDPOINTS" in done.stderr
    assert path.read_text() == "SYSTEM=air\n"


def test_data_is_found_and_set_aside_once(scene: Scene) -> None:
    assert scene.run(machine_etcd.OBSERVE, scene.data).stdout == ""
    scene.member("first")
    assert scene.run(machine_etcd.OBSERVE, scene.data).stdout == "data\n"
    for stamp in ("1", "1", "2"):
        scene.run(machine_etcd.SET_ASIDE, scene.data, stamp)
    assert (scene.data / "aside-1" / "db").read_text() == "first"
    scene.member("second")
    scene.run(machine_etcd.SET_ASIDE, scene.data, "2")
    assert [it.name for it in scene.data.iterdir()] == ["aside-2"]


def test_what_starts_an_install_again_leaves_out_what_is_not_there(scene: Scene) -> None:
    scene.unit("air-installer.service")
    scene.run(machine_etcd.START, "air")
    assert scene.calls == ["start --no-block air-installer.service"]


def test_only_a_member_with_its_secrets_and_room_takes_a_snapshot(scene: Scene) -> None:
    etc = scene.folder / "etc"
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\n")
    words = (etc, scene.data, "1")
    assert "not set up to run etcd" in scene.run(machine_etcd.PREPARE, *words, check=False).stderr
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\nETCD_NAME=air-01\n")
    assert "its secrets are not complete" in scene.run(machine_etcd.PREPARE, *words, check=False).stderr
    (etc / "secrets/.complete").touch()
    scene.run(machine_etcd.PREPARE, *words)
    done = scene.run(machine_etcd.PREPARE, etc, scene.data, "999999999", check=False)
    assert "999999999 MB are needed" in done.stderr


def test_restored_data_takes_the_place_of_the_present_at_the_end(scene: Scene) -> None:
    etc = scene.folder / "etc"
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\nETCD_NAME=air-01\n")
    snapshot = scene.data / "snapshot.db"
    snapshot.write_text("snapshot")
    scene.member("old")
    cluster = "air-01=https://10.0.0.1:2380"
    for _ in range(2):
        words = (etc, scene.folder / "programs", scene.data, snapshot, "air-01", cluster, "token", "https://p")
        scene.run(machine_etcd.RESTORE, *words)
        assert (scene.data / "member" / "db").read_text() == "old"
    pulled, ran = scene.calls[:2]
    assert pulled == "pull r:5000/air/etcd@sha256:1"
    assert "--entrypoint etcdctl r:5000/air/etcd@sha256:1 snapshot restore /snapshot.db" in ran
    assert ran.endswith(
        f"--data-dir /var/lib/etcd/restored --name air-01 --initial-cluster {cluster} "
        "--initial-cluster-token token --initial-advertise-peer-urls https://p"
    )
    for _ in range(2):
        scene.run(machine_etcd.USE_RESTORED, "air", scene.data, "7")
        assert (scene.data / "member" / "snap" / "db").read_text() == "new\n"
        assert (scene.data / "aside-7" / "db").read_text() == "old"
        assert sorted(it.name for it in scene.data.iterdir()) == ["aside-7", "member"]
    assert scene.calls[-2:] == ["--quiet enable air-etcd.service", "start --no-block air-etcd.service"]


def test_nothing_is_started_where_nothing_was_restored(scene: Scene) -> None:
    done = scene.run(machine_etcd.USE_RESTORED, "air", scene.data, "7", check=False)
    assert (done.returncode, done.stderr) == (1, "nothing was restored\n")


def test_the_scripts_are_given_the_folders_of_the_system() -> None:
    assert machine_goodbye.leave("air")[4:] == ["air", "/etc/air", "/var/lib/air"]
    assert machine_goodbye.stop_services("air", ["agent"])[4:] == [
        "air",
        "/etc/systemd/system",
        marker("air"),
        "agent",
    ]
    assert machine_etcd.write_endpoints("air", "x")[4:] == ["/etc/air/machine.env", "x"]
    assert machine_etcd.restore("air", "n", "c", "t", "p")[4:] == [
        "/etc/air",
        "/opt/air/bin",
        "/var/lib/air/etcd",
        "/var/lib/air/etcd/snapshot.db",
        "n",
        "c",
        "t",
        "p",
    ]


def test_the_keys_of_a_machine_are_its_own_alone() -> None:
    keys = [
        "/machines/air-1",
        "/machines/air-10",
        "/routers/air-1",
        "/routers/air-1/problems",
        "/routers/air-10",
        "/services/web/hosts/air-1:air-web",
        "/services/web/weight/air-1:air-web",
        "/services/web/drain/air-1:air-web",
        "/services/web/hosts/air-10:air-web",
        "/services/web/hosts/by-hand",
        "/services/web/scheme",
        "/services/air-1:x/host_port",
    ]
    found = machine_goodbye.keys_of("air-1", [Entry(key, "", 1, 1) for key in keys])
    assert found == [keys[0], keys[2], keys[3], *keys[5:8]]
