# Start the guard in Python where there is one of 3.6 or later, else say so. $0 is the program for Python, the rest are its arguments.
# A name with the version in it saves a process that asks for it; a name without comes last.
if [ -d /proc/self/task ]; then
    for p in /usr/bin/python3.[6-9] /usr/bin/python3.[1-9][0-9] /usr/libexec/platform-python3.[6-9] \
        /usr/local/bin/python3.[6-9] /usr/local/bin/python3.[1-9][0-9]; do
        [ -x "$p" ] && [ ! -d "$p" ] && exec "$p" -I -S -c "$0" "$@"
    done
    for p in /usr/bin/python3 /usr/local/bin/python3 /bin/python3 /usr/libexec/platform-python; do
        [ -x "$p" ] && [ ! -d "$p" ] || continue
        case $("$p" -V 2>&1) in
            'Python 3.'[0-5].*) continue ;;
        esac
        exec "$p" -I -S -c "$0" "$@"
    done
fi
