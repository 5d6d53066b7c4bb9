#!/bin/sh
# Make .venv fit to work: `bootstrap.sh` for running, `bootstrap.sh dev` for developing. `bootstrap.sh mutants` makes
# .venv-mutants, in which mutation tests run, and `bootstrap.sh bench` .venv-bench, which has the peers to measure against.
#
# Needs a Python of 3.11 or later and nothing else (PYTHON=... names one). Installs exactly what the lock files say, checked by
# hash, then the project itself, editable. A second run with nothing changed takes a moment. A .venv that does not work,
# or was copied from elsewhere, is made anew.
set -eu

here=$(cd "$(dirname "$0")" && pwd -P)
root=$(dirname "$here")
cd "$root"
kind=${1:-run}
case $kind in
run | dev) venv=$root/.venv ;;
mutants | bench) venv=$root/.venv-$kind ;;
*)
    echo "usage: scripts/bootstrap.sh [dev | mutants | bench]" >&2
    exit 2
    ;;
esac

say() { printf '%s\n' "$*" >&2; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

can_make_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

venv_works() {
    is_new_enough "$venv/bin/python" &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        grep -qsF "$venv/bin/python" "$venv/bin/pip" # its scripts point here, not to where it was copied from
}

# Debian and Ubuntu ship Python without venv; the package has the interpreter's version unless it is the default one.
install_venv_module() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "$1 cannot make virtual environments: its venv and ensurepip modules are missing."
        say "Install your system's package for them, or set PYTHON to another Python of 3.11 or later."
        exit 1
    fi
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$("$1" -c 'import sys; print(sys.version_info[:2])')" = "$(/usr/bin/python3 -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)" ]; then
        package=python3-venv
    fi
    say "$1 lacks its venv module: installing $package"
    "$here/as-root.sh" "apt-get install $package" sh -c "
        apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install $package
    " >&2
    if ! can_make_venv "$1"; then
        say "$1 still cannot make virtual environments. Set PYTHON to another Python of 3.11 or later."
        exit 1
    fi
}

# Set `python` to the first candidate that can do all we need, else to the first that is new enough.
find_python() {
    python=
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        is_new_enough "$candidate" || continue
        if can_make_venv "$candidate"; then
            python=$candidate
            return
        fi
        python=${python:-$candidate}
    done
    if [ -z "$python" ]; then
        if [ -n "${PYTHON:-}" ]; then
            say "PYTHON=$PYTHON is not a Python of 3.11 or later."
        else
            say "No Python of 3.11 or later was found. Install one (Debian 12: apt-get install python3 python3-venv), or set PYTHON."
        fi
        exit 1
    fi
    install_venv_module "$python"
}

make_venv() {
    find_python
    if [ -e "$venv" ]; then
        say "Removing ${venv##*/}: it does not work here"
        rm -rf "$venv"
    fi
    say "Making ${venv##*/} with $("$python" --version)"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        exit 1
    fi
}

pip_install() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }

checksum() { cat "$@" | cksum; }

is_done() { [ "$(cat "$venv/.$1-stamp" 2>/dev/null)" = "$2" ]; }

# install_locked WHAT WHY FILE: what FILE lists, unless that has been done.
install_locked() {
    sum=$(checksum "$3")
    is_done "$1" "$sum" && return
    say "Installing what $2"
    rm -f "$venv/.$1-stamp"
    pip_install --require-hashes -r "$3"
    printf '%s\n' "$sum" >"$venv/.$1-stamp"
}

venv_works || make_venv

if [ "$kind" = mutants ]; then
    install_locked mutants "mutation tests need" requirements-mutants.lock
    exit
fi

lock=requirements.lock
if [ "$kind" = bench ]; then
    lock=requirements-bench.lock # which has all of the other
fi
run_sum=$(checksum pyproject.toml requirements-build.lock $lock)
if ! is_done run "$run_sum" || [ ! -x "$venv/bin/cmdhttp" ]; then
    say "Installing what cmdhttp needs$([ "$kind" != bench ] || echo ', and its peers')"
    rm -f "$venv/.run-stamp"
    pip_install --require-hashes -r $lock -r requirements-build.lock
    pip_install --no-deps --no-index --no-build-isolation --editable .
    printf '%s\n' "$run_sum" >"$venv/.run-stamp"
fi

if [ "$kind" = dev ]; then
    install_locked dev "developers need" requirements-dev.lock
fi
