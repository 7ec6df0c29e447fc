from __future__ import annotations

from pathlib import Path

import pytest

from argosy.errors import Refused
from argosy.local.makers.container import (
    EngineFacts,
    machine_flags,
    own_flags,
    parse_host_keys,
    refuse_unfit,
    run_argv,
)


def test_cgroup_v1_needs_the_hosts_namespace_and_single_capabilities() -> None:
    flags = machine_flags(1)
    assert "--cgroupns=host" in flags
    assert "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw" in flags
    assert "--cap-add=SYS_ADMIN" in flags
    assert "--privileged" not in flags


def test_cgroup_v2_is_privileged_with_a_namespace_of_its_own() -> None:
    flags = machine_flags(2)
    assert {"--privileged", "--cgroupns=private"} <= set(flags)
    assert not any(flag.startswith(("--cap-add", "--volume")) for flag in flags)


@pytest.mark.parametrize("version", [1, 2])
def test_systemd_gets_what_it_needs_on_both(version: int) -> None:
    flags = machine_flags(version)
    assert {"--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp", "--stop-signal=SIGRTMIN+3"} <= set(flags)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (EngineFacts(rootless=True), "rootless"),
        (EngineFacts(desktop=True), "Docker Desktop"),
        (EngineFacts(remote=True), "DOCKER_HOST"),
    ],
)
def test_an_engine_whose_machines_could_not_run_or_be_reached_is_refused(facts: EngineFacts, word: str) -> None:
    with pytest.raises(Refused, match=word) as caught:
        refuse_unfit(facts)
    assert "\n" not in str(caught.value)


def test_an_ordinary_engine_is_not_refused() -> None:
    refuse_unfit(EngineFacts())


def test_a_machine_sits_on_one_network_with_its_own_disk() -> None:
    flags = own_flags(
        name="air-01",
        network="argosy-local-machines",
        address="192.168.55.101",
        volume="argosy-local-air-01",
        seed=Path("/seed"),
        labels={"argosy.cluster": "local"},
    )
    assert flags == [
        "--hostname=air-01",
        "--network=argosy-local-machines",
        "--ip=192.168.55.101",
        "--volume=argosy-local-air-01:/var/lib/docker",
        "--volume=/seed:/var/lib/cloud/seed/nocloud:ro",
        "--label=argosy.cluster=local",
    ]


def test_the_engine_is_told_all_that_makes_a_machine_in_one_command() -> None:
    argv = run_argv("unix:///run/docker.sock", "argosy-local-air-01", "air/machine:0.1.0", ["--privileged"])
    assert argv == [
        *(
            "docker",
            "--host",
            "unix:///run/docker.sock",
            "run",
            "--detach",
            "--pull=never",
            "--name=argosy-local-air-01",
        ),
        *("--privileged", "air/machine:0.1.0", "/sbin/init"),
    ]


def test_host_keys_lose_their_comments_and_everything_else_is_dropped() -> None:
    text = "ssh-ed25519 AAAA root@air-01\necdsa-sha2-nistp256 BBBB\n\ncat: no such file\n"
    assert parse_host_keys(text) == ["ssh-ed25519 AAAA", "ecdsa-sha2-nistp256 BBBB"]
