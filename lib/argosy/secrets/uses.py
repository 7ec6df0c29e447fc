"""Pure. What on a machine uses which secrets: the scripts that ask and restart it, and what their output means.

A service's secret is a bind mount of one file, so a container whose file is another inode than the one that lies there
now has the old content, whoever has put the new one there. etcd has the whole folder, but reads its CA at its start
only: what it was restarted for stands in /run/S/etcd-trusts, which a boot clears.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from argosy.paths import Names
from argosy.ssh.shell import Script

DOCKER_TRUST = "/etc/docker/certs.d"

LOOK = """\
set -eu
system=$1 secrets=$2 registries=$3
shift 3
if [ -r "/run/$system/etcd-trusts" ]; then echo "trusts $(cat "/run/$system/etcd-trusts")"; fi
for registry in $registries; do
  file=$registry/ca.crt
  if [ -f "$file" ]; then echo "registry $(sha256sum <"$file" | cut -d' ' -f1)"; fi
done
[ $# -gt 0 ] || exit 0
if ! command -v docker >/dev/null; then
  command -v dockerd >/dev/null || exit 0
  echo "there is an engine and no program docker to ask it: install docker-cli" >&2
  exit 127
fi
for use in "$@"; do
  service=${use%%:*} name=${use#*:}
  pid=$(docker inspect --format '{{.State.Pid}}' "$system-$service" 2>/dev/null) || continue
  [ "$pid" != 0 ] || continue
  present=$(stat -L -c %d:%i "$secrets/$name" 2>/dev/null) || continue
  used=$(stat -L -c %d:%i "/proc/$pid/root/run/secrets/$name" 2>/dev/null) || continue
  if [ "$present" != "$used" ]; then echo "stale $service $name"; fi
done
"""
"""$1: the system; $2: its folder of secrets; $3: folders of Docker's trust; then SERVICE:SECRET for each use."""

TRUST_REGISTRY = """\
set -eu
source=$1
shift
umask 022
for folder in "$@"; do
  file=$folder/ca.crt
  [ -f "$file" ] || continue
  ! cmp -s "$source" "$file" || continue
  cp "$source" "$file.new"
  chmod 644 "$file.new"
  sync "$file.new"
  mv -fT "$file.new" "$file"
done
"""
"""$1: the CA file; then folders of Docker's trust. Where no CA stands the registry has never been ours."""

RESTART_ETCD = """\
set -eu
system=$1 file=$2
sum=$(sha256sum <"$file" | cut -d' ' -f1)
systemctl restart "$system-etcd.service"
mkdir -p "/run/$system"
printf '%s\\n' "$sum" >"/run/$system/.etcd-trusts"
mv -fT "/run/$system/.etcd-trusts" "/run/$system/etcd-trusts"
"""
"""$1: the system; $2: the CA file."""

RESTART = """\
set -eu
unit=$1
systemctl cat "$unit" >/dev/null 2>&1 || exit 0
systemctl restart "$unit"
"""
"""$1: the unit, whose ExecStop deregisters the instance first."""


@dataclass(frozen=True, slots=True)
class Used:
    """`stale`: service -> the secrets of which it has an older file; `registry`: SHA-256 of Docker's CA files."""

    trusts: str = ""
    registry: tuple[str, ...] = ()
    stale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def look(system: str, registries: Sequence[str], uses: Mapping[str, Collection[str]]) -> Script:
    pairs = [f"{service}:{name}" for service, names in uses.items() for name in sorted(names)]
    folders = " ".join(trust_folder(registry) for registry in registries)
    return Script("look who uses which secrets", LOOK, system, Names(system).secrets, folders, *pairs)


def parse_used(output: str) -> Used:
    """Read what LOOK printed."""
    trusts, registry = "", []
    stale: dict[str, tuple[str, ...]] = {}
    for line in output.splitlines():
        kind, first, *rest = line.split(" ")
        if kind == "trusts":
            trusts = first
        elif kind == "registry":
            registry.append(first)
        else:
            stale[first] = (*stale.get(first, ()), *rest)
    return Used(trusts, tuple(registry), stale)


def trust_folder(registry: str) -> str:
    return f"{DOCKER_TRUST}/{registry}"


def trust_registry(system: str, registries: Sequence[str]) -> Script:
    source = f"{Names(system).secrets}/ca.crt"
    return Script("trust the registry", TRUST_REGISTRY, source, *(trust_folder(registry) for registry in registries))


def restart_etcd(system: str) -> Script:
    return Script("restart etcd", RESTART_ETCD, system, f"{Names(system).secrets}/ca.crt")


def restart(unit: str) -> Script:
    return Script(f"restart {unit}", RESTART, unit)
