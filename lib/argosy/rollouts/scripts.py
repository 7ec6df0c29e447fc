"""Pure. What is run on a machine while it is upgraded, and what its answers mean.

Everything runs as root. What is there already (pull-image, installer, etcdctl) is called, not done anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from argosy.cluster.release import Release
from argosy.paths import UNIT_FOLDER, Names
from argosy.rendering.service_unit import marker
from argosy.ssh.shell import Script
from argosy.text import json_object

LOCK_IS_ANOTHER_S = 77
"""How `install` ends when it finds that whoever sent it does not hold the cluster's lock (any more)."""

LOOK = """\
set -u
programs=$1 config=$2 state=$3 image=$4 units=$5 system=$6 mark=$7
echo "now=$(date +%s.%N)"
free() { df --block-size=1M --output=avail "$1" | tail -n 1 | tr -dc 0-9; }
echo "free_root=$(free /)"
if root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null); then echo "free_docker=$(free "$root")"; fi
cat "$config/release.env" "$state/release.env" 2>/dev/null | sed -n 's/^RELEASE_/RELEASE_/p'
[ ! -e "$state/install.json" ] || { printf 'record='; tr -d '\\n' <"$state/install.json"; echo; }
if ! command -v curl >/dev/null; then echo 'lacks=curl'; fi
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
machine whose installer has not written down yet what they must be."""

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
of the same release that is running is left alone; an earlier one's result must not be taken for that of this one."""

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


@dataclass(frozen=True, slots=True)
class Looked:
    """What a machine tells before a rollout. `now`: its clock; `free_*`: megabytes, None when Docker does not answer;
    `release`: what it must install; `installed`: that this has succeeded; `registry`: the HTTP status of what its
    registry says about the wanted image, empty when not asked, 000 when nothing answered; `lacks`: a program that it
    needs and does not have. `drifted`: units that are not as they were installed;
    None when they were not compared."""

    now: datetime
    free_root: int
    free_docker: int | None
    release: Release
    record: Mapping[str, Any] = field(default_factory=dict)
    registry: str = ""
    lacks: str = ""
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
    drifted = tuple(sorted(name.removeprefix("drifted.") for name in told if name.startswith("drifted.")))
    return Looked(
        now=datetime.fromtimestamp(float(told["now"]), UTC),
        free_root=int(told["free_root"]),
        free_docker=int(told["free_docker"]) if told.get("free_docker") else None,
        release=Release(told.get("RELEASE_VERSION", ""), told.get("RELEASE_IMAGE", "")),
        record=json_object(told.get("record", "")) or {},
        registry=told.get("registry", ""),
        lacks=told.get("lacks", ""),
        drifted=drifted if "drifted" in told else None,
    )


def registry_problem(status: str, registry: str, release: str) -> str:
    """Return what is wrong by the registry's answer about the release's image, as the machine got it; or nothing."""
    if status == "200":
        return ""
    if status in ("401", "403"):
        return f"{registry} refuses its password: inv cluster.upload-secrets"
    if status == "404":
        return f"{registry} does not have release {release}: inv registry.push"
    told = "no answer" if status in ("", "000") else f"HTTP status {status}"
    return f"it can't reach the registry {registry} ({told}): inv registry.status"


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
