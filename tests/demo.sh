#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What ./bootstrap demo shows: through a daemon, over TLS and with a login, a real guest is saved, is
# gone, and is restored; then it moves, running, to another daemon; and goes on counting as if nothing
# had been. Everything, the authority of the certificates and the user included, stays in one
# directory, which is removed at the end.

set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
export VIRSTREAM_BUILD=${VIRSTREAM_BUILD:-$top/build}
work=$(mktemp -d "${TMPDIR:-/tmp}/virstream-demo.XXXXXX")
port=$((20000 + $$ % 12000))
there=qemu+tls://localhost:$((port + 1))/
login="ca=$work/pki/cacert.pem&password-file=$work/password"
export VIRSTREAM_DEFAULT_URI="qemu+tls://demo@127.0.0.1:$port/?$login"
daemons=
guest=$VIRSTREAM_BUILD/tests/guest/guest.elf
cd "$work"
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

virstream()
{
    "$top/run" virstream "$@"
}

clean_up()
{
    local status=$?
    for daemon in $daemons; do
        kill -TERM "$daemon" 2>/dev/null && wait "$daemon" || true
    done
    for host in a b; do
        virstream -c "qemu:///?root=$work/$host" destroy -q counter 2>/dev/null || true
    done
    cd /
    rm -rf "$work"
    [ $status = 0 ] || echo "The demo has failed." >&2
    exit $status
}

say()
{
    printf '\n# %s\n' "$*"
}

# show COMMAND...: as one would type it, and what it says
show()
{
    printf '$ %s\n' "$*"
    "$@"
}

# until_there SECONDS COMMAND...
until_there()
{
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

# configure NAME PORT
configure()
{
    cat >"$1.conf" <<END
[daemon]
root = $work/$1
[listen]
tls = 127.0.0.1:$2
[tls]
ca = $work/pki/localhost/cacert.pem
cert = $work/pki/localhost/servercert.pem
key = $work/pki/localhost/serverkey.pem
require-client-cert = no
[sasl]
mechanisms = SCRAM-SHA-256
database = $work/users
[access]
admin = sasl:demo
transfer = x509:CN=localhost
END
}

# begin_daemon NAME
begin_daemon()
{
    echo "\$ virstreamd --config $1.conf &"
    "$top/run" virstreamd --config "$1.conf" 2>"$1.log" &
    daemons+=" $!"
    until_there 20 grep -q 'is ready' "$1.log"
}

counts_beyond()
{
    [[ $(grep -xE '[0-9a-f]{8}' console.log 2>/dev/null | tail -n 1) > $1 ]]
}

has_gone()
{
    local left
    left=$(virstream list -q) && [ -z "$left" ]
}

last_count()
{
    grep -xE '[0-9a-f]{8}' console.log | tail -n 1
}

make -s -C "$VIRSTREAM_BUILD" tests/guest/guest.elf

say "An authority, a certificate for this host, and a user with a password."
show virstream pki init pki
show virstream pki issue --host localhost --ip 127.0.0.1 pki
(umask 077 && head -c 18 /dev/urandom | base64 >password)
echo '$ saslpasswd2 -p -c -f users demo <password'
saslpasswd2 -p -c -f "$work/users" demo <password

say "A daemon. Whoever logs in as demo, by SCRAM that is bound to the TLS connection, is an admin;" \
    "whoever has the certificate of a host may send guests here."
configure a "$port"
show cat a.conf
begin_daemon a
echo "\$ export VIRSTREAM_DEFAULT_URI='$VIRSTREAM_DEFAULT_URI'"
show virstream ping
cat >counter.json <<END
{"name": "counter", "machine": "pc", "accel": "tcg", "memory-mib": 256, "vcpus": 1,
 "kernel": "$guest", "append": "mode=F",
 "console": {"log": "$work/console.log"}}
END

say "A guest of 256 MiB. It fills its memory with random words, then counts on its console, a" \
    "hundred lines a second, and checks some of that memory before each line."
show cat counter.json
show virstream start counter.json
until_there 60 counts_beyond 00000080
show virstream list
show tail -n 3 console.log

say "Save it. Nothing waits for the disk but this one stream; see examples/in-your-loop.c."
show virstream save counter counter.image

say "It is gone. What is left of it is a file."
show virstream list
before=$(last_count)
show virstream image info counter.image
show virstream image check counter.image

say "One byte of it changed in transit: nothing is started from that."
size=$(stat -c %s counter.image)
{
    head -c $((size / 2)) counter.image
    printf '!'
    tail -c +$((size / 2 + 2)) counter.image
} >bent.image
status=0
show virstream restore bent.image || status=$?
echo "(exit status $status)"
[ $status = 9 ]

say "Restore it from the good one, through a pipe."
echo '$ cat counter.image | virstream restore -'
virstream restore - < <(cat counter.image)
until_there 20 counts_beyond "$before"
show virstream list

say "Ask the guest to check all of its memory: it answers \`< 76\`."
echo '$ printf v | virstream console counter'
printf v | virstream console counter >/dev/null
until_there 60 grep -q '^< 76' console.log
until_there 20 counts_beyond "$(last_count)"
echo "< 76"

say "And the count? Both runs of the guest wrote to one log:"
show grep -C 2 -x "$before" console.log
show "$top/tests/guest/count-check" console.log

say "Another host, so to say: a daemon with guests of its own, and the same authority."
configure b $((port + 1))
begin_daemon b
show virstream migrate --check counter "$there"

say "Send the guest there, while it runs. The two daemons do it, over TLS and one port; we only look." \
    "At first it is not to go fast, so that there is something to see."
show virstream migrate --detach --bandwidth 60M counter "$there"
sleep 1
show virstream migrations
show virstream migration set --bandwidth 10G counter
until_there 60 has_gone
show virstream migrations

say "It runs there, and only there."
show virstream list
before=$(last_count)
export VIRSTREAM_DEFAULT_URI="qemu+tls://demo@127.0.0.1:$((port + 1))/?$login"
echo "\$ export VIRSTREAM_DEFAULT_URI='$VIRSTREAM_DEFAULT_URI'"
show virstream list
until_there 20 counts_beyond "$before"

say "All that it has counted: before the save, after it, and on both hosts."
show "$top/tests/guest/count-check" console.log
show virstream destroy counter

say "What the daemons saw:"
show grep -hE 'procedure=(restore|migrate-stream)' a.log b.log
printf '\nThe guest went on exactly where it stood.\n'
