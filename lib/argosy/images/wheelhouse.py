"""Python packages for an image, fetched once on this host: the image's own build needs no index and no network.

The requirements file pins every package by hash. Wheels are kept by the digest of that file and this Python's version,
so a second build fetches nothing; a folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from argosy.errors import BuildFailed, ConfigError
from argosy.images.context import TIME


def ensure_wheelhouse(requirements: Path, cache: Path, name: str, python: str = "") -> list[Path]:
    """Return the wheels of `requirements`, sorted by name, fetched into a folder of `cache` if they aren't there.

    `name`: the image, for messages. `python`: the version (3.11) that the wheels are for; empty means this host's. For
    another Python nothing can be built here, so every package must have a wheel. Raises ConfigError when the file isn't
    there; BuildFailed, with pip's output as `log`, when a package can't be had or isn't pinned by hash.
    """
    folder = cache / wheelhouse_key(requirements, name, python)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as temporary:
            _fetch(requirements, Path(temporary), name, python)
            _publish(Path(temporary), folder)
    return sorted(folder.glob("*.whl"))


def refuse_unpinned(requirements: Path, name: str) -> None:
    """Raise ConfigError unless each package in the file has its version and its hash, as pip will want them.

    `name`: the image, for messages. https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
    """
    for line in _read(requirements, name).decode(errors="replace").replace("\\\n", " ").splitlines():
        words = line.split(" #")[0].split()
        if not words or words[0].startswith(("-", "#")):
            continue
        pinned = "==" in line or "@" in words
        if not pinned or "--hash=" not in line:
            raise ConfigError(
                f"{requirements}: {words[0]} needs its version and its hash (NAME==1.2.3 --hash=sha256:...); "
                "pip-compile --generate-hashes writes them",
                f"images.{name}.wheels",
            )


def wheelhouse_key(requirements: Path, name: str, python: str = "") -> str:
    """Return what names the wheels of `requirements` for this host's Python, or for `python`."""
    content = _read(requirements, name)
    target = f"{python or sysconfig.get_python_version()} {sysconfig.get_platform()}"
    return hashlib.sha256(target.encode() + b"\0" + content).hexdigest()[:32]


def _read(requirements: Path, name: str) -> bytes:
    try:
        return requirements.read_bytes()
    except OSError as error:
        raise ConfigError(f"{requirements}: {error.strerror}", f"images.{name}.wheels") from None


def _fetch(requirements: Path, folder: Path, name: str, python: str) -> None:
    command = [
        *(sys.executable, "-m", "pip", *pip_words(python, platform.machine()), str(folder)),
        *("--require-hashes", "--no-input", "--disable-pip-version-check", "--requirement", str(requirements)),
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(TIME)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(
            f"{name}: the wheels of {requirements} can't be had: pip ended with {done.returncode}; is each package "
            "pinned with its hash and the index reachable?",
            log=done.stdout + done.stderr,
        )


def pip_words(python: str, architecture: str) -> list[str]:
    """Return pip's command and options, up to the one that names the folder.

    `architecture`: such as x86_64. The platforms are those that Debian 12's glibc 2.36 runs, newest first
    (https://peps.python.org/pep-0600/).
    """
    if not python:
        return ["wheel", "--wheel-dir"]
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in (36, 35, 34, 31, 28, 27, 26, 24, 17)]
    platforms.append(f"manylinux2014_{architecture}")
    words = ["download", "--only-binary=:all:", "--no-deps", "--python-version", python, "--implementation", "cp"]
    return [*words, *(f"--platform={name}" for name in platforms), "--dest"]


def _publish(complete: Path, folder: Path) -> None:
    """Rename the finished folder into its place; whoever comes second finds it there."""
    try:
        complete.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(complete, ignore_errors=True)
    complete.mkdir(exist_ok=True)  # for the clean-up of the temporary folder
