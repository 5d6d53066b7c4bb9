# Start the guard in Python where there is one of 3.6 or later, else say so. $0 is the program for Python, the rest are its arguments.
if [ -d /proc/self/task ]; then
    for p in /usr/bin/python3 /usr/local/bin/python3 /bin/python3 /usr/libexec/platform-python; do
        [ -x "$p" ] && [ ! -d "$p" ] || continue
        case $("$p" -V 2>&1) in
            'Python 3.'[0-5].*) continue ;;
        esac
        exec "$p" -I -S -c "$0" "$@"
    done
fi
