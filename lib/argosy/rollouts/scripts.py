"""What is run on a machine while it is upgraded, and what its answers mean. Pure.

Everything runs as root. What is there already (pull-image, installer, etcdctl) is called, not done anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from argosy.machine_files import Names
from argosy.machine_goodbye import UNIT_FOLDER
from argosy.remote_shell import Script
from argosy.rollout_record import Release
from argosy.service_unit import CURL, marker

LOCK_IS_ANOTHER_S = 77
"""How `install` ends when it finds that whoever sent it does not hold the cluster's lock (any more)."""
NOT_ASKED = 75
"""... when it could not find out."""
ANSWER_SECONDS = 10.0
"""For the machine's agent to tell of connections, beyond the time that they have."""

LOOK = """\
set -u
programs=$1 config=$2 state=$3 image=$4 units=$5 system=$6 mark=$7
echo "now=$(date +%s.%N)"
free() { df --block-size=1M --output=avail "$1" | tail -n 1 | tr -dc 0-9; }
echo "free_root=$(free /)"
if root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null); then echo "free_docker=$(free "$root")"; fi
cat "$config/release.env" "$state/release.env" 2>/dev/null | sed -n 's/^RELEASE_/RELEASE_/p'
[ ! -e "$state/install.json" ] || { printf 'record='; tr -d '\\n' <"$state/install.json"; echo; }
[ -z "$image" ] || echo "registry=$("$programs/pull-image" --ask "$image" 2>/dev/null)"
[ -e "$state/units.sha256" ] || exit 0
cd "$units" || exit 0
for name in $(sha256sum --check --quiet "$state/units.sha256" 2>/dev/null | sed -n 's/: FAILED.*//p'); do
  echo "drifted.$name="
done
for name in "$system"-*.service; do
  [ ! -f "$name" ] || [ -L "$name" ] || [ "$(head -n 1 "$name")" != "$mark" ] ||
    grep -q "  $name\\$" "$state/units.sha256" || echo "drifted.$name="
done
echo drifted=
"""
"""$5: the folder of units; $6: the system; $7: the first line of a service's unit. The units are not compared on a
machine whose installer has not written down yet what they shall be."""

INSTALL = """\
set -eu
programs=$1 state=$2 unit=$3 lock=$4 wanted=$5
held=$("$programs/etcdctl" get --print-value-only /cluster/lock) || exit 75
case $held in *"\\"$lock\\""*) ;; *) exit 77 ;; esac
if [ "$(cat "$state/release.env" 2>/dev/null)" = "$wanted" ] &&
  [ "$(systemctl show --property=ActiveState --value "$unit")" = activating ]; then exit 0; fi
mkdir -p "$state"
part=$(mktemp "$state/.release.env.XXXXXXXX")
trap 'rm -f -- "$part"' EXIT
printf '%s\\n' "$wanted" >"$part"
chmod 0644 "$part"
sync "$part"
mv -fT -- "$part" "$state/release.env"
rm -f -- "$state/install.json"
sync "$state"
systemctl reset-failed "$unit" 2>/dev/null || true
exec systemctl restart --no-block "$unit"
"""
"""The machine itself asks etcd who holds the lock: an operator who was cut off, or slept, changes nothing. An install
of the same release that goes on is left alone; an earlier one's result must not be taken for that of this one."""

UPDATERS = (
    "locksmithd.service",
    "update-engine.service",
    "zincati.service",
    "unattended-upgrades.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)
"""What may restart a machine, or Docker on it, by itself: Flatcar's, Fedora CoreOS's, Debian's and Ubuntu's."""

HOLD_UPDATES = """\
set -u
held=$1
shift
mkdir -p "${held%/*}"
active=''
for state in $(systemctl is-active "$@"); do
  if [ "$state" = active ]; then
    grep -qxF "$1" "$held" 2>/dev/null || echo "$1" >>"$held"
    active="$active $1"
  fi
  shift
done
[ -z "$active" ] || systemctl stop $active
"""
LET_UPDATES = """\
set -u
held=$1
[ -e "$held" ] || exit 0
while IFS= read -r unit; do systemctl start --no-block "$unit"; done <"$held"
rm -f -- "$held"
"""
"""$held is under /run: a restart forgets it, and starts the units by itself."""

CLEAN_UP = """\
set -u
prefix=$1
shift
removed=0
used=$(docker ps --all --quiet | xargs --no-run-if-empty docker inspect --format '{{.Config.Image}}')
for image in $(docker image ls --digests --format '{{.Repository}}@{{.Digest}}'); do
  case $image in "$prefix"*@sha256:*) ;; *) continue ;; esac
  kept=no
  for other in "$@" $used; do [ "$image" != "$other" ] || kept=yes; done
  if [ $kept = no ] && docker image rm "$image" >/dev/null 2>&1; then removed=$((removed + 1)); fi
done
echo "removed=$removed"
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a machine tells before a rollout. `now`: its clock; `free_*`: megabytes, None when Docker does not answer;
    `release`: what it shall install; `installed`: that this has succeeded; `registry`: the HTTP status of what its
    registry says about the wanted image, empty when not asked. `drifted`: units that are not as they were installed;
    None when they were not compared."""

    now: datetime
    free_root: int
    free_docker: int | None
    release: Release
    record: Mapping[str, Any] = field(default_factory=dict)
    registry: str = ""
    drifted: tuple[str, ...] | None = None

    @property
    def installed(self) -> bool:
        told = self.record.get("state"), self.record.get("release")
        return told == ("active", self.release.version)


def look(names: Names, image: str) -> Script:
    """Return what looks at a machine. `image`: the wanted release's, to ask its registry for; empty for none."""
    folders = names.programs, names.config, names.state
    return Script("look at the machine", LOOK, *folders, image, UNIT_FOLDER, names.system, marker(names.system))


def parse_looked(text: str) -> Looked:
    """Return what `look` printed. Raises ValueError for what it can't have printed."""
    told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if not {"now", "free_root"} <= told.keys():
        raise ValueError(f"it told only {', '.join(told) or 'nothing'} of itself")
    try:
        record = json.loads(told.get("record") or "{}")
    except ValueError:
        record = {}
    return Looked(
        now=datetime.fromtimestamp(float(told["now"]), UTC),
        free_root=int(told["free_root"]),
        free_docker=int(told["free_docker"]) if told.get("free_docker") else None,
        release=Release(told.get("RELEASE_VERSION", ""), told.get("RELEASE_IMAGE", "")),
        record=record if isinstance(record, dict) else {},
        registry=told.get("registry", ""),
        drifted=tuple(sorted(_drifted(told))) if "drifted" in told else None,
    )


def _drifted(told: Iterable[str]) -> Iterator[str]:
    for name in told:
        if name.startswith("drifted."):
            yield name.removeprefix("drifted.")


def clock_skew_seconds(now: datetime, asked: datetime, answered: datetime) -> float:
    """Return how far a machine's clock is surely off, when it said `now` somewhen between our own two moments."""
    if now < asked:
        return (now - asked).total_seconds()
    return max(0.0, (now - answered).total_seconds())


def registry_problem(status: str, registry: str, release: str) -> str:
    """Return what is wrong by the registry's answer about the release's image, as the machine got it; or nothing."""
    if status == "200":
        return ""
    if status in ("401", "403"):
        return f"{registry} refuses its password: inv cluster.upload-secrets"
    if status == "404":
        return f"{registry} does not have release {release}: inv registry.push"
    return f"it can't reach the registry {registry} (HTTP status {status or 'unknown'}): inv registry.status"


def prepare(names: Names, release: Release) -> list[str]:
    """Return the argv that brings a release and its images to the machine."""
    return [f"{names.programs}/installer", "pull", release.version, release.image]


def install(names: Names, release: Release, lock: str) -> Script:
    """Return what begins the install of `release`, if the cluster's lock has the id `lock`."""
    wanted = f"RELEASE_VERSION={release.version}\nRELEASE_IMAGE={release.image}"
    unit = f"{names.system}-installer.service"
    return Script("begin the install", INSTALL, names.programs, names.state, unit, lock, wanted)


def hold_updates(names: Names) -> Script:
    """Return what stops the updates of the machine itself."""
    return Script("hold the machine's own updates", HOLD_UPDATES, f"/run/{names.system}/held-updates", *UPDATERS)


def let_updates(names: Names) -> Script:
    """Return what ends `hold_updates`."""
    return Script("let the machine update itself", LET_UPDATES, f"/run/{names.system}/held-updates")


def connections(names: Names, seconds: float) -> list[str]:
    """Return the argv that waits until the machine's router has no connections, at most so long, and tells how many."""
    socket, url = f"/run/{names.system}/agent/agent.sock", f"http://agent/connections?seconds={seconds:g}"
    limit = f"{seconds + ANSWER_SECONDS:g}"
    return [CURL, "--silent", "--show-error", "--max-time", limit, "--unix-socket", socket, url]


def parse_connections(text: str) -> int | None:
    """Return how many `connections` tells; None when it does not."""
    try:
        told = json.loads(text)
    except ValueError:
        return None
    found = told.get("connections") if isinstance(told, dict) else None
    return found if isinstance(found, int) else None


def clean_up(registry: str, system: str, keep: Sequence[str]) -> Script:
    """Return what removes the system's images from the machine, but those of `keep` and what containers use."""
    return Script("remove old images", CLEAN_UP, f"{registry}/{system}/", *keep)


def parse_number(text: str, name: str) -> int | None:
    """Return the number in the line NAME=NUMBER, None when there is no such line."""
    found = re.search(rf"^{name}=(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None
