# shellcheck shell=sh
# A Docker engine that answers: the one that runs, systemd's, or one started here.

# The bridges must not be wider than the way out, or large packets of nested engines vanish.
default_route_mtu() {
    route_interface=$(awk '$2 == "00000000" && $8 == "00000000" { print $1; exit }' /proc/net/route)
    if [ -n "$route_interface" ]; then
        cat "/sys/class/net/$route_interface/mtu"
    else
        echo 1500
    fi
}

# All options stand in a file of our own, so an /etc/docker/daemon.json that is there for
# another engine is neither read nor changed. No storage driver is named: dockerd takes
# overlay2 where the file system can do it and falls back by itself where it can't.
write_engine_config() {
    mkdir -p "$STATE_DIR" "$RUN_DIR"
    cat >"$ENGINE_CONFIG" <<JSON
{
  "hosts": ["unix://$ENGINE_SOCKET"],
  "data-root": "$ENGINE_DATA",
  "exec-root": "$RUN_DIR/docker",
  "pidfile": "$ENGINE_PIDFILE",
  "mtu": $(default_route_mtu),
  "log-opts": {"max-size": "10m", "max-file": "3"}
}
JSON
}

# Note what dockerd will change on the host, so that `down` can put it back.
record_host() {
    [ -e "$HOST_BEFORE" ] && return
    {
        echo "ip_forward=$(cat /proc/sys/net/ipv4/ip_forward)"
        echo "forward_policy=$(iptables -S FORWARD 2>/dev/null | awk '$1 == "-P" { print $3 }')"
        echo "docker_folder=$([ -e /etc/docker ] && echo kept)"
        echo "docker_key=$([ -e /etc/docker/key.json ] && echo kept)"
    } >"$HOST_BEFORE"
}

start_own_engine() {
    write_engine_config
    record_host
    engine_is_ours || rm -f "$ENGINE_PIDFILE"
    setsid dockerd --config-file "$ENGINE_CONFIG" </dev/null >>"$ENGINE_LOG" 2>&1 &
    if ! wait_until "$ENGINE_START_SECONDS" engine_answers; then
        die "the Docker engine did not answer within $ENGINE_START_SECONDS s" "$ENGINE_LOG" \
            "last line: $(tail -n 1 "$ENGINE_LOG")"
    fi
    remove_orphaned_bridges
}

# An engine that was killed leaves its bridges. The one that has just started, the only one, has taken up those
# that it knows; what no network of its has is nobody's, and its routes would mislead our own networks.
remove_orphaned_bridges() {
    for folder in /sys/class/net/br-*; do
        bridge=${folder##*/}
        if is_docker_bridge "$bridge" && has_no_ports "$bridge" &&
            ! docker network inspect "${bridge#br-}" >/dev/null 2>&1; then
            ip link delete "$bridge"
            say "removed $bridge, which an engine that was killed left"
        fi
    done
}

step_engine() {
    STEP=engine
    if engine_answers; then
        say "already answers: $(describe_engine)"
    elif systemd_is_init; then
        systemctl start docker ||
            die "systemctl start docker failed" "this host" "read: journalctl -u docker"
        wait_until "$ENGINE_START_SECONDS" engine_answers ||
            die "the Docker engine does not answer" "docker.service" "read: journalctl -u docker"
        say "started docker.service: $(describe_engine)"
    else
        start_own_engine
        say "started dockerd (data in $ENGINE_DATA, log $ENGINE_LOG): $(describe_engine)"
    fi
}

describe_engine() {
    docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}'
}
