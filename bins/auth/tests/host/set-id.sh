#!/bin/sh
# A host with some users more, in a mount name space of its own, and the set-id program in the compiled-in home: who may
# ask it, and what the program it becomes has. In the working directory: bin, users, more.passwd, more.shadow. The
# argument is the program.
set -eu
cat /etc/passwd more.passwd >p
cat /etc/shadow more.shadow >s
chmod 600 s
mount --bind p /etc/passwd
mount --bind s /etc/shadow
cp -L bin/qmail-authcrypt crypt
mount -t tmpfs tmpfs /var
mkdir -p /var/qmail/bin /var/qmail/control
cp -r users /var/qmail/
chmod 600 /var/qmail/users/authuser
cp crypt /var/qmail/bin/qmail-authcrypt
a=/var/qmail/bin/qmail-authuser
cp "$1" "$a"
chown root:7781 "$a"
chmod 6711 "$a"
mount -t tmpfs tmpfs /mnt
mkdir /mnt/jhome
chmod 1777 /mnt
cd /
unset QMAILHOME

# try EXPECTED CALLER USER PASSWORD PROGRAM...
try() {
  expected=$1 caller=$2 user=$3 password=$4 got=0
  shift 4
  printf '%s\0%s\0\0' "$user" "$password" | setpriv --reuid "$caller" --regid "$caller" --clear-groups \
    sh -c 'exec "$@" 3<&0 </dev/null' sh "$a" "$@" >/mnt/out 2>&1 || got=$?
  if [ "$got" != "$expected" ]; then
    echo "$caller $user $password $*: $got, not $expected: $(cat /mnt/out)"
    exit 1
  fi
}
said() {
  # shellcheck disable=SC2059
  [ "$(cat /mnt/out)" = "$(printf "$1")" ] || { echo "said $(cat /mnt/out), not $1"; exit 1; }
}
cat >/mnt/ids <<'X'
grep -E '^[UG]id:' /proc/self/status | tr '\t' ' '
grep Groups: /proc/self/status | tr -d '\t '
echo "$USER $HOME $SHELL"
pwd
X

for c in 0 7791; do
  try 0 "$c" joe secret true
  try 1 "$c" joe wrong true
  try 1 "$c" joe '' true
  try 1 "$c" none '' true
  try 1 "$c" none x true
  try 1 "$c" lock secret true
  try 1 "$c" nobodyatall secret true
  try 0 "$c" mary secret true
  try 0 "$c" plain secret true
  # Her home is not there.
  try 111 "$c" mary@box.test secret true
done

# The program has the caller's ids, all of them, or for ! the account's.
export USER=u HOME=h SHELL=s
for u in joe plain; do
  try 0 7791 "$u" secret sh /mnt/ids
  said 'Uid: 7791 7791 7791 7791\nGid: 7791 7791 7791 7791\nGroups:\nu h s\n/'
done
for c in 0 7791; do
  try 0 "$c" joe@box.test secret sh /mnt/ids
  said 'Uid: 7801 7801 7801 7801\nGid: 7802 7802 7802 7802\nGroups:7802\njoe /mnt/jhome /bin/jsh\n/mnt/jhome'
done
try 1 7791 joe@box.test wrong true
# Who is not root becomes root by no password.
try 0 0 super@box.test secret true
try 111 7791 super@box.test secret true

# Only root, qmaild and whom the administrator names may ask.
try 2 7799 joe secret true
try 2 7801 joe secret true
try 2 7799 plain secret true
printf 'mary\n7799\n' >/var/qmail/control/authcallers
try 0 7799 joe secret true
try 0 7803 joe secret true
try 2 7801 joe secret true
rm /var/qmail/control/authcallers

# QMAILHOME is the caller's, and not obeyed.
mkdir -p /mnt/h/users
echo 'evil:evil' >/mnt/h/users/authuser
export QMAILHOME=/mnt/h
try 1 7791 evil evil true
unset QMAILHOME

# A wrapper is not taken from the caller's PATH, and not given the caller's environment.
echo '*:&' >/var/qmail/users/authuser
mkdir /mnt/p
printf '#!/bin/sh\nexit 0\n' >/mnt/p/vchkpw
chmod 755 /mnt/p/vchkpw
before=$PATH PATH=/mnt/p:$PATH
try 111 7791 joe x true
try 0 0 joe x true
PATH=$before
mkdir -p /var/vpopmail/bin
printf '#!/bin/sh\nenv >/mnt/env\nexit 0\n' >/var/vpopmail/bin/vchkpw
chmod 755 /var/vpopmail/bin/vchkpw
export EVIL=1 TCPREMOTEIP=192.0.2.1
try 0 7791 joe x true
grep -q '^TCPREMOTEIP=192.0.2.1$' /mnt/env
if grep -q EVIL /mnt/env; then exit 1; fi
echo all ok
