"""Step 2: the system's settings, in etcd under /settings/, and the release's own keys.

What is there stays: an operator may have changed it.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy_installer.errors import Failed
from argosy_installer.etcd import Etcd
from argosy_installer.machine import Machine, read_json
from argosy_installer.progress import Say

PREFIX = "/settings/"


def wanted(machine: Machine) -> dict[str, str]:
    """Return settings.json, overlaid with the settings.json among the secrets, by key in etcd.

    Raises Failed for a bad value.
    """
    settings: dict[str, str] = {}
    for path in (machine.config / "settings.json", machine.secrets / "settings.json"):
        for key, value in read_json(path).items():
            if not isinstance(value, str):
                raise Failed.because(f"{path}: the value of {key} is no text")
            settings[PREFIX + key] = value
    return settings


def write(etcd: Etcd, keys: Mapping[str, str], say: Say) -> None:
    """Write each key that is not there, in a transaction of its own. The values are told to nobody."""
    written = [key for key, value in sorted(keys.items()) if etcd.put_if_absent(key, value)]
    say(f"settings: {len(written)} written, {len(keys) - len(written)} were there")
