# shellcheck shell=sh
# Names, paths and small functions shared by the steps of scripts/bootstrap.

STATE_DIR=/var/lib/argosy
RUN_DIR=/run/argosy
ENGINE_CONFIG=$STATE_DIR/dockerd.json
ENGINE_DATA=$STATE_DIR/docker
ENGINE_PIDFILE=$RUN_DIR/docker.pid
ENGINE_LOG=/var/log/argosy-docker.log
ENGINE_SOCKET=/var/run/docker.sock
ENGINE_START_SECONDS=60
ENGINE_STOP_SECONDS=60
# What dockerd changes in the host's settings, as it was before.
HOST_BEFORE=$STATE_DIR/host.before
INSTALLED=$STATE_DIR/packages.installed
TRUSTED=/etc/docker/certs.d

BASE_LABEL=argosy.base
# A suite named in the environment (`make SUITE=trixie`), else by invoke.yaml under build:.
SUITE=${SUITE:-${INVOKE_BUILD_SUITE:-$(sed -n 's/^[^#]*suite: *"\{0,1\}\([a-z]*\).*/\1/p' "$ROOT/invoke.yaml" | head -n 1)}}

# Preflight looks at these before there is a Python to read invoke.yaml: a local.subnet that stands there,
# else the default; and the ports of the example.
SUBNET_PREFIX=$(sed -n 's/^.*subnet: *"\{0,1\}\([0-9]*\.[0-9]*\.[0-9]*\)\..*/\1/p' "$ROOT/invoke.yaml" | head -n 1)
SUBNET_PREFIX=${SUBNET_PREFIX:-192.168.55}
PORTS="5000 5432 8080"

STEP=bootstrap

say() {
    printf '%-10s %s\n' "$STEP:" "$*"
}

# problem WHAT WHERE WHAT-TO-DO: one line about something that can't work.
problem() {
    printf '%s: %s (%s): %s\n' "$STEP" "$1" "$2" "$3" >&2
}

die() {
    problem "$@"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# wait_until SECONDS COMMAND...: poll COMMAND until it succeeds or the deadline passes.
wait_until() {
    wait_deadline=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$wait_deadline" ] || return 1
        sleep 0.2
    done
}

systemd_is_init() {
    [ -d /run/systemd/system ]
}

# An engine that has answered once is taken to be there; `engine_answered=` asks again.
engine_answers() {
    [ -z "${engine_answered-}" ] || return 0
    have docker && timeout 10 docker info >/dev/null 2>&1 && engine_answered=yes
}

# Docker names the bridge of a network br- and the first twelve digits of its id.
is_docker_bridge() {
    echo "$1" | grep -qxE 'br-[0-9a-f]{12}' && [ -d "/sys/class/net/$1/bridge" ]
}

has_no_ports() {
    [ -z "$(ls "/sys/class/net/$1/brif")" ]
}

# Succeeds when the process in the pidfile is the engine that this script started; sets engine_pid.
engine_is_ours() {
    [ -s "$ENGINE_PIDFILE" ] || return 1
    engine_pid=$(cat "$ENGINE_PIDFILE")
    [ -r "/proc/$engine_pid/cmdline" ] || return 1
    tr '\0' ' ' <"/proc/$engine_pid/cmdline" | grep -q -- "--config-file $ENGINE_CONFIG "
}

# Print the field "id" or "path" of the checkout.json in the state folder of the checkout $1.
checkout_field() {
    sed -n "s/^ *\"$2\": *\"\(.*\)\",\{0,1\}\$/\1/p" "$1/.argosy/checkout.json" 2>/dev/null
}

# Print this checkout's id (argosy.engine.checkout), or nothing while it has made nothing. A copy has not, either,
# as long as its file still says what the original's does.
checkout_id() {
    own_id=$(checkout_field "$ROOT" id)
    written_path=$(checkout_field "$ROOT" path)
    if [ "$written_path" != "$ROOT" ] && [ "$(checkout_field "$written_path" id)" = "$own_id" ] &&
        ! [ "$written_path/.argosy/checkout.json" -ef "$ROOT/.argosy/checkout.json" ]; then
        return
    fi
    echo "$own_id"
}

# List, one a line, the containers, volumes and networks of clusters: KIND|NAME|checkout's id|cluster|checkout's path.
cluster_things() {
    fields='{{.Label "argosy.checkout"}}|{{.Label "argosy.cluster"}}|{{.Label "argosy.path"}}'
    docker ps --all --filter label=argosy.cluster --format "container|{{.Names}}|$fields"
    docker volume ls --filter label=argosy.cluster --format "volume|{{.Name}}|$fields"
    docker network ls --filter label=argosy.cluster --format "network|{{.Name}}|$fields"
}

# The same of other checkouts alone. What has no id is older than the ids, and nobody knows whose it is.
things_of_others() {
    cluster_things | awk -F'|' -v own="$(checkout_id)" 'own == "" || $3 != own'
}

# Print whose the clusters of other checkouts are, for people.
other_clusters() {
    things_of_others | awk -F'|' '{ print "cluster " $4 " of " ($5 == "" ? "a checkout that is not known" : $5) }' | sort -u |
        paste -sd, - | sed 's/,/, /g'
}
