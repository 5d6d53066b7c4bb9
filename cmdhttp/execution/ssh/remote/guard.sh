# The guard of a host without Python. It runs one command; the session is that of its channel, $PPID is the host's sshd.
# Arguments: token, seconds, argv. Signals: TERM and USR1 end the command gently and at once.
# What leaves the command's session is not found, so nobody may call such a run certainly ended. A signal of sshd's reaches the
# whole session, so what watches ignores it. Some sshds run as root, whom the account may not signal, but see.
t=$1 s=$2 g=$PPID c=
shift 2
printf '%sR%d\n' "$t" "$$"
printf '%sR\n' "$t" >&2
apart=
command -v setsid >/dev/null 2>&1 && apart=setsid
trap 'end TERM' TERM HUP
trap 'end KILL' USR1
end() {
    [ -z "$c" ] || kill -s "$1" -- "-$c" 2>/dev/null || kill -s "$1" "$c" 2>/dev/null
}
there() {
    kill -0 "$g" 2>/dev/null || [ -d "/proc/$g" ]
}
there || g=$$
exec 3<&0
$apart "$@" <&3 3<&- &
c=$!
exec 3<&- </dev/null
(
    exec >/dev/null 2>&1
    trap '' TERM HUP USR1
    while [ "$s" -gt 0 ] && there && kill -0 "$$"; do
        sleep 1
        s=$((s - 1))
    done
    end TERM
    sleep 1
    end KILL
    kill -s KILL "$$"
) &
w=$!
while :; do
    wait "$c"
    e=$?
    kill -0 "$c" 2>/dev/null || break
done
kill -s KILL "$w" 2>/dev/null
[ -z "$apart" ] || kill -s KILL -- "-$c" 2>/dev/null
[ "$e" -le 255 ] || e=$((128 + (e & 127)))
exit "$e"
