#!/bin/sh
# Make sure that the login shells are there into which the tests send hostile arguments, and sudo, by which a command becomes
# another account. What the machine already has is left alone; nothing of it is made anybody's login shell.
#
# Where packages are not Debian's, this says what to install and fails; nothing is skipped.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

# The packages of the programs that are missing.
missing() {
    for program in bash dash zsh fish tcsh ksh sudo; do
        command -v "$program" >/dev/null 2>&1 || printf ' %s' "$program"
    done
    command -v csh >/dev/null 2>&1 || ! command -v tcsh >/dev/null 2>&1 || printf ' csh'
}

if [ "${1:-}" = --install-as-root ]; then
    shift
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@"
    exit 0
fi

wanted=$(missing)
if [ -n "$wanted" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "The tests send arguments into every kind of login shell. Install these, then try again:$wanted" >&2
        exit 1
    fi
    echo "Installing$wanted" >&2
    # shellcheck disable=SC2086 # a list of names
    "$here/as-root.sh" "scripts/ensure-shells.sh" "$here/ensure-shells.sh" --install-as-root $wanted >&2
    wanted=$(missing)
    if [ -n "$wanted" ]; then
        echo "Still not here after installing:$wanted" >&2
        exit 1
    fi
fi
