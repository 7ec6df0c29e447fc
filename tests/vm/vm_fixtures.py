"""One virtual machine for the tests of this folder, which run in their order: it boots, is installed, boots again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk import SUITE, disk
from lab import START_SECONDS, Lab, ensure_base, remove_leftovers
from virtual import VirtualMachine, network
from vm_project import ADDRESS, CLUSTER, MACHINE, SYSTEM, THIRD, make_project

from argosy.atomic import locked

PROGRAMS = ("docker", "qemu-system-x86_64", "qemu-img", "mke2fs", "debugfs", "ip", "setpriv")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The project with its registry, images and the machine's cloud-config file."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing or os.geteuid():
        pytest.skip(f"no virtual machine here: {', '.join(missing) or 'not root'} (scripts/bootstrap vm-packages)")
    lab = Lab(tmp_path_factory.mktemp("vm"), SYSTEM, CLUSTER, THIRD)
    # Another test run on this host would have an interface of the same name: one after the other.
    with locked(Path(tempfile.gettempdir()) / f"argosy-{CLUSTER}.lock"):
        remove_leftovers(lab)
        make_project(lab)
        ensure_base(SUITE)
        with network(lab.host):
            try:
                lab.inv("registry.start", "build.all", "registry.push", timeout=START_SECONDS)
                yield lab
            finally:
                lab.inv("registry.stop", "--wipe", "--yes", check=False)
                remove_leftovers(lab)


@pytest.fixture(scope="session")
def booted(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The machine has booted with its file, and is trusted."""
    lab.inv("cluster.cloud-config", ADDRESS)
    machine = VirtualMachine(tmp_path_factory.mktemp("machine"), disk(), MACHINE, ADDRESS, lab.host)
    machine.seed((lab.root / ".argosy" / CLUSTER / "cloud-config" / f"{MACHINE}.yaml").read_text())
    with machine.running():
        try:
            machine.wait_for_ssh()
            lab.inv("cluster.trust", ADDRESS, "--yes")
        except BaseException:
            print(machine.console())
            raise
        yield lab
