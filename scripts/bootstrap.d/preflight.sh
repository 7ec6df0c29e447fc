# shellcheck shell=sh
# What must hold before anything is changed. All checks are made, each that fails says one line.

# Three machines take 4 GB, five 6 GB, with all images.
FIRST_RUN_GIGABYTES=8
LATER_RUN_GIGABYTES=3
MEMORY_MEGABYTES=2000

step_preflight() {
    STEP=preflight
    problems=0
    for check in apt python packages cgroups capabilities engine memory space ports subnet; do
        "check_$check" || problems=$((problems + 1))
    done
    [ "$problems" -eq 0 ] || exit 1
    say "this host will do"
}

check_apt() {
    have apt-get || {
        problem "no apt-get" "this host" "use a Debian or Ubuntu host; elsewhere install Docker yourself, and Vagrant if you like"
        return 1
    }
}

# Print the first Python that is new enough, the system's own before others.
find_python() {
    for candidate in /usr/bin/python3 /usr/bin/python3.14 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

apt_knows_packages() {
    apt-cache policy coreutils 2>/dev/null | grep -q '://'
}

installable() {
    apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

# Print the name of an apt package with a Python that is new enough.
installable_python() {
    for candidate in python3.14 python3.13 python3.12 python3.11; do
        if installable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# Before the first `apt-get update` of a host there are no lists to ask; then apt itself will say it.
check_python() {
    find_python >/dev/null || installable_python >/dev/null || ! apt_knows_packages || {
        problem "no Python 3.11 or newer, and apt has none" "this host" "install Python 3.11, or use Debian 12 or Ubuntu 24.04"
        return 1
    }
}

check_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] && apt_knows_packages || return 0
    unknown=
    for package in $missing; do
        installable "$package" || unknown="$unknown $package"
    done
    [ -z "$unknown" ] || {
        problem "apt has no$unknown" "the apt sources of this host" "install it from its maker, or add a source that has it"
        return 1
    }
}

check_cgroups() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        return
    elif ! grep -q '^[^ ]* /sys/fs/cgroup/[^ ]* cgroup [^ ]*memory' /proc/mounts; then
        problem "no cgroups" "/sys/fs/cgroup" "mount them (apt-get install cgroupfs-mount), or use a host that has them"
        return 1
    elif ! grep -q '^[^ ]* [^ ]* cgroup [^ ]*name=systemd' /proc/mounts; then
        problem "no cgroup hierarchy for systemd" "/sys/fs/cgroup/systemd" \
            "mkdir -p /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd"
        return 1
    fi
}

# Bits of linux/capability.h: CAP_NET_ADMIN is 12, CAP_SYS_ADMIN is 21.
check_capabilities() {
    effective=$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status)
    if [ $((0x$effective >> 12 & 1)) -eq 0 ] || [ $((0x$effective >> 21 & 1)) -eq 0 ]; then
        problem "root lacks CAP_SYS_ADMIN or CAP_NET_ADMIN" "this container" "run on the host itself, or in a privileged container"
        return 1
    fi
}

check_engine() {
    case ${DOCKER_HOST-} in
        "" | unix://*) ;;
        *)
            problem "DOCKER_HOST names an engine elsewhere" "$DOCKER_HOST" "unset DOCKER_HOST: machines must be reachable by address"
            return 1
            ;;
    esac
    engine_answers || return 0
    if docker info --format '{{.SecurityOptions}} {{.OperatingSystem}}' | grep -qE 'rootless|Docker Desktop'; then
        problem "the Docker engine is rootless or Docker Desktop" "$(docker context show 2>/dev/null)" \
            "use an engine that runs as root on this host: machines need devices and addresses"
        return 1
    fi
}

check_memory() {
    megabytes=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
    [ "$megabytes" -ge "$MEMORY_MEGABYTES" ] || our_cluster_runs || {
        problem "$megabytes MB of memory are free, $MEMORY_MEGABYTES MB are needed" "this host" "end something, or add memory"
        return 1
    }
}

# Succeeds when a cluster runs on this host, of any checkout.
a_cluster_runs() {
    engine_answers && [ -n "$(docker ps --quiet --filter label=argosy.cluster)" ]
}

# Succeeds when one of this checkout's runs.
our_cluster_runs() {
    a_cluster_runs && [ -n "$(checkout_id)" ] &&
        [ -n "$(docker ps --quiet --filter "label=argosy.checkout=$(checkout_id)")" ]
}

engine_data() {
    if engine_answers; then
        docker info --format '{{.DockerRootDir}}'
    elif systemd_is_init; then
        echo /var/lib/docker
    else
        echo "$ENGINE_DATA"
    fi
}

check_space() {
    where=$(engine_data)
    while [ ! -d "$where" ]; do
        where=$(dirname "$where")
    done
    needed=$FIRST_RUN_GIGABYTES
    if engine_answers && [ -n "$(docker image ls --quiet --filter label=argosy.image)" ]; then
        needed=$LATER_RUN_GIGABYTES
    fi
    free=$(df -Pk "$where" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$needed" ] || {
        problem "$free GB are free, $needed GB are needed" "$where, the engine's disk" "make room, for example: docker system prune"
        return 1
    }
}

# The first three numbers of the machines' network as /proc/net has them: hexadecimal, bytes reversed.
subnet_hex() {
    echo "$SUBNET_PREFIX" | awk -F. '{ printf "%02X%02X%02X", $3, $2, $1 }'
}

# Succeeds when something listens on the port on all addresses, or on one of the machines' network.
# In /proc/net/tcp, local_address is ADDRESS:PORT in hexadecimal; state 0A is LISTEN.
# https://www.kernel.org/doc/Documentation/networking/proc_net_tcp.txt
port_is_taken() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk '$4 == "0A" { print $2 }' |
        grep -qE "^(0{8}|0{32}|..$(subnet_hex)):$(printf '%04X' "$1")\$"
}

# Where a cluster runs, of this checkout or another, `inv local.start` says whose the listeners are, and goes elsewhere.
check_ports() {
    if a_cluster_runs; then
        return
    fi
    taken=
    for port in $PORTS; do
        ! port_is_taken "$port" || taken="$taken $port"
    done
    [ -z "$taken" ] || {
        problem "port$taken in use" "this host" "stop what listens there (ss -ltnp shows it)"
        return 1
    }
}

# Names of the bridges that belong to networks of ours.
our_bridges() {
    engine_answers || return 0
    docker network ls --filter label=argosy.system --format '{{.ID}}' | sed 's/^/br-/'
}

# Succeeds for an unused bridge of Docker's while no engine runs that could say whose it is: the engine
# takes its own up again when it starts, and `step_engine` removes one that it does not know.
waits_for_engine() {
    ! engine_answers && is_docker_bridge "$1" && has_no_ports "$1"
}

check_subnet() {
    interface=$(awk -v subnet="$(subnet_hex)" 'NR > 1 && substr($2, 3) == subnet { print $1; exit }' /proc/net/route)
    [ -z "$interface" ] || our_bridges | grep -qx "$interface" || waits_for_engine "$interface" || {
        problem "$SUBNET_PREFIX.0/24 is in use" "interface $interface" \
            "set another local.subnet in invoke.yaml, or remove that interface"
        return 1
    }
}
