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

BASE_IMAGE=debian:bookworm-slim
SUBNET_PREFIX=192.168.55
REGISTRY_PORT=5000
BALANCER_PORT=8080

STEP=bootstrap

say() {
    printf '%-10s %s\n' "$STEP:" "$*"
}

# die WHAT WHERE WHAT-TO-DO: one line, then a non-zero exit.
die() {
    printf '%s: %s (%s): %s\n' "$STEP" "$1" "$2" "$3" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

now_seconds() {
    date +%s
}

# wait_until SECONDS COMMAND...: poll COMMAND until it succeeds or the deadline passes.
wait_until() {
    wait_deadline=$(($(now_seconds) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now_seconds)" -lt "$wait_deadline" ] || return 1
        sleep 0.2
    done
}

engine_answers() {
    have docker && timeout 10 docker info >/dev/null 2>&1
}

# Succeeds when the process in the pidfile is the engine that this script started.
engine_is_ours() {
    [ -s "$ENGINE_PIDFILE" ] || return 1
    engine_pid=$(cat "$ENGINE_PIDFILE")
    tr '\0' ' ' 2>/dev/null <"/proc/$engine_pid/cmdline" | grep -q -- "--config-file $ENGINE_CONFIG "
}

systemd_is_init() {
    [ -d /run/systemd/system ]
}
