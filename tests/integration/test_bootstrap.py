"""The host's preparation by scripts/bootstrap, in a network namespace of the test's own.

What asks the Docker engine is answered by a shell function: the bridges are real.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from argosy.config.suites import base_image, host_suite

ROOT = Path(__file__).parents[2]
NO_ENGINE = "engine_answers() { return 1; }"
BRIDGE = "br-0123456789ab"


def bootstrap(script: str) -> subprocess.CompletedProcess[str]:
    """Run the lines of shell with the functions of scripts/bootstrap, on a host with no other interface."""
    prelude = f"""
        set -eu
        mount -t sysfs sysfs /sys
        ROOT={ROOT}
        for part in common preflight engine; do . "$ROOT/scripts/bootstrap.d/$part.sh"; done
        bridge() {{
            ip link add "$1" type bridge
            ip address add "$SUBNET_PREFIX.1/24" dev "$1"
            ip link set "$1" up
        }}
        port_of() {{ ip link add port type veth && ip link set port master "$1"; }}
    """
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", prelude + script], capture_output=True, text=True, check=False
    )


def test_an_unused_bridge_of_docker_s_waits_for_the_engine_to_say_whose_it_is() -> None:
    done = bootstrap(f"{NO_ENGINE}; bridge {BRIDGE}; check_subnet")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "lines",
    [f"{NO_ENGINE}; bridge lan0", f"{NO_ENGINE}; bridge {BRIDGE}; port_of {BRIDGE}", f"bridge {BRIDGE}"],
    ids=["not-docker-s", "in-use", "unknown-to-the-engine"],
)
def test_an_interface_that_is_not_ours_is_refused_with_its_name(lines: str) -> None:
    done = bootstrap(f"engine_answers() {{ true; }}; docker() {{ true; }}; {lines}; check_subnet")
    assert done.returncode == 1
    assert f"192.168.55.0/24 is in use (interface {'lan0' if 'lan0' in lines else BRIDGE})" in done.stderr


def test_a_started_engine_leaves_no_bridge_that_no_network_of_its_has() -> None:
    known = "br-aaaaaaaaaaaa"
    used = "br-bbbbbbbbbbbb"
    done = bootstrap(f"""
        docker() {{ [ "$*" = "network inspect aaaaaaaaaaaa" ]; }}
        for each in {known} {used} {BRIDGE} lan0; do ip link add "$each" type bridge; done
        port_of {used}
        remove_orphaned_bridges
        ls /sys/class/net
    """)
    assert done.returncode == 0, done.stderr
    assert f"removed {BRIDGE}" in done.stdout
    assert {known, used, "lan0"} <= set(done.stdout.split())
    assert BRIDGE not in done.stdout.splitlines()


OURS, THEIRS = "0123456789abcdef", "fedcba9876543210"
ENGINE = f"""
    engine_answers() {{ true; }}
    docker() {{
        case $1-$2 in
            ps-*) printf '%s\\n' 'container|ours-1|{OURS}|local|/a' 'container|old-1||local|' \\
                'container|theirs-1|{THEIRS}|local|/b' ;;
            volume-ls) printf '%s\\n' 'volume|ours-data|{OURS}|local|/a' 'volume|theirs-data|{THEIRS}|local|/b' ;;
            network-ls) echo 'network|ours-net|{OURS}|local|/a' ;;
            *) echo "docker $*" >&2 ;;
        esac
    }}
"""
REMOVED = [
    "docker rm --force --volumes ours-1",
    "docker volume rm ours-data",
    "docker network rm ours-net",
]


def checkout(folder: Path, path: Path) -> Path:
    """Make the folder of a checkout, whose file says that it is at `path`."""
    (folder / ".argosy").mkdir(parents=True)
    document = {"id": OURS, "path": str(path)}
    (folder / ".argosy" / "checkout.json").write_text(json.dumps(document, indent=2) + "\n")
    return folder


def down(root: Path, lines: str) -> subprocess.CompletedProcess[str]:
    stubs = "".join(f"{name}() {{ :; }}; " for name in ("drop_policy", "remove_registry_trust", "remove_from_tree"))
    others = "remove_own_engine remove_images remove_engine_files"
    return bootstrap(f"""
        for part in packages down; do . "$ROOT/scripts/bootstrap.d/$part.sh"; done
        ROOT={root}
        {stubs}
        for name in {others}; do eval "$name() {{ echo $name; }}"; done
        {ENGINE}
        {lines}
    """)


def test_down_leaves_the_engine_to_other_checkouts_and_removes_what_is_ours(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", tmp_path / "a")
    done = down(root, "engine_is_ours() { true; }; step_down")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == REMOVED
    assert "the engine and the images stay: cluster local of /b, cluster local of a checkout that is not known" in (
        done.stdout
    )
    assert "remove_" not in done.stdout


def test_down_takes_our_engine_along_when_nobody_else_has_a_cluster_on_it(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", tmp_path / "a")
    done = down(root, "docker() { :; }; engine_is_ours() { true; }; step_down")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "remove_own_engine"


def test_down_in_a_copy_removes_nothing_of_the_original_s(tmp_path: Path) -> None:
    original = checkout(tmp_path / "a", tmp_path / "a")
    shutil.copytree(original, tmp_path / "b")
    assert down(tmp_path / "b", "remove_ours_from_engine").stderr == ""
    assert down(original, "remove_ours_from_engine").stderr.splitlines() == REMOVED


def test_a_checkout_that_was_moved_is_known_again(tmp_path: Path) -> None:
    moved = checkout(tmp_path / "b", tmp_path / "a")
    assert down(moved, "checkout_id").stdout == f"{OURS}\n"


def test_of_the_trusted_authorities_only_our_own_goes(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", tmp_path / "a")
    authority = root / "secrets" / "local" / "pki" / "ca.crt"
    authority.parent.mkdir(parents=True)
    authority.write_text("ca")
    for port, identity in (("5000", OURS), ("5001", THEIRS)):
        folder = tmp_path / "certs.d" / f"10.0.0.1:{port}"
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_text("ca")
        (folder / "argosy.json").write_text(json.dumps({"id": identity, "path": "/x"}))
    done = bootstrap(f"""
        for part in packages down; do . "$ROOT/scripts/bootstrap.d/$part.sh"; done
        ROOT={root} TRUSTED={tmp_path}/certs.d
        remove_registry_trust
    """)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "certs.d").iterdir()] == ["10.0.0.1:5001"]


def test_memory_is_asked_for_beside_another_checkout_s_cluster_but_not_beside_our_own(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", tmp_path / "a")
    for identity, code in ((OURS, 0), (THEIRS, 1)):
        done = down(
            root,
            f"""
            docker() {{ case "$*" in *label=argosy.cluster* | *checkout={identity}*) echo container ;; esac; }}
            MEMORY_MEGABYTES=999999999
            check_memory
            """,
        )
        assert done.returncode == code, done.stderr


BUILD = "build:\n  suite: {0}  # ours\n"


@pytest.mark.parametrize(
    ("before", "yaml", "image"),
    [
        ("", "", base_image(host_suite())),
        ("", "# build: {suite: trixie}\n", base_image(host_suite())),
        ("", BUILD.format("forky"), "debian:forky-slim"),
        ("", "clusters: {here: {build: {suite: trixie}}}\n", "debian:trixie-slim"),
        ("INVOKE_BUILD_SUITE=bookworm", BUILD.format("forky"), "debian:bookworm-slim"),
        ("SUITE=trixie INVOKE_BUILD_SUITE=bookworm", BUILD.format("forky"), "debian:trixie-slim"),
    ],
)
def test_the_base_image_is_of_the_suite_that_is_named_or_the_host_s(
    tmp_path: Path, before: str, yaml: str, image: str
) -> None:
    done = suite_of_bootstrap(tmp_path, before, yaml)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{image}\n", "")


def test_a_suite_that_is_none_is_refused(tmp_path: Path) -> None:
    done = suite_of_bootstrap(tmp_path, "SUITE=woody", "")
    assert done.returncode == 1
    assert done.stderr == "bootstrap: no suite 'woody' of Debian (SUITE): one of: bookworm, trixie, forky\n"


def suite_of_bootstrap(root: Path, before: str, yaml: str) -> subprocess.CompletedProcess[str]:
    (root / "invoke.yaml").write_text(yaml)
    (root / "lib").symlink_to(ROOT / "lib")
    parts = "; ".join(f". {ROOT}/scripts/bootstrap.d/{part}.sh" for part in ("common", "preflight", "base"))
    chosen = f"unset SUITE INVOKE_BUILD_SUITE; {before or ':'}"
    script = f'set -eu; {chosen}; ROOT={root}; {parts}; find_suite; echo "$BASE_IMAGE"'
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("said", ["", 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n'])
def test_a_base_image_looks_at_an_archive_s_dates_as_this_host_does(tmp_path: Path, said: str) -> None:
    (tmp_path / "said").write_text(said)
    done = bootstrap(f"""
        . "$ROOT/scripts/bootstrap.d/base.sh"
        apt_date_checks() {{ cat {tmp_path}/said; }}
        mmdebstrap() {{ printf '%s\\n' "$@"; }}
        suite=forky
        make_base_tarball {tmp_path}/none base.tar
    """)
    assert done.returncode == 0, done.stderr
    options = [line for line in done.stdout.splitlines() if line.startswith("--aptopt=") and "Check" in line]
    assert sorted(options) == sorted(f"--aptopt={line}" for line in said.splitlines())
    assert "--aptopt=" not in done.stdout.splitlines()
    assert done.stdout.splitlines()[-2:] == ["forky", "base.tar"]


@pytest.mark.parametrize(("known", "missing", "said"), [(0, "vagrant\n", ""), (1, "", "the Docker engine makes")])
def test_vagrant_is_wanted_only_where_apt_has_it(known: int, missing: str, said: str) -> None:
    stubs = f"""
        . "$ROOT/scripts/bootstrap.d/packages.sh"
        engine_answers() {{ return 0; }}
        have() {{ [ "$1" != vagrant ]; }}
        installable() {{ return {known}; }}
        apt_knows_packages() {{ return 0; }}
        missing_python_packages() {{ :; }}
        docker() {{ return 0; }}
        drop_policy() {{ :; }}
        install_and_note() {{ :; }}
    """
    assert bootstrap(f"{stubs}\nmissing_packages").stdout == missing
    told = bootstrap(f"{stubs}\nstep_packages").stdout
    assert said in told
    assert ("already complete" in told) == (not missing)
