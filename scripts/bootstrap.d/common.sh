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

BASE_IMAGE=debian:bookworm-slim
BASE_LABEL=argosy.base

# Preflight looks at these before there is a Python to read invoke.yaml: a local.subnet that stands there,
# else the default; and the ports of the example.
SUBNET_PREFIX=$(sed -n 's/^.*subnet: *"\{0,1\}\([0-9]*\.[0-9]*\.[0-9]*\)\..*/\1/p' "$ROOT/invoke.yaml" | head -n 1)
SUBNET_PREFIX=${SUBNET_PREFIX:-192.168.55}
REGISTRY=$SUBNET_PREFIX.1:5000
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
