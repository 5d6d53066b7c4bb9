#!/bin/sh
# as-root.sh BY_HAND COMMAND...: run the command as root, directly when we are root, else by sudo if that asks nothing.
# Where neither is possible, tell the person to run BY_HAND and exit 1.
set -eu

by_hand=$1
shift
if [ "$(id -u)" = 0 ]; then
    exec "$@"
fi
if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    exec sudo -n "$@"
fi
printf 'This needs root. Run this, then try again:\n\n    sudo %s\n\n' "$by_hand" >&2
exit 1
