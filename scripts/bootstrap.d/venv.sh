# shellcheck shell=sh
# A virtual environment with the locked dependencies and this repository's package, editable.

VENV=$ROOT/.venv
VENV_STAMP=$VENV/.argosy-stamp

# What the environment was made from: when any of it changes, pip looks again.
venv_ingredients() {
    echo "$VENV"
    sha256sum <"$ROOT/requirements.lock"
    sha256sum <"$ROOT/pyproject.toml"
}

step_venv() {
    STEP=venv
    if "$VENV/bin/python" -c '' 2>/dev/null && [ "$(cat "$VENV_STAMP" 2>/dev/null)" = "$(venv_ingredients)" ]; then
        say "already complete"
        return
    fi
    python=$(find_python) || die "no Python 3.11 or newer" "this host" "run scripts/bootstrap packages"
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear "$VENV"
    fi
    rm -f "$VENV_STAMP"
    log=$(mktemp)
    # The lock names everything, so there is nothing to resolve; with its resolver pip takes a newer release for an
    # extra (coverage[toml]) than the locked one, and then complains that it is not locked.
    {
        "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$ROOT/requirements.lock" &&
            "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e "$ROOT" &&
            "$VENV/bin/pip" check
    } >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "pip could not install the locked dependencies" "$VENV" "see its messages above; is the package index reachable?"
    }
    rm -f "$log"
    venv_ingredients >"$VENV_STAMP"
    say "installed the locked dependencies into $VENV"
}
