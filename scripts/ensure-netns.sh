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

if [ "${1:-}" = --install-as-root ]; then
    shift
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@"
    exit 0
fi

wanted=$(missing)
if [ -n "$wanted" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "The tests cut networks in namespaces of their own. Install these, then try again:$wanted" >&2
        exit 1
    fi
    echo "Installing$wanted" >&2
    # shellcheck disable=SC2086 # a list of names
    "$here/as-root.sh" "scripts/ensure-netns.sh" "$here/ensure-netns.sh" --install-as-root $wanted >&2
    wanted=$(missing)
    if [ -n "$wanted" ]; then
        echo "Still not here after installing:$wanted" >&2
        exit 1
    fi
fi
