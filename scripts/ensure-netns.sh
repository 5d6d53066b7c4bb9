#!/bin/sh
# Make sure that what the tests cut networks with is there: ip of iproute2, for network namespaces of their own, and nsenter,
# unshare and prlimit of util-linux. Nothing of the machine's own network is touched.
#
# Where packages are not Debian's, this says what to install and fails; nothing is skipped.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

has() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]
}

# The packages of the programs that are missing.
missing() {
    has ip || printf ' iproute2'
    for program in nsenter unshare prlimit; do
        has "$program" || { printf ' util-linux' && break; }
    done
}

wanted=$(missing)
if [ -n "$wanted" ]; then
    # shellcheck disable=SC2086 # a list of names
    "$here/ensure-packages.sh" "The tests cut networks in namespaces of their own." $wanted
    wanted=$(missing)
    if [ -n "$wanted" ]; then
        echo "Still not here after installing:$wanted" >&2
        exit 1
    fi
fi
