"""Debian's packages for tests, unpacked and not installed: an installed one would start a service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from argosy.atomic import locked


def unpack(cache: Path, program: str, *packages: str, folder: str = "usr/bin") -> Path | None:
    """Return the folder of `program`, whose packages are unpacked into `cache` once; None where they can't be had.

    `folder`: where in the packages it is. Several test processes may ask at once.
    """
    found = cache / folder
    cache.mkdir(exist_ok=True)
    with locked(cache / "lock"):
        if not (cache / "complete").exists() and shutil.which("dpkg-deb"):
            # As root apt complains that it can't drop its privileges in a folder of ours.
            fetch = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *packages]
            if subprocess.run(fetch, cwd=cache, check=False, capture_output=True).returncode == 0:
                for package in cache.glob("*.deb"):
                    subprocess.run(["dpkg-deb", "-x", package, cache], check=True)
                (cache / "complete").touch()
    return found if (found / program).exists() else None
