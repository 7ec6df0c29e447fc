# shellcheck shell=sh
# Remove what the other steps made. Our own engine goes with its data, unless clusters of other checkouts are on it; of
# such an engine, as of one that is not ours, only what is this checkout's goes.

step_down() {
    STEP=down
    drop_policy
    noted_packages=$(sort -u "$INSTALLED" 2>/dev/null | tr '\n' ' ')
    others=
    if engine_answers; then
        others=$(other_clusters)
    fi
    if [ -n "$others" ]; then
        remove_ours_from_engine
        say "the engine and the images stay: $others"
    elif engine_is_ours; then
        remove_own_engine
    else
        if engine_answers; then
            remove_ours_from_engine
            remove_images
        fi
        remove_engine_files
    fi
    remove_registry_trust
    remove_from_tree
    say "packages stay${noted_packages:+: $noted_packages}"
}

# Names of containers and named volumes that are not ours. What a killed build left behind is: it has
# the label of our base image, as everything made from that has, and does not run.
foreign_things() {
    docker ps --all --format 'container {{.Names}}|{{.State}}|{{.Labels}}' |
        grep -vE "argosy\.(system|cluster|image|test)=|\|(created|exited|dead)\|.*$BASE_LABEL=" | cut -d'|' -f1
    docker volume ls --format 'volume {{.Name}}|{{.Labels}}' |
        grep -vE '^volume ([0-9a-f]{64}\||argosy-)|argosy\.(system|cluster|test)=' | cut -d'|' -f1
}

remove_own_engine() {
    if engine_answers; then
        foreign=$(foreign_things | tr '\n' ' ')
        [ -z "$foreign" ] || die "our engine holds things that are not ours" "$foreign" \
            "remove them (docker rm, docker volume rm), then run the same command again"
        bridges=$(docker network ls --filter driver=bridge --format '{{.ID}}' | sed 's/^/br-/;s/$/ /' | tr -d '\n')
    fi
    stop_own_engine
    engine_answered=
    remove_bridges "docker0 ${bridges-}"
    restore_host
    remove_engine_files
    say "removed our Docker engine with its data"
}

stop_own_engine() {
    kill -TERM "$engine_pid"
    if ! wait_until "$ENGINE_STOP_SECONDS" process_is_gone "$engine_pid"; then
        kill -KILL "$engine_pid"
        wait_until 10 process_is_gone "$engine_pid" ||
            die "the Docker engine does not end" "process $engine_pid" "read $ENGINE_LOG, end it, then run the same command again"
    fi
}

# A process that has ended but has not been waited for has no command line either.
process_is_gone() {
    [ -z "$(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline")" ]
}

remove_bridges() {
    for bridge in $1; do
        if [ -e "/sys/class/net/$bridge/bridge" ]; then
            ip link delete "$bridge"
        fi
    done
}

# Take Docker's chains and the rules for its bridges out of the packet filter, in one exchange of all
# tables, and set what dockerd changed as it was.
restore_host() {
    ip_forward='' forward_policy='' docker_folder='' docker_key=''
    # shellcheck source=/dev/null
    [ ! -e "$HOST_BEFORE" ] || . "$HOST_BEFORE"
    rules=$(iptables-save 2>/dev/null | grep -vE '^:DOCKER|DOCKER|-[io] (docker0|br-[0-9a-f]{12})( |$)' || true)
    [ -z "$rules" ] || echo "$rules" | iptables-restore
    [ -z "$forward_policy" ] || iptables -P FORWARD "$forward_policy"
    [ -z "$ip_forward" ] || echo "$ip_forward" >/proc/sys/net/ipv4/ip_forward
    [ -n "$docker_key" ] || rm -f /etc/docker/key.json
    find /run/docker /run/containerd /opt/containerd -depth -type d -empty -delete 2>/dev/null || true
    # Nested engines leave empty groups when their machine is killed.
    for groups in /sys/fs/cgroup/docker /sys/fs/cgroup/*/docker; do
        find "$groups" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

remove_engine_files() {
    awk -v state="$STATE_DIR/" -v run="$RUN_DIR/" 'index($2, state) == 1 || index($2, run) == 1 { print $2 }' \
        /proc/mounts | sort -r | while read -r mounted; do
        umount "$mounted" 2>/dev/null || umount --lazy "$mounted"
    done
    # A mount point of the user's stays, empty.
    if [ -d "$STATE_DIR" ]; then
        find "$STATE_DIR" -mindepth 1 -delete
        rmdir "$STATE_DIR" 2>/dev/null || true
    fi
    rm -rf "$RUN_DIR" "$ENGINE_LOG"
    if [ -S "$ENGINE_SOCKET" ] && ! engine_answers; then
        rm -f "$ENGINE_SOCKET"
    fi
}

# On an engine that others use, too: what this checkout's clusters have.
remove_ours_from_engine() {
    id=$(checkout_id)
    if [ -n "$id" ]; then
        ours=$(cluster_things | awk -F'|' -v own="$id" '$3 == own { print $1 "|" $2 }')
        remove_each "docker rm --force --volumes" "$(echo "$ours" | sed -n 's/^container|//p')"
        remove_each "docker volume rm" "$(echo "$ours" | sed -n 's/^volume|//p')"
        remove_each "docker network rm" "$(echo "$ours" | sed -n 's/^network|//p')"
    fi
    say "removed what is this checkout's from the Docker engine"
}

# The images of a system are shared by all checkouts on an engine: they go with the last cluster, and with them what
# builds and tests left.
remove_images() {
    for label in argosy.image argosy.test; do
        remove_each "docker rm --force --volumes" "$(docker ps --all --quiet --filter "label=$label")"
    done
    remove_each "docker image rm --force" "$(docker image ls --all --quiet --filter label=argosy.image | sort -u)"
    for base in $(docker image ls --filter "label=$BASE_LABEL" --format '{{.Repository}}:{{.Tag}}' 'debian:*-slim'); do
        docker image rm "$base" >/dev/null 2>&1 || say "kept $base: other images are built on it"
    done
    say "removed our images from the Docker engine, which is not ours"
}

# remove_each COMMAND NAMES: call the command once with all names, if there are any.
remove_each() {
    [ -n "$2" ] || return 0
    # shellcheck disable=SC2086  # words of a command, and one word a name
    $1 $2 >/dev/null || say "not all removed by $1"
}

# `inv local.stop --all` takes back what the engine trusts; this is for when it could not.
remove_registry_trust() {
    for authority in "$ROOT"/secrets/*/pki/ca.crt; do
        for trusted in "$TRUSTED"/*/ca.crt; do
            folder=${trusted%/*}
            if cmp -s "$authority" "$trusted" && grep -qsF "\"$(checkout_id)\"" "$folder/argosy.json"; then
                rm -f "$trusted" "$folder/argosy.json"
                rmdir "$folder" 2>/dev/null || true
            fi
        done
    done
    rmdir "$TRUSTED" 2>/dev/null || true
    [ -n "${docker_folder-kept}" ] || rmdir /etc/docker 2>/dev/null || true
}

remove_from_tree() {
    for made in .venv .argosy vagrant/.vagrant; do
        if [ -e "$ROOT/$made" ]; then
            rm -rf "${ROOT:?}/$made"
            say "removed $made"
        fi
    done
    # The cluster's own secrets went with `inv local.stop --all`; those of other clusters stay.
    rmdir "$ROOT/secrets" 2>/dev/null || true
    find "$ROOT" -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
}
