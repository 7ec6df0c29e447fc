"""Python packages for an image, fetched once on this host: the image's own build needs no index and no network.

The requirements file pins every package by hash. Wheels are kept by the digest of that file and this Python's version,
so a second build fetches nothing; a folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from argosy.build_context import TIME
from argosy.errors import BuildFailed, ConfigError


def ensure_wheelhouse(requirements: Path, cache: Path, name: str) -> list[Path]:
    """Return the wheels of `requirements`, sorted by name, fetched into a folder of `cache` if they aren't there.

    `name`: the image, for messages. Raises ConfigError when the file isn't there; BuildFailed, with pip's output as
    `log`, when a package can't be had or isn't pinned by hash.
    """
    folder = cache / wheelhouse_key(requirements, name)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as temporary:
            _fetch(requirements, Path(temporary), name)
            _publish(Path(temporary), folder)
    return sorted(folder.glob("*.whl"))


def wheelhouse_key(requirements: Path, name: str) -> str:
    """Return what names the wheels of `requirements` for this host's Python."""
    try:
        content = requirements.read_bytes()
    except OSError as error:
        raise ConfigError(f"{requirements}: {error.strerror}", f"images.{name}.wheels") from None
    target = f"{sys.version_info.major}.{sys.version_info.minor} {sysconfig.get_platform()}"
    return hashlib.sha256(target.encode() + b"\0" + content).hexdigest()[:32]


def _fetch(requirements: Path, folder: Path, name: str) -> None:
    command = [
        *(sys.executable, "-m", "pip", "wheel", "--require-hashes", "--no-input"),
        *("--disable-pip-version-check", "--wheel-dir", str(folder), "--requirement", str(requirements)),
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(TIME)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(
            f"{name}: the wheels of {requirements} can't be had: pip ended with {done.returncode}; is each package "
            "pinned with its hash and the index reachable?",
            log=done.stdout + done.stderr,
        )


def _publish(complete: Path, folder: Path) -> None:
    """Rename the finished folder into its place; whoever comes second finds it there."""
    try:
        complete.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(complete, ignore_errors=True)
    complete.mkdir(exist_ok=True)  # for the clean-up of the temporary folder
