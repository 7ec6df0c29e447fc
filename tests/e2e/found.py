"""What the tests of a lane find and prove, a JSON object a line in FOUND; docs/support.md is made from it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from lab import ROOT, Lab
from lanes import CHOSEN, LANES, lane_of

FOUND = ROOT / ".argosy" / "lanes.jsonl"
RECORDED = Path(__file__).with_name("support.json")
"""What the last `inv test --only matrix` found, by lane."""
TOLD = """
. /etc/os-release; echo "os $NAME ${VERSION_ID:-$VERSION_CODENAME}"
echo "docker $(docker version --format '{{.Server.Version}}')"
echo "cgroup v$(docker info --format '{{.CgroupVersion}}')"
"""
MACHINE_TOLD = """
echo "haproxy $(docker exec SYSTEM-router haproxy -v | head -n 1)"
echo "etcd $(docker exec SYSTEM-etcd etcd --version | head -n 1)"
echo "python $(docker exec SYSTEM-agent python3 --version)"
"""


def facts(told: str) -> dict[str, str]:
    """Return what the lines say: versions by their first two numbers, the rest as it is. Pure."""
    found = {}
    for line in told.strip().splitlines():
        name, _, said = line.partition(" ")
        version = re.search(r"\d+\.\d+", said)
        found[name] = version.group() if version else said
    return found


def check_machines(lab: Lab, machine: str, tests: str) -> None:
    """Note what a machine of the lab and its host have; where a suite stands still, docs/support.md says the same."""
    lane = lane_of(tests, os.environ)
    found = facts(lab.run(machine, TOLD + MACHINE_TOLD.replace("SYSTEM", lab.system)))
    host = facts(lab.on_host("sh", "-c", f"{TOLD}echo python $({lab.python} --version)"))
    note(lane, host=host, machine=found)
    if not LANES[lane].moves and CHOSEN not in os.environ:
        assert found == json.loads(RECORDED.read_text())[lane]["machine"], "`inv test --only matrix` writes it anew"


def note(lane: str, **entry: object) -> None:
    FOUND.parent.mkdir(exist_ok=True)
    with FOUND.open("a") as stream:
        stream.write(json.dumps({"lane": lane, **entry}) + "\n")
