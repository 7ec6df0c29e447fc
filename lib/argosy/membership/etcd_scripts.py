"""Pure. What is run on a machine for its etcd: to tell it the members, to clear its way, to give it a snapshot's data.

The scripts run as root, and can be run again after any end.
"""

from __future__ import annotations

from argosy.paths import Names
from argosy.ssh.shell import Script

READ_ENDPOINTS = """\
[ -e "$1" ] || exit 0
sed -n 's/^ETCD_ENDPOINTS=//p' "$1"
"""
"""$1: machine.env. Prints nothing on a machine that has none yet; one that can't be read is an error."""

WRITE_ENDPOINTS = """\
set -eu
file=$1 wanted=$2
umask 022
part=$(mktemp "${file%/*}/.${file##*/}.XXXXXXXX")
trap 'rm -f -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
sed "s|^ETCD_ENDPOINTS=.*|ETCD_ENDPOINTS=$wanted|" "$file" >"$part"
grep -q '^ETCD_ENDPOINTS=' "$part" || { echo "$file has no ETCD_ENDPOINTS" >&2; exit 1; }
chmod 644 "$part"
sync "$part"
mv -fT -- "$part" "$file"
sync "${file%/*}/"
"""
"""$1: machine.env; $2: the new value, of letters, digits and . : / , - only."""

OBSERVE = """\
if [ -d "$1/member" ]; then echo data; fi
"""
"""$1: etcd's folder. Prints `data` when a member's data is in it."""

WAIT_FOR_BOOT = """\
if command -v cloud-init >/dev/null 2>&1; then cloud-init status --wait >/dev/null 2>&1 || true; fi
"""
"""What cloud-init thinks of its own work is for the install to show."""

START = """\
set -eu
system=$1
for unit in "$system-etcd.service" "$system-installer.service"; do
  if systemctl cat "$unit" >/dev/null 2>&1; then systemctl start --no-block "$unit"; fi
done
"""
"""$1: the system. On a machine that has had secrets before, nothing else starts them after an upload."""

STOP_ETCD = """\
set -eu
unit=$1-etcd.service
if systemctl cat "$unit" >/dev/null 2>&1; then systemctl --quiet disable --now "$unit"; fi
"""
"""$1: the system."""

SET_ASIDE = """\
set -eu
folder=$1
[ -d "$folder/member" ] || exit 0
rm -rf -- "$folder"/aside-*
mv -T -- "$folder/member" "$folder/aside-$2"
sync -f "$folder"
"""
"""$1: etcd's folder; $2: what to call it. Keeps the data of the last time only."""

PREPARE = """\
set -eu
config=$1 folder=$2 needed=$3
grep -qs '^ETCD_NAME=' "$config/etcd.env" || { echo "it is not set up to run etcd" >&2; exit 1; }
[ -e "$config/secrets/.complete" ] || { echo "its secrets are not complete: inv cluster.upload-secrets" >&2; exit 1; }
mkdir -p -- "$folder"
chmod 700 -- "$folder"
free=$(df --block-size=M --output=avail "$folder" | tail -n 1 | tr -dc 0-9)
[ "$free" -ge "$needed" ] || { echo "only $free MB are free in $folder, $needed MB are needed" >&2; exit 1; }
"""
"""$1: /etc/S; $2: etcd's folder; $3: megabytes for a snapshot and what is made of it."""

RESTORE = """\
set -eu
config=$1 programs=$2 folder=$3 snapshot=$4 name=$5 cluster=$6 token=$7 peer=$8
image=$(sed -n 's/^IMAGE=//p' "$config/etcd.env")
"$programs/pull-image" "$image"
umask 077
mkdir -p -- "$folder"
rm -rf -- "$folder/restored"
inside() {
  docker run --rm --network none --user 0:0 --cap-drop ALL --read-only --log-driver none \
    --security-opt label=disable "$@"
}
tool=etcdutl
inside --entrypoint etcdutl "$image" version >/dev/null 2>&1 || [ $? -ne 127 ] || tool=etcdctl
inside --volume "$folder:/var/lib/etcd" --volume "$snapshot:/snapshot.db:ro" --entrypoint "$tool" "$image" \
  snapshot restore /snapshot.db --data-dir /var/lib/etcd/restored --name "$name" --initial-cluster "$cluster" \
  --initial-cluster-token "$token" --initial-advertise-peer-urls "$peer"
sync -f "$folder"
"""
"""Makes the data of a new cluster out of a snapshot, in a folder beside the present data.

$1: /etc/S; $2: /opt/S/bin; $3: etcd's folder; $4: the snapshot, whose hash is checked; $5: the machine;
$6: NAME=PEER-URL of all members, by commas; $7: a token that no other cluster has; $8: the own peer URL.
etcdutl does it from etcd 3.5 on, and from 3.6 on it alone; where there is none (Docker's 127), etcdctl.
https://etcd.io/docs/v3.6/op-guide/recovery/#restoring-a-cluster
"""

USE_RESTORED = """\
set -eu
system=$1 folder=$2
shift 2
[ -d "$folder/restored/member" ] || [ -d "$folder/member" ] || { echo "nothing was restored" >&2; exit 1; }
if [ -d "$folder/restored/member" ]; then
  rm -rf -- "$folder"/aside-*
  if [ -d "$folder/member" ]; then mv -T -- "$folder/member" "$folder/aside-$1"; fi
  mv -T -- "$folder/restored/member" "$folder/member"
  rm -rf -- "$folder/restored"
  sync -f "$folder"
fi
rm -f -- "$folder/snapshot.db"
systemctl --quiet enable "$system-etcd.service"
systemctl start --no-block "$system-etcd.service"
"""
"""$1: the system; $2: etcd's folder; $3: what to call the data that was there."""

LOOK_FOR_IMAGE = """\
set -u
config=$1 container=$2
sed -n 's/^IMAGE=/chosen /p' "$config/etcd.env"
docker inspect --type container --format 'runs {{.Config.Image}}' "$container" 2>/dev/null || true
"""
"""$1: /etc/S; $2: etcd's container. Prints `chosen IMAGE`, and `runs IMAGE` when there is a container."""

PULL = """\
set -eu
programs=$1 image=$2
"$programs/pull-image" "$image" >&2
docker run --rm --network none --user 0:0 --cap-drop ALL --read-only --log-driver none --security-opt label=disable \
  --entrypoint etcd "$image" --version
"""
"""$1: /opt/S/bin; $2: an image of etcd. Prints what etcd says of its version."""

CHOOSE = """\
set -eu
file=$1/etcd.env image=$2
umask 022
sed -n 's/^IMAGE=//p' "$file"
part=$(mktemp "${file%/*}/.${file##*/}.XXXXXXXX")
trap 'rm -f -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
sed "s|^IMAGE=.*|IMAGE=$image|" "$file" >"$part"
grep -q '^IMAGE=' "$part" || { echo "$file has no IMAGE" >&2; exit 1; }
chmod 644 "$part"
sync "$part"
mv -fT -- "$part" "$file"
sync "${file%/*}/"
"""
"""$1: /etc/S; $2: the image that etcd is started with the next time. Prints the one of before."""

RESTART_AGENT = """\
set -eu
unit=$1-agent.service
if systemctl cat "$unit" >/dev/null 2>&1; then systemctl try-restart "$unit"; fi
"""
"""$1: the system. An agent that follows revisions of which the restored etcd knows nothing has to list all anew."""


def etcd_folder(system: str) -> str:
    return f"{Names(system).state}/etcd"


def snapshot_path(system: str) -> str:
    """Return where a snapshot waits to be restored: a folder of root's alone."""
    return f"{etcd_folder(system)}/snapshot.db"


def read_endpoints(system: str) -> Script:
    return Script("read the members", READ_ENDPOINTS, f"{Names(system).config}/machine.env")


def write_endpoints(system: str, endpoints: str) -> Script:
    return Script("write the members", WRITE_ENDPOINTS, f"{Names(system).config}/machine.env", endpoints)


def observe(system: str) -> Script:
    return Script("look for etcd's data", OBSERVE, etcd_folder(system))


def wait_for_boot() -> Script:
    return Script("wait for the boot", WAIT_FOR_BOOT)


def start(system: str) -> Script:
    return Script("start the install", START, system)


def stop_etcd(system: str) -> Script:
    return Script("stop etcd", STOP_ETCD, system)


def set_aside(system: str, name: str) -> Script:
    return Script("set etcd's data aside", SET_ASIDE, etcd_folder(system), name)


def prepare(system: str, megabytes: int) -> Script:
    return Script("prepare the restoring", PREPARE, Names(system).config, etcd_folder(system), str(megabytes))


def restore(system: str, name: str, cluster: str, token: str, peer_url: str) -> Script:
    names, folder = Names(system), etcd_folder(system)
    words = (names.config, names.programs, folder, snapshot_path(system), name, cluster, token, peer_url)
    return Script("restore etcd's data", RESTORE, *words)


def use_restored(system: str, name: str) -> Script:
    return Script("start etcd with the restored data", USE_RESTORED, system, etcd_folder(system), name)


def look_for_image(system: str) -> Script:
    return Script("look for etcd's image", LOOK_FOR_IMAGE, Names(system).config, f"{system}-etcd")


def parse_images(output: str) -> tuple[str, str]:
    """Return the digests of the images that etcd runs and is started with, each empty where there is none."""
    told = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    runs, chosen = (told.get(name, "").rpartition("@")[2] for name in ("runs", "chosen"))
    return runs, chosen


def pull(system: str, image: str) -> Script:
    return Script("pull etcd's image", PULL, Names(system).programs, image)


def choose(system: str, image: str) -> Script:
    return Script("choose etcd's image", CHOOSE, Names(system).config, image)


def restart_agent(system: str) -> Script:
    return Script("restart the agent", RESTART_AGENT, system)
