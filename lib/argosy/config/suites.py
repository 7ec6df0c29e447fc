"""Debian's suites: what the images are built on, and the Python that each has. The one place that says so.

For scripts/bootstrap: `python3 -I suites.py` prints the suite that this host's images are built on when nobody names
one, with `--list` all of them, one a line.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

PYTHONS = {"bookworm": "3.11", "trixie": "3.13", "forky": "3.14"}
"""Suite -> the version of its Python: Debian 12, 13 and what becomes 14."""
HOSTS = ("bookworm", "trixie")
"""The suites that a host passes on to its images."""
DEFAULT = "trixie"
ARGUMENT = "SUITE"
"""The build argument that a Dockerfile gets when it declares it: `ARG SUITE`, `FROM debian:${SUITE}-slim`."""
OS_RELEASE = Path("/etc/os-release")


def suite_of(os_release: str) -> str:
    """Return the suite for a host, from its /etc/os-release: its own where that is one of HOSTS. Pure.

    https://www.freedesktop.org/software/systemd/man/latest/os-release.html
    """
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    codename = fields.get("VERSION_CODENAME", "").strip("\"'")
    return codename if fields.get("ID", "").strip("\"'") == "debian" and codename in HOSTS else DEFAULT


def host_suite() -> str:
    """Return the suite for this host."""
    try:
        return suite_of(OS_RELEASE.read_text(errors="replace"))
    except OSError:
        return DEFAULT


def chosen_suite(build: object) -> str:
    """Return the suite that the section `build` of a configuration names, not validated yet, else this host's."""
    named = build.get("suite") if isinstance(build, Mapping) else None
    return named if isinstance(named, str) and named in PYTHONS else host_suite()


def base_image(suite: str) -> str:
    """Return the name of the base image of our Dockerfiles."""
    return f"debian:{suite}-slim"


if __name__ == "__main__":
    print("\n".join(PYTHONS) if sys.argv[1:] == ["--list"] else host_suite())
