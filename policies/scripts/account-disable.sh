# Lock an account, then end its sessions. Its name comes as a variable and is never part of this text.
set -eu
sudo -n /usr/sbin/usermod --lock --expiredate 1 -- "$P_ACCOUNT"
sudo -n /usr/bin/loginctl terminate-user -- "$P_ACCOUNT" || true
