# A first look at a host: reads only, and says what it could not read.
set -u
section() { printf '\n== %s\n' "$1"; }

section processes
ps -eo pid,ppid,user,lstart,args
section sockets
ss --tcp --udp --listening --numeric --processes
section logins
last --fulltimes --limit 30
section 'changes in system folders'
find /etc /usr/local /opt -xdev -type f -mmin "-$((P_HOURS * 60))" -ls 2>&1
