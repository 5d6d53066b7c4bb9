#!/bin/sh
# ensure-packages.sh WHY PACKAGE...: install Debian packages. Where packages are not Debian's, say what to install and fail.
set -eu

if [ "${1:-}" = --install-as-root ]; then
    shift
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@"
    exit 0
fi

here=$(cd "$(dirname "$0")" && pwd)
why=$1
shift
if ! command -v apt-get >/dev/null 2>&1; then
    echo "$why Install these, then try again: $*" >&2
    exit 1
fi
echo "Installing $*" >&2
"$here/as-root.sh" "scripts/ensure-packages.sh --install-as-root $*" "$here/ensure-packages.sh" --install-as-root "$@" >&2
