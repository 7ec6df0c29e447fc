"""Other releases of HAProxy than this host's, each of the Debian suite that has it, with that suite's own libraries.

They run on this host as its own one does: what a test looks at, their sockets and files, is where it expects it.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from haproxy_server import HAPROXY
from roots import HOST, system

RELEASES = {
    "2.6": ("bookworm", ("haproxy",)),
    "3.0": ("trixie", HOST),
    "3.2": ("sid", HOST),
    "3.4": ("sid", ("haproxy/experimental",)),
}
"""Release -> the suite, and the packages by which its system is known (`roots.system`)."""


def haproxy_of(release: str, folder: Path) -> Path:
    """Return the program of a release: this host's own where it is of that one, else a script in `folder`."""
    if HAPROXY and version_of(Path(HAPROXY)).startswith(f"{release}."):
        return Path(HAPROXY)
    made = system(*RELEASES[release])
    (loader,) = made.glob("usr/lib/*-linux-*/ld-linux-*.so.*")
    script = folder / "haproxy"
    # The master starts itself anew by the name that it was started by: this script's.
    words = [str(loader), "--library-path", str(loader.parent), "--argv0", str(script), f"{made}/usr/sbin/haproxy"]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    assert version_of(script).startswith(f"{release}."), version_of(script)
    return script


def version_of(program: Path) -> str:
    """Return such as 3.0.11-1+deb13u2."""
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout
    return told.split()[2]
