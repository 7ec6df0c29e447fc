"""Pure. How a machine leaves a cluster: what is run on it, and what of it stands in etcd.

The scripts run as root. Each looks at what is there and does the rest, so it can be run again after any end. After the
last one the machine is as it was before it was one; what its packages, containers and volumes of others hold stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.discovery.report import registered_by
from argosy.etcd.values import Entry
from argosy.paths import UNIT_FOLDER, Names
from argosy.rendering.service_unit import marker
from argosy.schema import MACHINES, ROUTERS, SERVICES
from argosy.ssh.shell import Script

STOP_SERVICES = """\
set -eu
system=$1 folder=$2 mark=$3
shift 3
known() { systemctl cat "$1" >/dev/null 2>&1; }
# Nothing may start the services again meanwhile.
if known "$system-secrets.path"; then systemctl --quiet disable --now "$system-secrets.path"; fi
for unit in "$system-secrets.service" "$system-installer.service"; do
  if known "$unit"; then systemctl stop "$unit"; fi
done
own='' last=''
for path in "$folder/$system"-*.service; do
  [ -f "$path" ] && [ "$(head -n 1 "$path")" = "$mark" ] || continue
  unit=${path##*/}
  name=${unit#"$system"-}
  case " $* " in *" ${name%.service} "*) last="$last $unit" ;; *) own="$own $unit" ;; esac
done
[ -z "$own" ] || systemctl --quiet disable --now -- $own
[ -z "$last" ] || systemctl --quiet disable --now -- $last
"""
"""$1: the system; $2: the folder of units; $3: the first line of a service's unit; $4...: services that stop last.

One `systemctl` for all stops them in the reverse of their order; each takes itself out of the routers first, for which
the agent, among the last ones, has to be there.
"""

LEAVE = """\
set -eu
system=$1 config=$2 state=$3
unit=$system-etcd.service
if systemctl cat "$unit" >/dev/null 2>&1; then systemctl --quiet disable --now "$unit"; fi
rm -f -- "$config/secrets/.complete" "$state/install.json"
for folder in "$config/secrets" "$state/etcd"; do
  [ ! -d "$folder" ] || find "$folder" -mindepth 1 -delete
done
sync
"""
"""$1: the system; $2: /etc/S; $3: /var/lib/S. For a machine that the cluster has forgotten."""


UNDO_DNS = """\
set -eu
if [ -x "$1" ]; then "$1" --undo; fi
"""
"""$1: the program use-dns, which goes when that is done."""

TAKE_AWAY = """\
set -eu
system=$1 place=$2 mark=$3 config=$4 state=$5 programs=$6 run=$7 units=$8 volumes=$9
shift 9
# The programs first: without them nothing of what follows is done again by itself.
for path in "$@"; do rm -f -- "$path"; done
for path in "$place/$system"-*.service; do
  if [ -f "$path" ] && [ "$(head -n 1 "$path")" = "$mark" ]; then units="$units ${path##*/}"; fi
done
for unit in $units; do
  [ -e "$place/$unit" ] || continue
  systemctl stop "$unit"
  # One that nobody enables has nothing to be disabled, which is an error to some versions.
  systemctl --quiet disable "$unit" >/dev/null 2>&1 || true
  rm -f -- "$place/$unit"
done
systemctl daemon-reload
systemctl reset-failed "$system-*" >/dev/null 2>&1 || true
for volume in $volumes; do
  if docker volume inspect "$volume" >/dev/null 2>&1; then
    docker volume rm "$volume" >/dev/null 2>&1 || echo "the volume $volume, which somebody uses"
  fi
done
if [ "$(docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null)" = inactive ]; then
  docker network rm docker_gwbridge >/dev/null 2>&1 || true
fi
for name in agent etcd files router services templates; do rm -rf -- "$state/$name"; done
for name in install.json installer.lock release.env release.json swapfile swapfile.new units.sha256; do
  rm -f -- "$state/$name"
done
rm -rf -- "$run" "$config/secrets"
# What a write that was cut off has left.
find "$config" "$state" -maxdepth 1 -type f -name '.*.????????' -delete 2>/dev/null || true
rm -f -- "$config/shared.json"
for path in "$@"; do
  folder=${path%/*}
  case $path in */certs.d/*/ca.crt) rmdir -- "$folder" "${folder%/*}" 2>/dev/null || true ;; esac
done
for left in "$programs" "${programs%/*}" "$config" "$state"; do
  [ ! -d "$left" ] || rmdir -- "$left" 2>/dev/null || find "$left" -mindepth 1 -maxdepth 1
done
"""
"""$1: the system; $2: the folder of units; $3: the first line of a service's unit; $4: /etc/S; $5: /var/lib/S; $6:
/opt/S/bin; $7: /run/S; $8: units, by spaces; $9: volumes, by spaces; then files. Prints what is left because it is not
ours: a service may have had a folder of its own in one of ours.
"""


def stop_services(system: str, last: Iterable[str]) -> Script:
    """Return what stops all services of the system, `last` after the others, and keeps them stopped over a boot."""
    return Script("stop the services", STOP_SERVICES, system, UNIT_FOLDER, marker(system), *last)


def leave(system: str) -> Script:
    """Return what ends etcd and removes its data and every secret."""
    names = Names(system)
    return Script("leave the cluster", LEAVE, system, names.config, names.state)


def undo_dns(names: Names) -> Script:
    """Return what lets the machine ask for names as before."""
    return Script("let it ask for names as before", UNDO_DNS, f"{names.programs}/use-dns")


def take_away(names: Names, files: Iterable[str], units: Iterable[str], volumes: Iterable[str]) -> Script:
    """Return what removes our units and files, and these volumes, and prints what is left of our folders."""
    folders = (names.config, names.state, names.programs, f"/run/{names.system}")
    words = (names.system, UNIT_FOLDER, marker(names.system), *folders, " ".join(units), " ".join(volumes), *files)
    return Script("take away what is ours", TAKE_AWAY, *words)


def keys_of(machine: str, entries: Iterable[Entry]) -> list[str]:
    """Return the keys among `entries` that are of this machine: its record, its router's, its instances'."""
    return [entry.key for entry in entries if _is_of(machine, entry.key)]


def _is_of(machine: str, key: str) -> bool:
    if key.startswith(SERVICES):
        # /services/NAME/hosts/ID, /services/NAME/weight/ID, /services/NAME/drain/ID
        words = key.removeprefix(SERVICES).split("/")
        return len(words) == 3 and words[1] in ("hosts", "weight", "drain") and registered_by(words[2]) == machine
    return key in (MACHINES + machine, ROUTERS + machine) or key.startswith(f"{ROUTERS}{machine}/")
