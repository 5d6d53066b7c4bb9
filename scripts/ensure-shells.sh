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

wanted=$(missing)
if [ -n "$wanted" ]; then
    # shellcheck disable=SC2086 # a list of names
    "$here/ensure-packages.sh" "The tests send arguments into every kind of login shell." $wanted
    wanted=$(missing)
    if [ -n "$wanted" ]; then
        echo "Still not here after installing:$wanted" >&2
        exit 1
    fi
fi
