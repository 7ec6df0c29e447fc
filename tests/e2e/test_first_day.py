"""The first day of a team: bare servers, a repository of its own, staging and production, a database.

One server is staging, three are production; each cluster has a CA, secrets and a registry of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import pytest
import yaml
from booted import build_machine_image, machine_image
from lab import ROOT, START_SECONDS, Lab, docker, ensure_base, remove_leftovers
from lanes import suite_of

from argosy.atomic import locked
from argosy.engine.connection import connect
from argosy.local.makers.container import cgroup_version, machine_flags, own_flags

pytestmark = [pytest.mark.e2e, pytest.mark.slow(5), pytest.mark.timeout(900)]

SYSTEM = "shop"
LABEL = "first-day"
SUITE = suite_of("test_first_day.py", os.environ)
THIRD = 60
STAGING = {"shop-01": f"192.168.{THIRD}.21"}
PRODUCTION = {f"shop-0{number}": f"192.168.{THIRD}.3{number}" for number in (1, 2, 3)}
USER_DATA = """#cloud-config
users:
  - name: admin
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    shell: /bin/bash
    ssh_authorized_keys: [{key}]
"""
BARE_IMAGE = "argosy-test/bare"
BARE_DOCKERFILE = f"""
FROM {machine_image(SUITE)}
RUN cli=$(dpkg-query --show --showformat '${{Package}}' docker-cli || true) \\
 && apt-get purge -y --auto-remove docker.io $cli curl iptables && rm -rf /etc/docker
"""
BARE = ("staging-shop-01", "shop-02")
"""The servers that lack Docker and curl; the others have them already, as hosters sell them."""
LEFT = f"""
find /etc/{SYSTEM} /opt/{SYSTEM} /var/lib/{SYSTEM} /run/{SYSTEM} /etc/systemd/system /etc/sysctl.d /usr/local 2>&1 |
    LC_ALL=C sort
cat /etc/docker/daemon.json /etc/environment /etc/hosts /etc/resolv.conf 2>&1 || true
"""
"""Tells what of ours is on a server."""
TASKS = """\
from argosy import ns as namespace
from invoke import task

from lib.greeting import greeting


@task
def greet(c):
    print(greeting())


namespace.add_task(greet)
"""


def stage(name: str, port: int, machines: dict[str, str]) -> dict[str, Any]:
    return {
        "registry": {"address": f"192.168.{THIRD}.1:{port}"},
        "settings": {"database/host": machines["shop-01"]},
        "services": {"api": {"env": {"STAGE": name}}},
    }


DOCUMENT: dict[str, Any] = {
    "system": SYSTEM,
    "build": {"suite": SUITE},
    "ssh": {"user": "admin", "key": "key"},
    "machine": {"container": True},
    "swarm": {"enabled": False},
    "images": {
        "postgres": {"context": "postgres"},
        "webservice": {"context": "webservice", "needs": {"PYTHON_IMAGE": "python"}, "push": False},
        "api": {"context": "api", "needs": {"WEBSERVICE_IMAGE": "webservice"}, "wheels": "api/requirements.txt"},
    },
    "services": {
        "db": {
            "image": "postgres",
            "machines": ["shop-01"],
            "env": {
                "POSTGRES_USER": "shop",
                "POSTGRES_DB": "shop",
                "POSTGRES_PASSWORD_FILE": "/run/secrets/database-password",
            },
            "secrets": ["database-password"],
            "ports": ["5432:5432"],
            "volumes": [{"source": "postgres", "target": "/var/lib/postgresql"}],
            "check": {"tcp": {"port": 5432}},
            "stop": {"signal": "INT", "grace_seconds": 30},
        },
        "api": {
            "image": "api",
            "ports": ["8081:8081"],
            "settings": {
                "DATABASE_HOST": "database/host",
                "DATABASE_PORT": "database/port",
                "DATABASE_USER": "database/user",
                "DATABASE_NAME": "database/name",
            },
            "secrets": ["database-password"],
            "check": {"http": {"port": 8081, "path": "/health"}},
            "discovery": {"port": 8081, "scheme": "http"},
        },
    },
    "secrets": {"database-password": {"generate_bytes": 24}},
    "settings": {"database/port": 5432, "database/user": "shop", "database/name": "shop"},
    "clusters": {"staging": stage("staging", 5060, STAGING), "production": stage("production", 5061, PRODUCTION)},
}


@dataclass(frozen=True)
class Trial:
    """`staging` and `production`: the same repository, seen by one of the clusters; `before`: what LEFT said of each
    production server when it was bare."""

    staging: Lab
    production: Lab
    before: dict[str, str]

    @property
    def root(self) -> Path:
        return self.staging.root


@pytest.fixture(scope="module")
def trial(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    forget_releases()
    root = make_repository(tmp_path_factory.mktemp("first-day"))
    staging, production = (
        Lab(root, SYSTEM, name, THIRD, {"INVOKE_CLUSTER": name}) for name in ("staging", "production")
    )
    with bare_servers(root, {f"staging-{name}": address for name, address in STAGING.items()} | PRODUCTION):
        try:
            yield Trial(staging, production, {name: on_server(name, LEFT) for name in PRODUCTION})
        finally:
            for lab in (staging, production):
                lab.inv("registry.stop", "--wipe", "--yes", check=False)
                remove_leftovers(lab)


def forget_releases() -> None:
    """Remove the releases of earlier runs, which would count as this one's."""
    if made := docker("image", "ls", "--quiet", "--filter", f"reference={SYSTEM}/installer/*").split():
        docker("image", "rm", "--force", *dict.fromkeys(made))


def make_repository(root: Path) -> Path:
    """Make a repository that has nothing of Argosy's but the library: applications, tasks and configuration."""
    for name, source in {"postgres": "postgres", "webservice": "webservice", "api": "backend"}.items():
        shutil.copytree(
            ROOT / "example" / source, root / name, ignore=shutil.ignore_patterns("__pycache__", "wheelhouse")
        )
    (root / "lib").mkdir()
    (root / "lib" / "__init__.py").touch()
    (root / "lib" / "greeting.py").write_text('def greeting():\n    return "welcome to the shop"\n')
    (root / "tasks.py").write_text(TASKS)
    (root / "VERSION").write_text("0.1\n")
    (root / "invoke.yaml").write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / "key")], check=True)
    return root


@contextmanager
def bare_servers(root: Path, addresses: dict[str, str]) -> Iterator[None]:
    """Give servers with sshd, sudo and systemd, to which the repository's key leads; in the end they go."""
    lab = Lab(root, SYSTEM, LABEL, THIRD)
    with locked(Path(tempfile.gettempdir()) / f"argosy-{LABEL}.lock"):
        remove_servers(lab)
        try:
            ensure_base(SUITE)
            build_machine_image(SUITE)
            build_bare_image()
            subnet = [f"--subnet=192.168.{THIRD}.0/24", f"--gateway={lab.host}"]
            docker("network", "create", f"--label=argosy.cluster={LABEL}", *subnet, LABEL)
            for name, address in addresses.items():
                boot(root, name, address)
            for name in addresses:
                docker("exec", f"{LABEL}-{name}", "cloud-init", "status", "--wait")
            yield
        finally:
            remove_servers(lab)


def remove_servers(lab: Lab) -> None:
    remove_leftovers(lab)
    if disks := docker("volume", "ls", "--quiet", "--filter", f"name=^{LABEL}-").split():
        docker("volume", "rm", *disks)


def build_bare_image() -> None:
    argv = ["docker", "build", "--quiet", f"--tag={BARE_IMAGE}", "-"]
    subprocess.run(argv, input=BARE_DOCKERFILE.encode(), check=True, capture_output=True)


def boot(root: Path, name: str, address: str) -> None:
    seed = root / ".servers" / name
    seed.mkdir(parents=True)
    key = (root / "key.pub").read_text().strip()
    (seed / "user-data").write_text(USER_DATA.format(key=json.dumps(key)))
    (seed / "meta-data").write_text(f"instance-id: {name}\nlocal-hostname: {name}\n")
    with connect() as client:
        version = cgroup_version(client.info())
    own = own_flags(
        name=name,
        network=LABEL,
        address=address,
        volume=f"{LABEL}-{name}",
        seed=seed,
        labels={"argosy.cluster": LABEL},
    )
    flags = [*machine_flags(version), *own]
    image = BARE_IMAGE if name in BARE else machine_image(SUITE)
    docker("run", "--detach", f"--name={LABEL}-{name}", *flags, image, "/sbin/init")


def visits(address: str) -> Any:
    """Ask a machine's router for what the API counts in the database."""
    done = subprocess.run(
        ["curl", "-fsS", "-X", "POST", "-H", "Host: api.any.shop.example", f"http://{address}/visits"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["visits"]


def stage_of(lab: Lab, machine: str) -> str:
    inspected = lab.run(machine, "docker inspect --format '{{json .Config.Env}}' shop-api")
    return str(dict(text.split("=", 1) for text in json.loads(inspected))["STAGE"])


def images(lab: Lab, release: str = "") -> dict[str, str]:
    """Return the digests that a release pins, by image; of the one that runs, or else the newest."""
    shown = lab.json("release.show", *release.split())
    return {name: image["digest"] for name, image in shown["images"].items()}


def on_server(name: str, script: str) -> str:
    """Run lines of shell on a production server, as its owner does who knows nothing of the cluster."""
    return docker("exec", f"{LABEL}-{name}", "sh", "-c", script)


def database(name: str = "shop-01") -> str:
    """Return what tells whether the database is the same process."""
    return on_server(name, "docker inspect --format '{{.Id}} {{.State.StartedAt}}' shop-db")


def secrets() -> dict[str, str]:
    return {
        name: on_server(name, f"cd /etc/{SYSTEM}/secrets && find . -type f | xargs sha256sum") for name in PRODUCTION
    }


def clone(lab: Lab, root: Path) -> Lab:
    """Return another checkout of the repository: without secrets, and without what is remembered."""
    ignored = shutil.ignore_patterns("secrets", ".argosy", ".servers", "__pycache__", "wheelhouse")
    shutil.copytree(lab.root, root, ignore=ignored)
    return replace(lab, root=root)


@pytest.mark.journey("setup")
def test_staging_is_set_up_on_one_bare_server(trial: Trial) -> None:
    lab = trial.staging
    assert "welcome to the shop" in lab.inv("greet").stdout
    lab.inv("cluster.trust", *STAGING.values(), "--yes")
    lab.inv("registry.start", "build.all", "registry.push", timeout=START_SECONDS)
    lab.inv("cluster.setup", *STAGING.values(), "--yes", timeout=START_SECONDS)
    assert visits(STAGING["shop-01"]) == 1
    assert stage_of(lab, "shop-01") == "staging"


def test_production_gets_the_images_that_staging_has_proven(trial: Trial) -> None:
    lab = trial.production
    lab.inv("cluster.trust", *PRODUCTION.values(), "--yes")
    lab.inv("registry.start")
    lab.inv("release.promote", "--from", "staging", "--yes", timeout=START_SECONDS)
    assert images(lab) == images(trial.staging)
    planned = lab.inv("cluster.setup", *PRODUCTION.values(), "--dry-run").stdout
    assert [line for line in planned.splitlines() if "docker.io" in line] == [
        line for line in planned.splitlines() if line.startswith("shop-02: install ")
    ]
    assert on_server("shop-02", LEFT) == trial.before["shop-02"]
    lab.inv("cluster.setup", *PRODUCTION.values(), "--yes", timeout=START_SECONDS)
    assert [visits(address) for address in PRODUCTION.values()] == [1, 2, 3]
    assert {stage_of(lab, name) for name in PRODUCTION} == {"production"}


def test_a_release_of_staging_s_is_never_production_s(trial: Trial) -> None:
    source = trial.root / "api" / "backend" / "__main__.py"
    source.write_text(f"{source.read_text()}# a new version\n")
    trial.staging.inv("build.all", "registry.push", timeout=START_SECONDS)
    trial.staging.inv("cluster.rolling-upgrade", "shop-01", "--yes", timeout=START_SECONDS)
    new = trial.staging.json("release.show")["version"]
    before = trial.production.json("release.list")
    trial.production.inv("registry.push")
    assert trial.production.json("release.list") == before
    assert new not in {release["version"] for release in before}
    assert "nothing to do" in trial.production.inv("cluster.rolling-upgrade", "shop-01", "--yes").stderr
    assert new in trial.production.refused(11, "cluster.rolling-upgrade", "shop-01", "--release", new, "--yes")
    assert {stage_of(trial.production, name) for name in PRODUCTION} == {"production"}


def test_what_staging_runs_is_promoted_and_the_database_serves_on(trial: Trial) -> None:
    lab, before = trial.production, database()
    lab.inv("release.promote", "--from", "staging", "--yes", timeout=START_SECONDS)
    lab.inv("cluster.rolling-upgrade", "shop-01", "--yes", timeout=START_SECONDS)
    assert images(lab) == images(trial.staging)
    assert database() == before
    assert [visits(address) for address in PRODUCTION.values()] == [4, 5, 6]
    lab.inv("cluster.verify")


def test_a_clone_without_secrets_changes_none(trial: Trial, tmp_path: Path) -> None:
    before, other = secrets(), clone(trial.production, tmp_path / "clone")
    other.inv("cluster.trust", *PRODUCTION.values(), "--yes")
    assert "inv secrets.fetch" in other.refused(10, "cluster.upload-secrets", *PRODUCTION.values(), "--yes")
    assert secrets() == before
    assert "ca.key is on no machine" in other.refused(32, "secrets.fetch", *PRODUCTION.values(), "--yes")
    assert "this host has no CA key" in other.refused(10, "cluster.upload-secrets", "--yes")
    assert secrets() == before


def test_a_second_operator_has_rights_of_their_own(trial: Trial, tmp_path: Path) -> None:
    key = {"ARGOSY_BUNDLE_KEY": token_urlsafe(24)}
    bundle = tmp_path / "mia.age"
    founder = replace(trial.production, environment={**trial.production.environment, **key})
    founder.inv("operator.add", "mia", "--output", str(bundle))
    other = clone(founder, tmp_path / "clone")
    (other.root / "key").unlink()
    other.inv("operator.join", str(bundle))
    assert {machine["name"] for machine in other.json("cluster.status")["machines"]} == set(PRODUCTION)
    assert "needs full" in other.refused(11, "cluster.remove-machine", "shop-01", "shop-03", "--yes")
    founder.inv("operator.remove", "mia", "--yes")
    assert "did not let admin in" in other.refused(31, "cluster.run", "true")


def test_a_server_that_leaves_is_as_it_was(trial: Trial) -> None:
    assert "--force" in trial.production.refused(12, "cluster.remove-machine", "shop-01", "shop-03", "--yes")
    leave = ("cluster.remove-machine", "shop-01", "shop-03", "--force", "--yes")
    trial.production.inv(*leave, timeout=START_SECONDS)
    assert on_server("shop-03", LEFT) == trial.before["shop-03"]
    refused = trial.production.refused(11, "cluster.remove-machine", "shop-02", "shop-01", "--force", "--yes")
    assert "postgres of db" in refused
