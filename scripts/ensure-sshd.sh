#!/bin/sh
# Make sure that OpenSSH's server program is there: the tests and the demo start their own, unprivileged and on loopback.
#
# Never leaves a listening daemon behind: where Debian's package has to be installed, its service is kept from starting
# now and at the next boot. A machine that already has sshd is left alone, but for the /run/sshd folder that sshd wants.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

has_sshd() {
    command -v sshd >/dev/null 2>&1 || [ -x /usr/sbin/sshd ] || [ -x /usr/local/sbin/sshd ]
}

explain() {
    echo "No sshd was found, and the tests and the demo run against a real one. Install it, then try again:" >&2
    if command -v dnf >/dev/null 2>&1; then
        echo "    sudo dnf install openssh-server" >&2
    elif command -v apk >/dev/null 2>&1; then
        echo "    sudo apk add openssh-server" >&2
    elif command -v pacman >/dev/null 2>&1; then
        echo "    sudo pacman -S openssh" >&2
    elif command -v brew >/dev/null 2>&1; then
        echo "    brew install openssh" >&2
    else
        echo "    your system's package of the OpenSSH server" >&2
    fi
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
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install openssh-server
    if command -v systemctl >/dev/null 2>&1; then
        systemctl disable ssh.socket ssh.service >/dev/null 2>&1 || true
    fi
    if command -v update-rc.d >/dev/null 2>&1; then
        update-rc.d ssh disable >/dev/null 2>&1 || true
    fi
}

if [ "${1:-}" = --install-as-root ]; then
    install_by_apt
    exit 0
fi

if ! has_sshd; then
    if ! command -v apt-get >/dev/null 2>&1; then
        explain
        exit 1
    fi
    echo "Installing openssh-server (its service stays off)" >&2
    "$here/as-root.sh" scripts/ensure-sshd.sh "$here/ensure-sshd.sh" --install-as-root >&2
    has_sshd
fi

if [ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ] && [ ! -d /run/sshd ]; then
    mkdir -p /run/sshd
    chmod 755 /run/sshd
fi
