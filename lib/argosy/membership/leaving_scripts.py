"""How a machine leaves a cluster: what is run on it, and what of it stands in etcd. Pure.

The scripts run as root. Each looks at what is there and does the rest, so it can be run again after any end. Afterwards
the machine is as one that waits for its secrets; what it was trusted with is gone from it.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.discovery_report import registered_by
from argosy.machine_files import Names
from argosy.remote_shell import Script
from argosy.schema import MACHINES, ROUTERS, SERVICES, KeyValue
from argosy.service_unit import marker

UNIT_FOLDER = "/etc/systemd/system"

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


def stop_services(system: str, last: Iterable[str]) -> Script:
    """Return what stops all services of the system, `last` after the others, and keeps them stopped over a boot."""
    return Script("stop the services", STOP_SERVICES, system, UNIT_FOLDER, marker(system), *last)


def leave(system: str) -> Script:
    """Return what ends etcd and removes its data and every secret."""
    names = Names(system)
    return Script("leave the cluster", LEAVE, system, names.config, names.state)


def keys_of(machine: str, entries: Iterable[KeyValue]) -> list[str]:
    """Return the keys among `entries` that are of this machine: its record, its router's, its instances'."""
    return [entry.key for entry in entries if _is_of(machine, entry.key)]


def _is_of(machine: str, key: str) -> bool:
    if key.startswith(SERVICES):
        # /services/NAME/hosts/ID, /services/NAME/weight/ID, /services/NAME/drain/ID
        words = key.removeprefix(SERVICES).split("/")
        return len(words) == 3 and words[1] in ("hosts", "weight", "drain") and registered_by(words[2]) == machine
    return key in (MACHINES + machine, ROUTERS + machine) or key.startswith(f"{ROUTERS}{machine}/")
