"""What is run on machines when the members change: under a real shell, with stand-ins for systemctl and docker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fake_host import FakeMachine

from argosy.cloudconfig import shared
from argosy.etcd import Entry
from argosy.membership import etcd_scripts, leaving_scripts
from argosy.paths import Names
from argosy.rendering.service_unit import marker

pytestmark = pytest.mark.integration

SYSTEMCTL = 'if [ "$1" = cat ]; then [ -e "{folder}/units/$2" ]; exit; fi; echo "$*" >>"$calls"'
DOCKER = """\
case $* in *"--entrypoint etcdutl"*version) exit "${ETCDUTL:-0}" ;; esac
echo "$*" >>"$calls"
for word in "$@"; do case $word in *:/var/lib/etcd) data=${word%:*} ;; esac; done
mkdir -p "$data/restored/member/snap"
echo new >"$data/restored/member/snap/db"
"""


class Scene(FakeMachine):
    """A machine's folders. `calls`: what systemctl, docker and pull-image were asked to do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        for name in ("units", "programs", "etc/secrets", "lib/etcd"):
            (folder / name).mkdir(parents=True)
        self.program("systemctl", SYSTEMCTL.format(folder=folder))
        self.program("docker", DOCKER)
        self.program("pull-image", 'echo pull $1 >>"$calls"', "/programs")

    def unit(self, name: str, first_line: str = "[Unit]") -> None:
        self.write(f"/units/{name}", f"{first_line}\n[Service]\n")

    def do(self, script: str, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(["sh", "-c", script, "argosy", *words], check=check)

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
    scene.do(leaving_scripts.STOP_SERVICES, *words)
    assert scene.calls == [
        "--quiet disable --now air-secrets.path",
        "stop air-secrets.service",
        "stop air-installer.service",
        "--quiet disable --now -- air-backend.service air-web.service",
        "--quiet disable --now -- air-agent.service air-router.service",
    ]


def test_a_machine_with_nothing_on_it_is_left_without_a_word(scene: Scene) -> None:
    scene.do(leaving_scripts.STOP_SERVICES, "air", scene.folder / "units", marker("air"), "agent")
    scene.do(leaving_scripts.LEAVE, "air", scene.folder / "etc", scene.folder / "lib")
    scene.do(etcd_scripts.START, "air")
    scene.do(etcd_scripts.STOP_ETCD, "air")
    scene.do(etcd_scripts.RESTART_AGENT, "air")
    assert scene.calls == []


def test_what_the_machine_was_trusted_with_goes_with_etcd(scene: Scene) -> None:
    scene.unit("air-etcd.service")
    scene.member()
    (scene.folder / "etc/secrets/registry").mkdir()
    for name in (".complete", "ca.crt", "registry/config.json"):
        (scene.folder / "etc/secrets" / name).write_text("x")
    (scene.folder / "lib/install.json").write_text("{}")
    for _ in range(2):
        scene.do(leaving_scripts.LEAVE, "air", scene.folder / "etc", scene.folder / "lib")
        assert list((scene.folder / "etc/secrets").iterdir()) == []
        assert list(scene.data.iterdir()) == []
        assert not (scene.folder / "lib/install.json").exists()
    assert scene.calls[0] == "--quiet disable --now air-etcd.service"


def test_the_members_are_written_in_place_and_nothing_else(scene: Scene) -> None:
    path = scene.folder / "etc/machine.env"
    path.write_text("SYSTEM=air\nETCD_ENDPOINTS=https://10.0.0.1:2379\nREGISTRY=r:5000\n")
    assert scene.do(etcd_scripts.READ_ENDPOINTS, path).stdout == "https://10.0.0.1:2379\n"
    wanted = "https://10.0.0.1:2379,https://10.0.0.2:2379"
    scene.do(etcd_scripts.WRITE_ENDPOINTS, path, wanted)
    assert path.read_text() == f"SYSTEM=air\nETCD_ENDPOINTS={wanted}\nREGISTRY=r:5000\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [it.name for it in path.parent.iterdir() if it.is_file()] == ["machine.env"]


def test_members_that_can_t_be_read_are_not_none(scene: Scene) -> None:
    path = scene.folder / "etc/machine.env"
    assert scene.do(etcd_scripts.READ_ENDPOINTS, path).stdout == ""
    path.mkdir()
    assert scene.do(etcd_scripts.READ_ENDPOINTS, path, check=False).returncode != 0


def test_a_machine_env_without_the_members_is_left_alone(scene: Scene) -> None:
    path = scene.folder / "etc/machine.env"
    path.write_text("SYSTEM=air\n")
    done = scene.do(etcd_scripts.WRITE_ENDPOINTS, path, "x", check=False)
    assert done.returncode == 1
    assert "has no ETCD_ENDPOINTS" in done.stderr
    assert path.read_text() == "SYSTEM=air\n"


def test_data_is_found_and_set_aside_once(scene: Scene) -> None:
    assert scene.do(etcd_scripts.OBSERVE, scene.data).stdout == ""
    scene.member("first")
    assert scene.do(etcd_scripts.OBSERVE, scene.data).stdout == "data\n"
    for stamp in ("1", "1", "2"):
        scene.do(etcd_scripts.SET_ASIDE, scene.data, stamp)
    assert (scene.data / "aside-1" / "db").read_text() == "first"
    scene.member("second")
    scene.do(etcd_scripts.SET_ASIDE, scene.data, "2")
    assert [path.name for path in scene.data.iterdir()] == ["aside-2"]


def test_what_starts_an_install_again_leaves_out_what_is_not_there(scene: Scene) -> None:
    scene.unit("air-installer.service")
    scene.do(etcd_scripts.START, "air")
    assert scene.calls == ["start --no-block air-installer.service"]


def test_only_a_member_with_its_secrets_and_room_takes_a_snapshot(scene: Scene) -> None:
    etc = scene.folder / "etc"
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\n")
    words = (etc, scene.data, "1")
    assert "not set up to run etcd" in scene.do(etcd_scripts.PREPARE, *words, check=False).stderr
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\nETCD_NAME=air-01\n")
    assert "its secrets are not complete" in scene.do(etcd_scripts.PREPARE, *words, check=False).stderr
    (etc / "secrets/.complete").touch()
    scene.do(etcd_scripts.PREPARE, *words)
    done = scene.do(etcd_scripts.PREPARE, etc, scene.data, "999999999", check=False)
    assert "999999999 MB are needed" in done.stderr


@pytest.mark.parametrize(("code", "tool"), [("0", "etcdutl"), ("127", "etcdctl"), ("125", "etcdutl")])
def test_etcdutl_restores_where_the_image_has_it(scene: Scene, code: str, tool: str) -> None:
    """Docker ends with 127 where the image lacks a program; with 125 it could not be known."""
    etc = scene.folder / "etc"
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\nETCD_NAME=air-01\n")
    words = (etc, scene.folder / "programs", scene.data, scene.data / "snapshot.db", "air-01", "c", "t", "https://p")
    argv = ["sh", "-c", etcd_scripts.RESTORE, "argosy", *map(str, words)]
    scene.run(argv, check=True, env={"ETCDUTL": code})
    assert [f"--entrypoint {tool} r:5000/air/etcd@sha256:1 snapshot restore" in call for call in scene.calls] == [
        False,
        True,
    ]


def test_restored_data_takes_the_place_of_the_present_at_the_end(scene: Scene) -> None:
    etc = scene.folder / "etc"
    (etc / "etcd.env").write_text("IMAGE=r:5000/air/etcd@sha256:1\nETCD_NAME=air-01\n")
    snapshot = scene.data / "snapshot.db"
    snapshot.write_text("snapshot")
    scene.member("old")
    cluster = "air-01=https://10.0.0.1:2380"
    for _ in range(2):
        words = (etc, scene.folder / "programs", scene.data, snapshot, "air-01", cluster, "token", "https://p")
        scene.do(etcd_scripts.RESTORE, *words)
        assert (scene.data / "member" / "db").read_text() == "old"
    pulled, ran = scene.calls[:2]
    assert pulled == "pull r:5000/air/etcd@sha256:1"
    assert "--entrypoint etcdutl r:5000/air/etcd@sha256:1 snapshot restore /snapshot.db" in ran
    assert ran.endswith(
        f"--data-dir /var/lib/etcd/restored --name air-01 --initial-cluster {cluster} "
        "--initial-cluster-token token --initial-advertise-peer-urls https://p"
    )
    for _ in range(2):
        scene.do(etcd_scripts.USE_RESTORED, "air", scene.data, "7")
        assert (scene.data / "member" / "snap" / "db").read_text() == "new\n"
        assert (scene.data / "aside-7" / "db").read_text() == "old"
        assert sorted(path.name for path in scene.data.iterdir()) == ["aside-7", "member"]
    assert scene.calls[-2:] == ["--quiet enable air-etcd.service", "start --no-block air-etcd.service"]


def test_etcd_s_image_is_chosen_in_place_and_what_runs_is_told(scene: Scene) -> None:
    env = scene.folder / "etc/etcd.env"
    old, new = "r:5000/air/etcd@sha256:1", "r:5000/air/etcd@sha256:2"
    env.write_text(f"IMAGE={old}\nETCD_NAME=air-01\n")
    look = (etcd_scripts.LOOK_FOR_IMAGE, scene.folder / "etc", "air-etcd")
    scene.program("docker", f"echo runs {old}")
    assert etcd_scripts.parse_images(scene.do(*look).stdout) == ("sha256:1", "sha256:1")

    assert scene.do(etcd_scripts.CHOOSE, scene.folder / "etc", new).stdout == f"{old}\n"
    assert env.read_text() == f"IMAGE={new}\nETCD_NAME=air-01\n"
    assert env.stat().st_mode & 0o777 == 0o644
    assert [it.name for it in env.parent.iterdir() if it.is_file()] == ["etcd.env"]
    assert etcd_scripts.parse_images(scene.do(*look).stdout) == ("sha256:1", "sha256:2")
    scene.program("docker", "echo no such container >&2; exit 1")
    assert etcd_scripts.parse_images(scene.do(*look).stdout) == ("", "sha256:2")

    env.write_text("ETCD_NAME=air-01\n")
    done = scene.do(etcd_scripts.CHOOSE, scene.folder / "etc", new, check=False)
    assert (done.returncode, done.stderr) == (1, f"{env} has no IMAGE\n")
    assert env.read_text() == "ETCD_NAME=air-01\n"


def test_etcd_itself_tells_its_version_once_it_is_pulled(scene: Scene) -> None:
    scene.program("docker", 'echo "$*" >>"$calls"; echo "etcd Version: 3.5.16"')
    scene.program("pull-image", 'echo "pull $1" >>"$calls"; echo pulling', "/programs")
    done = scene.do(etcd_scripts.PULL, scene.folder / "programs", "r:5000/air/etcd@sha256:2")
    assert done.stdout == "etcd Version: 3.5.16\n"
    assert scene.calls[0] == "pull r:5000/air/etcd@sha256:2"
    assert scene.calls[1].endswith("--entrypoint etcd r:5000/air/etcd@sha256:2 --version")


def test_nothing_is_started_where_nothing_was_restored(scene: Scene) -> None:
    done = scene.do(etcd_scripts.USE_RESTORED, "air", scene.data, "7", check=False)
    assert (done.returncode, done.stderr) == (1, "nothing was restored\n")


def test_the_scripts_are_given_the_folders_of_the_system() -> None:
    assert leaving_scripts.leave("air")[4:] == ["air", "/etc/air", "/var/lib/air"]
    assert leaving_scripts.stop_services("air", ["agent"])[4:] == [
        "air",
        "/etc/systemd/system",
        marker("air"),
        "agent",
    ]
    assert etcd_scripts.write_endpoints("air", "x")[4:] == ["/etc/air/machine.env", "x"]
    assert etcd_scripts.restore("air", "n", "c", "t", "p")[4:] == [
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
    found = leaving_scripts.keys_of("air-1", [Entry(key, "", 1, 1) for key in keys])
    assert found == [keys[0], keys[2], keys[3], *keys[5:8]]


def test_names_are_asked_for_as_before_as_long_as_the_program_is_there(scene: Scene) -> None:
    names = Names("air")
    scene.run_script(leaving_scripts.undo_dns(names))
    assert scene.calls == []
    scene.program("use-dns", 'echo "use-dns $*" >>"$calls"', names.programs)
    assert scene.run_script(leaving_scripts.undo_dns(names)).returncode == 0
    assert scene.calls == ["use-dns --undo"]


def test_volumes_go_only_when_they_are_named_and_one_in_use_is_told(scene: Scene) -> None:
    scene.program("docker", 'echo "docker $*" >>"$calls"; case $* in *"rm busy"*) exit 1 ;; esac')
    script = leaving_scripts.take_away(Names("air"), [], [], ["data", "busy"])
    done = scene.run_script(script)
    assert (done.returncode, done.stdout) == (0, "the volume busy, which somebody uses\n")
    assert [line for line in scene.calls if "volume rm" in line] == ["docker volume rm data", "docker volume rm busy"]
    before = len(scene.calls)
    scene.run_script(leaving_scripts.take_away(Names("air"), [], [], []))
    assert not [line for line in scene.calls[before:] if "volume" in line]


def test_a_network_of_swarm_s_goes_with_it(scene: Scene) -> None:
    scene.program("docker", f'echo "docker $*" >>"$calls"; cat {scene.folder}/swarm')
    (scene.folder / "swarm").write_text("active\n")
    scene.run_script(leaving_scripts.take_away(Names("air"), [], [], []))
    assert "docker network rm docker_gwbridge" not in scene.calls
    (scene.folder / "swarm").write_text("inactive\n")
    scene.run_script(leaving_scripts.take_away(Names("air"), [], [], []))
    assert "docker network rm docker_gwbridge" in scene.calls


def test_docker_is_restarted_once_for_its_settings_of_before(scene: Scene) -> None:
    marker_file = scene.write("/etc/air/restart-docker", "")
    for _ in range(2):
        assert scene.run(["sh", "-c", shared.RESTART_DOCKER, "argosy", marker_file]).returncode == 0
    assert scene.calls == ["reset-failed docker.service", "try-restart docker.service"]
