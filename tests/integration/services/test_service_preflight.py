"""What a machine is asked before instances of a service start there: the program run by a real shell, with a pretended
docker, on this host's own sockets; and what its answers mean."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from argosy.config.loading import ScheduledSettings
from argosy.paths import Names
from argosy.services.preflight_scripts import lacking, look

pytestmark = pytest.mark.integration

IMAGE = "example/web:2"
DOCKER = """\
#!/bin/sh
case $* in
    version) exit {there} ;;
    "image inspect "*) [ -e {folder}/image ] ;;
    *" pull "*) touch {folder}/pulled; echo layers; echo "first line" >&2; echo "manifest unknown" >&2; exit {pulls} ;;
    ps*)
        port=$(echo "$*" | sed 's|.*publish=\\([^ ]*\\)/\\([a-z]*\\).*|\\1.\\2|')
        cat {folder}/held.$port 2>/dev/null || : ;;
    *) exit 9 ;;
esac
"""


class Place:
    """A machine whose docker is pretended, and whose files and sockets are this host's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.docker()

    def docker(self, there: int = 0, pulls: int = 0) -> None:
        program = self.folder / "docker"
        program.write_text(DOCKER.format(folder=self.folder, there=there, pulls=pulls))
        program.chmod(0o755)

    def run(self, **keys: Any) -> subprocess.CompletedProcess[str]:
        argv = look(Names("air"), IMAGE, ScheduledSettings.model_validate({"image": IMAGE, **keys}))
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": path}, timeout=30)

    def lacks(self, **keys: Any) -> list[str]:
        done = self.run(**keys)
        assert done.returncode == 0, done.stderr
        return list(lacking(done.stdout, IMAGE, ["air-web-1"]))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fixed(port: int, kind: str = "tcp") -> dict[str, Any]:
    return {"ports": [f"{port}:80" + ("" if kind == "tcp" else f"/{kind}")], "update": {"order": "stop-first"}}


def test_an_image_that_is_there_is_not_pulled(place: Place) -> None:
    (place.folder / "image").touch()
    assert place.lacks() == []
    assert not (place.folder / "pulled").exists()


def test_an_image_that_is_not_there_is_pulled(place: Place) -> None:
    assert place.lacks() == []
    assert (place.folder / "pulled").exists()


def test_an_image_that_can_t_be_had_is_told_with_docker_s_last_word(place: Place) -> None:
    place.docker(pulls=1)
    assert place.lacks() == [f"{IMAGE} can't be pulled: manifest unknown"]


def test_a_secret_and_a_folder_that_are_not_there(place: Place) -> None:
    volumes = [{"source": str(place.folder), "target": "/a"}, {"source": "named", "target": "/b"}]
    volumes.append({"source": f"{place.folder}/two words", "target": "/c"})
    found = place.lacks(secrets=["no-such-secret"], volumes=volumes)
    assert found == ["/etc/air/secrets/no-such-secret is not there", f"{place.folder}/two words is not there"]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_another_program_has(place: Place, kind: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as taken:
        taken.bind((address, 0))
        if kind == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        assert place.lacks(**fixed(port, kind)) == [f"port {port}/{kind} is held by another program"]
    assert place.lacks(**fixed(port, kind)) == []


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ("port 8080/tcp web.1.abc air-web-1", []),
        ("port 8080/tcp db.1.abc air-db-3", ["port 8080/tcp is held by air-db-3"]),
        ("port 8080/tcp stray ", ["port 8080/tcp is held by stray"]),
    ],
)
def test_a_port_that_a_container_has(place: Place, held: str, found: list[str]) -> None:
    (place.folder / "held.8080.tcp").write_text(f"{held}\n")
    assert place.lacks(**fixed(8080)) == found


def test_a_machine_whose_docker_does_not_answer_says_nothing(place: Place) -> None:
    place.docker(there=1)
    assert place.run(secrets=["x"]).returncode != 0
