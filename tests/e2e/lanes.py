"""Pure. The lanes: Debian's suites, and with them the versions of all else, that the labs' machines are made of.

Every run of the e2e tests proves each lane, since the labs are shared out over them. ARGOSY_LANE puts all on one lane;
`inv test --only matrix` runs all journeys on every lane that way and writes down what it found (docs/support.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHOSEN = "ARGOSY_LANE"
"""The environment variable that names a lane for all labs."""
JOURNEYS = ("setup", "rolling upgrade", "service update", "growth", "removal", "backup")
"""What a lane is proven by: `pytest.mark.journey("growth")`, or with no name where it is just run on every lane."""


@dataclass(frozen=True)
class Lane:
    """`suite`: of the machines and of all images. `host`: the suite of a host that is made for it (roots.py), with its
    engine; else the machines are on this host. `moves`: its suite gets other versions all the time."""

    suite: str
    host: str = ""
    cgroup: str = ""
    moves: bool = False


LANES: Mapping[str, Lane] = {
    "bookworm": Lane("bookworm"),
    "trixie": Lane("trixie"),
    # Docker 28 that acts as 29 does: images in containerd's store, no API before 1.44.
    "newest": Lane("forky", host="sid", cgroup="v2", moves=True),
}
LABS: Mapping[str, str] = {
    "one_machine": "bookworm",
    "three_machines": "trixie",
    "test_boot.py": "trixie",
    "test_first_day.py": "trixie",
    "test_gce.py": "bookworm",
    "test_local_growth.py": "bookworm",
    "test_newest.py": "newest",
}
"""File or folder of tests -> its lane."""


def lane_of(tests: str, environment: Mapping[str, str]) -> str:
    """Return the name of the lane that a file or folder of tests is on."""
    return environment.get(CHOSEN) or LABS[tests]


def suite_of(tests: str, environment: Mapping[str, str]) -> str:
    """Return the suite that the machines of a file or folder of tests are made of."""
    return LANES[lane_of(tests, environment)].suite
