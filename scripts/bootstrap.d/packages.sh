# shellcheck shell=sh
# Packages from apt, only those that are missing; and never a daemon started by its package.

TEST_PACKAGES="dnsmasq-base etcd-client etcd-server docker-registry haproxy openssh-server ignition mmdebstrap rsync shellcheck slirp4netns
sudo"
# Their units must not come up at the next boot either: the tests run such daemons themselves.
TEST_UNITS="etcd docker-registry haproxy ssh"
# What a virtual machine takes beside those (tests/vm).
VM_PACKAGES="qemu-system-x86 qemu-utils"
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK="Argosy: no daemon starts while packages are installed."

# Print the packages that bring what is missing. Commands decide, not packages, so that an engine
# or a Vagrant from elsewhere is as good.
missing_packages() {
    if ! engine_answers; then
        have dockerd || echo docker.io
        have iptables || echo iptables
        # Where the kernel has AppArmor, the engine needs its parser to start any container.
        if grep -qs Y /sys/module/apparmor/parameters/enabled; then
            have apparmor_parser || echo apparmor
        fi
    fi
    # In newer releases docker.io is the engine only.
    have docker || ! installable docker-cli || echo docker-cli
    docker buildx version >/dev/null 2>&1 || ! installable docker-buildx || echo docker-buildx
    # Where apt has none (Debian forky), the engine makes the machines: local.maker.
    have vagrant || ! installable vagrant || echo vagrant
    have ssh || echo openssh-client
    have ip || echo iproute2
    have curl || echo curl
    have mmdebstrap || echo mmdebstrap
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
    missing_python_packages
}

missing_python_packages() {
    if python=$(find_python); then
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            "$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'
    elif package=$(installable_python); then
        echo "$package" "$package-venv"
    else
        echo python3 python3-venv
    fi
}

# Remove the policy below, also one that a killed run left; a policy of the host's own stays.
drop_policy() {
    if grep -qs "$POLICY_MARK" "$POLICY"; then
        rm -f "$POLICY"
    fi
}

# Keep package scripts from starting daemons while the packages are installed.
with_policy() {
    drop_policy
    if [ -e "$POLICY" ]; then
        "$@"
        return
    fi
    trap drop_policy EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
    chmod 755 "$POLICY"
    "$@"
    drop_policy
    trap - EXIT INT TERM
}

apt_install() {
    log=$(mktemp)
    {
        export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
        # A run that was killed in the middle may have left packages without their configuration.
        dpkg --configure -a &&
            apt-get update -q &&
            apt-get install -y -q \
                -o DPkg::Lock::Timeout=120 --no-install-recommends "$@"
    } >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "apt-get could not install $*" "apt" "see its messages above; is the archive reachable?"
    }
    rm -f "$log"
}

# install_and_note PACKAGE...: install, and note them for `down` to name.
install_and_note() {
    mkdir -p "$STATE_DIR"
    with_policy apt_install "$@"
    printf '%s\n' "$@" >>"$INSTALLED"
    say "installed $*"
}

step_packages() {
    STEP=packages
    drop_policy
    # What apt has decides what is wanted of it; on a fresh host it does not know yet.
    apt_knows_packages || apt-get update -q >/dev/null 2>&1 || true
    missing=$(missing_packages)
    have vagrant || installable vagrant || say "apt has no vagrant: the Docker engine makes the machines (local.maker)"
    if [ -z "$missing" ]; then
        say "already complete"
        return
    fi
    # shellcheck disable=SC2086  # one word a package
    install_and_note $missing
}

# Succeeds when dpkg has the package installed.
installed() {
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

step_test_packages() {
    # shellcheck disable=SC2086  # one word a package
    install_for_tests $TEST_PACKAGES
}

step_vm_packages() {
    # shellcheck disable=SC2086  # one word a package
    install_for_tests $TEST_PACKAGES $VM_PACKAGES
}

install_for_tests() {
    STEP=packages
    missing=
    for package in "$@"; do
        installed "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "already complete for the tests"
        return
    fi
    enabled_before=$(enabled_test_units)
    # shellcheck disable=SC2086  # one word a package
    install_and_note $missing
    for unit in $(enabled_test_units); do
        echo "$enabled_before" | grep -qx "$unit" || systemctl disable --quiet "$unit" 2>/dev/null || true
    done
}

enabled_test_units() {
    have systemctl || return 0
    for unit in $TEST_UNITS; do
        if systemctl is-enabled --quiet "$unit" 2>/dev/null; then
            echo "$unit"
        fi
    done
}
