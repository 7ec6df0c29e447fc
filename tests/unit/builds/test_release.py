"""The release: pure rendering, golden files, and systemd's own opinion of the units."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from argosy.builds.release import pinned_services, render_release
from argosy.config.loading import Settings, load
from argosy.errors import Refused
from argosy.images.versions import PinnedService
from argosy.model import Image
from argosy.rendering.service_unit import exit_status

GOLDEN = Path(__file__).parents[1] / "golden" / "release"


def image(name: str, version: str = "0.1.3", digit: str = "1") -> Image:
    return Image(name, f"air/{name}", version, f"sha256:{digit * 64}")


IMAGES = {"web": image("web"), "worker": image("worker", digit="2"), "unused": image("unused", digit="3")}
IMAGES |= {name: image(name, digit="4") for name in ("agent", "haproxy", "dnsmasq")}


def settings(discovery: bool = False, **services: dict[str, Any]) -> Settings:
    document = {
        "discovery": {"enabled": discovery},
        "images": {"web": {"context": "web"}, "worker": {"context": "worker"}},
        "services": services,
        "clusters": {"test": {}},
    }
    return load(document, root=Path("/nowhere"))


def everything() -> Settings:
    return settings(
        discovery=True,
        web={
            "image": "web",
            "requires": ["worker"],
            "env": {"GREETING": 'it costs 5 $ or "100 %"', "EMPTY": "", "PATH_LIKE": "C:\\air"},
            "settings": {"DATABASE_HOST": "database/host"},
            "secrets": ["database-password", "api.key"],
            "ports": ["8080:80", "192.168.55.1:9444:443/tcp", "5353:53/udp"],
            "volumes": [
                {"source": "data", "target": "/data"},
                {"source": "/srv/with space", "target": "/srv", "read_only": True},
            ],
            "command": ["serve", "--name", "${NOT_OURS}", ";", "#1"],
            "memory_megabytes": 256,
            "check": {"http": {"port": 9444, "path": "/health", "status": [200, 204]}, "deadline_seconds": 30},
            "stop": {"signal": "QUIT", "grace_seconds": 30},
            "console": ["python3", "-m", "web.console"],
            "discovery": {"port": 443, "scheme": "tcp", "sni": ["web.example"], "host_port": 9443, "weight": 10},
        },
        worker={"image": "worker", "network": "host", "check": {"command": ["test", "-e", "/ready"]}},
    )


def document(of: Settings) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(render_release(of, IMAGES)["release.json"])
    return parsed


def test_the_images_of_scheduled_services_are_pinned_too_and_others_are_not() -> None:
    of = load(
        {
            "discovery": {"enabled": False},
            "images": {"web": {"context": "web"}, "worker": {"context": "worker"}},
            "services": {"web": {"image": "web"}},
            "scheduled": {"jobs": {"image": "worker"}, "proxy": {"image": "nginx:1.27"}},
            "clusters": {"test": {}},
        },
        root=Path("/nowhere"),
    )
    release = json.loads(render_release(of, IMAGES)["release.json"])
    assert sorted(release["images"]) == ["web", "worker"]
    assert [service["name"] for service in release["services"]] == ["web"]
    with pytest.raises(Refused, match="no version of image worker, which jobs runs"):
        render_release(of, {"web": image("web")})


def test_the_release_is_as_the_golden_files_say() -> None:
    files = render_release(everything(), IMAGES)
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for path, content in files.items():
            (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / path).write_bytes(content)
    golden = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*") if path.is_file()}
    assert {path: content.decode() for path, content in files.items()} == golden


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert render_release(everything(), IMAGES) == render_release(everything(), dict(reversed(IMAGES.items())))


def test_services_stand_in_start_order_and_only_their_images_are_pinned() -> None:
    release = document(everything())
    assert [service["name"] for service in release["services"]] == ["router", "agent", "dns", "worker", "web"]
    assert sorted(release["images"]) == ["agent", "dnsmasq", "haproxy", "web", "worker"]


def test_the_revision_changes_with_anything_that_the_unit_says() -> None:
    def revision(**changes: Any) -> str:
        services = document(settings(web={"image": "web", **changes}))["services"]
        return str(services[0]["revision"])

    revisions = {
        revision(),
        revision(env={"A": "1"}),
        revision(stop={"grace_seconds": 11}),
        revision(command=["x"]),
        revision(settings={"A": "a"}),
    }
    assert len(revisions) == 5
    assert revision(console=["sh"]) == revision(), "the console does not concern what runs"


def test_another_digest_changes_the_revision() -> None:
    one = render_release(settings(web={"image": "web"}), {"web": image("web")})
    two = render_release(settings(web={"image": "web"}), {"web": image("web", digit="9")})
    assert one["units/air-web.service"] != two["units/air-web.service"]
    assert json.loads(one["release.json"])["services"] != json.loads(two["release.json"])["services"]


def test_an_image_without_a_pushed_version_is_refused() -> None:
    with pytest.raises(Refused, match="image worker, which worker runs"):
        render_release(everything(), {name: image for name, image in IMAGES.items() if name != "worker"})


@pytest.mark.parametrize(
    ("ports", "network", "address"),
    [
        (["80:80"], "bridge", "127.0.0.1"),
        (["0.0.0.0:80:80"], "bridge", "127.0.0.1"),
        (["10.0.0.7:80:8080/tcp"], "bridge", "10.0.0.7"),
        (["8080:80"], "bridge", ""),
        ([], "bridge", ""),
        ([], "host", "127.0.0.1"),
    ],
)
def test_a_check_goes_where_its_port_is_published(ports: list[str], network: str, address: str) -> None:
    service = {"image": "web", "ports": ports, "network": network, "check": {"tcp": {"port": 80}}}
    assert document(settings(web=service))["services"][0]["check"]["address"] == address


@pytest.mark.parametrize(
    ("name", "status"),
    [("TERM", "143"), ("SIGUSR1", "138"), ("9", "137"), ("RTMIN+3", "165"), ("RTMIN", "162"), ("NOSUCH", "")],
)
def test_the_status_of_a_container_that_died_of_its_stop_signal(name: str, status: str) -> None:
    assert exit_status(name) == status


@pytest.mark.skipif(
    not (shutil.which("systemd-analyze") and Path("/usr/bin/docker").exists()),
    reason="systemd-analyze or /usr/bin/docker (which the units name) is not installed",
)
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    units = [shutil.copy(path, tmp_path) for path in GOLDEN.rglob("*.service")]
    command = ["systemd-analyze", "--man=no", "verify", *map(str, units)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_service_of_some_machines_says_so_and_no_other() -> None:
    web, worker = {"image": "web"}, {"image": "worker", "machines": ["air-02"], "stop": {"grace_seconds": 30}}
    found = document(settings(web=web, worker=worker))
    services = {entry["name"]: entry for entry in found["services"]}
    assert "machines" not in services["web"]
    assert services["worker"]["machines"] == ["air-02"]
    revision = services["worker"]["revision"]
    assert pinned_services(found) == {"worker": PinnedService(("air-02",), revision, 30)}
