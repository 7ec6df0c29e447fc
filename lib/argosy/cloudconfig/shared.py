"""Pure. The two files of a machine that its owner and we both write: what is merged in, and how it is taken out again.

/etc/S/shared.json says what of them is ours and what was there before:

    {"/etc/docker/daemon.json": {"before": TEXT or null, "ours": {"bip": "172.17.42.1/16", ...}},
     "/etc/environment": {"before": TEXT or null, "ours": {"MACHINE_NAME": "air-01", ...}}}

null: there was no such file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.ssh.shell import Script

DAEMON_JSON = "/etc/docker/daemon.json"
ENVIRONMENT = "/etc/environment"
SHARED = (DAEMON_JSON, ENVIRONMENT)
RESTART = "restart-docker"
"""In /etc/S while Docker may run with other settings than those of its file."""

RESTART_DOCKER = """\
set -eu
[ -e "$1" ] || exit 0
systemctl reset-failed docker.service 2> /dev/null || :  # it is not loaded
systemctl try-restart docker.service
rm -f -- "$1"
"""
"""$1: the file that says that Docker's settings are others than it runs with.

Docker's unit starts three times in a minute and no more (StartLimitBurst=) unless its count begins anew, which
reset-failed does: https://www.freedesktop.org/software/systemd/man/latest/systemctl.html
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one shared file. `before`: its text before us, None when it was not there; `ours`: what we have ever set."""

    before: str | None
    ours: Mapping[str, Any]


def restart_docker(marker: str) -> Script:
    """Return what lets Docker, where it runs, read its settings anew, if the file `marker` says that they have
    changed."""
    return Script("restart Docker", RESTART_DOCKER, marker)


def origin_of(path: str, text: str | None, content: str, earlier: Origin | None, *, ours_already: bool) -> Origin:
    """Return where the shared file is from whose text is `text`, before `content` is merged into it.

    `earlier`: as it was written down; `ours_already`: without that, the file holds what we have set already. Raises
    ValueError for a daemon.json that is none.
    """
    ours = _parsed(path, content)
    if earlier is not None:
        return Origin(earlier.before, {**earlier.ours, **ours})
    return Origin(restored(path, text, Origin(None, ours)) if ours_already else text, ours)


def merged(path: str, text: str | None, content: str) -> str:
    """Return the file with our settings set and all others as they are. Raises ValueError for a daemon.json that is
    none."""
    return (merge_daemon_json if path == DAEMON_JSON else merge_environment)(text or "", content)


def restored(path: str, text: str | None, origin: Origin) -> str | None:
    """Return the file without what is ours, and with what stood in its place before; None when there must be none.

    What somebody has set to something else since stays. Raises ValueError for a daemon.json that is none.
    """
    if text is None:
        return None
    found, before = _parsed(path, text), _parsed(path, origin.before or "")
    gone = {key for key, value in origin.ours.items() if found.get(key) == value}
    left = {key: value for key, value in found.items() if key not in gone}
    left |= {key: before[key] for key in gone & before.keys()}
    if path == DAEMON_JSON:
        return origin.before if left == before else _daemon_json(left) if left else None
    own = (origin.before or "").splitlines()
    lines = [line for line in text.splitlines() if _name(line) not in gone]
    lines += [line for line in own if _name(line) in gone]
    return origin.before if sorted(lines) == sorted(own) else _lines(lines)


def merge_environment(existing: str, ours: str) -> str:
    """Return /etc/environment with our variables set and all other lines as they are; a PATH is never ours."""
    wanted = [line for line in ours.splitlines() if _name(line) != "PATH"]
    names = set(map(_name, wanted))
    return _lines([*(line for line in existing.splitlines() if _name(line) not in names), *wanted])


def merge_daemon_json(existing: str, ours: str) -> str:
    """Return daemon.json with our keys set and all others as they are. Raises ValueError unless `existing` is JSON."""
    document = _object(existing)
    after = document | json.loads(ours)
    return existing if after == document and existing else _daemon_json(after)


def parse_origins(text: str) -> dict[str, Origin]:
    """Return what shared.json says; nothing when it is empty. Raises ValueError for what it can't be."""
    try:
        return {path: Origin(each["before"], each["ours"]) for path, each in _object(text).items()}
    except (KeyError, TypeError):
        raise ValueError("not what was before us") from None


def origins_json(origins: Mapping[str, Origin]) -> str:
    document = {path: {"before": origin.before, "ours": dict(origin.ours)} for path, origin in origins.items()}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _parsed(path: str, text: str) -> dict[str, Any]:
    if path == DAEMON_JSON:
        return _object(text)
    lines = [line for line in text.splitlines() if "=" in line and _name(line) != "PATH"]
    return {_name(line): line.partition("=")[2] for line in lines}


def _object(text: str) -> dict[str, Any]:
    document = json.loads(text) if text.strip() else {}
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 (as json.loads says it)
    return document


def _daemon_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _name(line: str) -> str:
    return line.partition("=")[0].strip()


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
