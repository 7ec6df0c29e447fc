"""The host's preparation by scripts/bootstrap, in a network namespace of the test's own.

What asks the Docker engine is answered by a shell function: the bridges are real.
"""

import subprocess
from pathlib import Path

import pytest

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
