#!/bin/sh
# Make sure that Debian's peers of `make bench` are there. `ensure-peers.sh local`: webhook, nginx and fcgiwrap; `ensure-peers.sh ssh`:
# clush, pdsh and ssh. A part of a benchmark (`ssh.load`) needs what the whole does; without a name it is all of them. The benchmark
# starts its own servers, on loopback ports and sockets, and stops them.
#
# Never leaves a listening daemon behind: what is installed here is kept from starting now and at the next boot. What the
# machine already has is left alone. Where packages are not Debian's, this says what to install and fails; nothing is skipped.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

has() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/local/sbin/$1" ]
}

# The packages of what is not there; PROGRAM:PACKAGE where they have different names. curl is the client that output is sent to.
missing() {
    for each in $wanted_programs; do
        has "${each%:*}" || printf ' %s' "${each#*:}"
    done
}

# Runs as root. policy-rc.d with exit 101 is Debian's way to say: start no service while installing.
install_by_apt() {
    guard=/usr/sbin/policy-rc.d
    if [ ! -e "$guard" ]; then
        trap 'rm -f "$guard"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$guard"
        chmod 755 "$guard"
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@"
    for package in "$@"; do
        for unit in "$package.socket" "$package.service"; do # one by one: an unknown one would keep the other enabled
            if command -v systemctl >/dev/null 2>&1; then
                systemctl disable "$unit" >/dev/null 2>&1 || true
            fi
        done
        if command -v update-rc.d >/dev/null 2>&1; then
            update-rc.d "$package" disable >/dev/null 2>&1 || true
        fi
    done
}

if [ "${1:-}" = --install-as-root ]; then
    shift
    install_by_apt "$@"
    exit 0
fi

wanted_programs=
for name in "${@:-all}"; do
    case $name in
    local | local.*) wanted_programs="$wanted_programs webhook nginx fcgiwrap curl" ;;
    ssh | ssh.*) wanted_programs="$wanted_programs curl clush:clustershell pdsh ssh:openssh-client" ;;
    all) wanted_programs="webhook nginx fcgiwrap curl clush:clustershell pdsh ssh:openssh-client" ;;
    esac
done

wanted=$(missing)
if [ -n "$wanted" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "The benchmark holds cmdhttp against peers that are not here. Install these, then try again:$wanted" >&2
        exit 1
    fi
    echo "Installing$wanted (services stay off)" >&2
    # shellcheck disable=SC2086 # a list of names
    "$here/as-root.sh" "scripts/ensure-peers.sh $*" "$here/ensure-peers.sh" --install-as-root $wanted >&2
    wanted=$(missing)
    if [ -n "$wanted" ]; then
        echo "Still not here after installing:$wanted" >&2
        exit 1
    fi
fi
