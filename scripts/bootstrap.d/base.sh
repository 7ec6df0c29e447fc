# shellcheck shell=sh
# The base image of all our Dockerfiles: that of the suite that is named, else of this host's (argosy.config.suites).

PULL_SECONDS=60

# Set `suite` and BASE_IMAGE.
find_suite() {
    suites=$ROOT/lib/argosy/config/suites.py
    python=$(find_python) || die "no Python 3.11 or newer" "this host" "run scripts/bootstrap packages"
    suite=${SUITE:-$("$python" -I "$suites")}
    known=$("$python" -I "$suites" --list)
    echo "$known" | grep -qx "$suite" ||
        die "no suite '$suite' of Debian" "SUITE" "one of: $(echo "$known" | paste -sd, - | sed 's/,/, /g')"
    BASE_IMAGE=debian:$suite-slim
}

# The archives that this host's apt uses for Debian, one sources line each, or nothing on a
# host that isn't Debian (mmdebstrap then knows the archive itself).
debian_sources() {
    # shellcheck disable=SC2016  # apt expands $(...), not the shell
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sort -u | awk -F'|' -v suite="$suite" '
            $1 == "Debian" && $2 == "Debian" && !main {
                main = $3
                print "deb " $3 " " suite " main\ndeb " $3 " " suite "-updates main"
            }
            $2 == "Debian-Security" && !security {
                security = $3
                print "deb " $3 " " suite "-security main"
            }'
}

# How this host's apt looks at the dates of an archive, one setting a line: a mirror that stands still is past them, and
# builds on the base image meet the same one.
apt_date_checks() {
    apt-config dump Acquire::Check-Valid-Until Acquire::Check-Date 2>/dev/null || true
}

# Documentation and translations are left out, as in the published slim image. usrmerge,
# which would bring all of perl along, is kept out in favour of usr-is-merged.
make_base_tarball() {
    sources_list=$1
    tarball=$2
    # shellcheck disable=SC2016  # mmdebstrap hands the root directory to the hooks as $1
    set -- --quiet --variant=minbase \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
        --setup-hook='printf "Package: usrmerge\nPin: release *\nPin-Priority: -1\n" >"$1/etc/apt/preferences.d/usrmerge"' \
        --customize-hook='rm "$1/etc/apt/preferences.d/usrmerge"' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-include=/usr/share/locale/locale.alias' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Languages "none"' \
        --customize-hook='rm -rf "$1"/var/log/apt "$1"/var/log/*.log "$1"/var/cache/ldconfig/aux-cache' \
        --customize-hook='rm -f "$1"/var/lib/dpkg/*-old "$1"/var/cache/debconf/*-old "$1"/etc/hostname "$1"/etc/resolv.conf' \
        "$suite" "$tarball"
    [ -s "$sources_list" ] && set -- "$@" "$sources_list"
    while read -r setting; do
        [ -z "$setting" ] || set -- --aptopt="$setting" "$@"
    done <<CHECKS
$(apt_date_checks)
CHECKS
    SOURCE_DATE_EPOCH=0 mmdebstrap "$@"
}

# policy-rc.d keeps package scripts from starting daemons during a build. mmdebstrap has one
# of its own and takes it away at the end, so ours is added to the finished archive.
add_policy_file() {
    mkdir -p "$2/add/usr/sbin"
    printf '#!/bin/sh\nexit 101\n' >"$2/add/usr/sbin/policy-rc.d"
    chmod 755 "$2/add/usr/sbin/policy-rc.d"
    tar --append --file "$1" --directory "$2/add" --owner=0 --group=0 --mtime=@0 ./usr/sbin/policy-rc.d
}

make_base() {
    mkdir -p "$STATE_DIR"
    base_dir=$(mktemp -d -p "$STATE_DIR")
    trap 'rm -rf "$base_dir"' EXIT
    trap 'exit 130' INT TERM
    # mmdebstrap gives up root for apt's downloads, and must still get here.
    chmod 755 "$base_dir"
    debian_sources >"$base_dir/sources.list"
    TMPDIR=$base_dir make_base_tarball "$base_dir/sources.list" "$base_dir/base.tar" >"$base_dir/log" 2>&1 || {
        tail -n 15 "$base_dir/log" >&2
        die "mmdebstrap failed" "$BASE_IMAGE" "see its messages above; is the apt archive reachable?"
    }
    add_policy_file "$base_dir/base.tar" "$base_dir"
    docker import --change "LABEL $BASE_LABEL=mmdebstrap" --change 'CMD ["bash"]' \
        "$base_dir/base.tar" "$BASE_IMAGE" >/dev/null
    rm -rf "$base_dir"
    trap - EXIT INT TERM
}

step_base() {
    STEP=base
    find_suite
    if docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; then
        say "already have $BASE_IMAGE"
    elif timeout "$PULL_SECONDS" docker pull --quiet "$BASE_IMAGE" >/dev/null 2>&1; then
        say "pulled $BASE_IMAGE"
    else
        make_base
        say "made $BASE_IMAGE with mmdebstrap (it could not be pulled)"
    fi
}
