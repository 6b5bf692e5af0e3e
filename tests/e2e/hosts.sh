# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What tests of migration share, on top of lib.sh: two hosts, `a` and `b`, each a virstreamd with a
# root and a journal of its own, and TLS with certificates between them. Each is in a network
# namespace of its own where that is allowed, else both share the host's network. They share the
# files, as hosts with common storage do: a guest counts into the same log wherever it is.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

declare -A address daemon_pid port namespace_pid
pki=$work/pki
daemon_options=()
patience=60 # of the hosts, in seconds

# enter HOST: sets `inside` to what comes in front of a command that is to run there
enter()
{
    inside=()
    [ -z "${namespace_pid[$1]-}" ] || inside=(nsenter -n -t "${namespace_pid[$1]}")
}

in_host()
{
    local inside
    enter "$1"
    "${inside[@]}" "${@:2}"
}

# The process that holds the namespace names the test's directory, so that clean_up finds it.
make_namespace()
{
    unshare -n sh -c 'ip link set lo up && : >"$0" && exec tail -f "$0"' "$work/$1.namespace" &
    namespace_pid[$1]=$!
    disown
    wait_until 5 test -f "$work/$1.namespace"
}

# Two namespaces and a cable between them.
make_network()
{
    make_namespace a && make_namespace b &&
        ip link add "$1a" netns "${namespace_pid[a]}" type veth \
            peer name "$1b" netns "${namespace_pid[b]}" &&
        in_host a ip address add 10.9.8.1/24 dev "$1a" && in_host a ip link set "$1a" up &&
        in_host b ip address add 10.9.8.2/24 dev "$1b" && in_host b ip link set "$1b" up &&
        address=([a]=10.9.8.1 [b]=10.9.8.2)
}

make_certificates()
{
    virstream -q pki init "$pki" && virstream -q pki issue --host localhost --ip 127.0.0.1 \
        --ip 10.9.8.1 --ip 10.9.8.2 "$pki"
}

configure_host()
{
    local certificates=$pki/localhost
    mkdir -p "$work/$1"
    cat >"$work/$1/conf" <<END
[daemon]
root = $work/$1/root
[listen]
unix = $work/$1/socket
tls = ${address[$1]}:${port[$1]}
[tls]
ca = $certificates/cacert.pem
cert = $certificates/servercert.pem
key = $certificates/serverkey.pem
[access]
admin = unix:$(id -u)
transfer = x509:CN=localhost
[migrate]
patience-seconds = $patience
[limits]
drain-seconds = 1
END
}

is_ready()
{
    grep -q 'is ready' "$work/$1/log" || ! kill -0 "${daemon_pid[$1]}" 2>/dev/null
}

# begin_daemon HOST FD: what it has to say is written there. A session of its own, as a service has
# it: the kernel shares processors among sessions, and each QEMU has one.
begin_daemon()
{
    local inside
    enter "$1"
    "${inside[@]}" setsid "$top/run" virstreamd --config "$work/$1/conf" "${daemon_options[@]}" \
        >&"$2" 2>&1 &
    daemon_pid[$1]=$!
}

# begin_host HOST: its daemon, which keeps what an earlier one left
begin_host()
{
    local log
    exec {log}>"$work/$1/log"
    begin_daemon "$1" "$log"
    exec {log}>&-
    wait_until 20 is_ready "$1" && grep -q 'is ready' "$work/$1/log" && return
    cat "$work/$1/log"
    return 1
}

kill_host()
{
    kill -"${2-KILL}" "${daemon_pid[$1]}"
    wait "${daemon_pid[$1]}" 2>/dev/null
}

# In front of all: hosts `a` and `b` with their daemons.
make_hosts()
{
    local host
    address=([a]=127.0.0.1 [b]=127.0.0.1)
    if [ "${1-}" = namespaces ]; then
        make_network "v$$" || return
    fi
    make_certificates || return
    for host in a b; do
        port[$host]=$((20000 + RANDOM % 12000))
        configure_host "$host"
        begin_host "$host" || return
    done
}

are_namespaces_allowed()
{
    command -v ip >/dev/null && command -v nsenter >/dev/null &&
        unshare -n ip link add probe0 type veth peer name probe1 2>/dev/null
}

# on HOST COMMAND...: virstream, as asked of that host
on()
{
    local host=$1
    shift
    virstream -c "qemu+unix://$work/$host/socket" "$@"
}

# uri_of HOST: as the other host reaches it
uri_of()
{
    echo "qemu+tls://${address[$1]}:${port[$1]}/"
}

other()
{
    case $1 in a) echo b ;; b) echo a ;; esac
}

# state_on HOST NAME: a word, or "none"
state_on()
{
    on "$1" info "$2" 2>/dev/null | sed -n 's/^state: *//p' | grep . || echo none
}

# launch HOST NAME [MODE [MIB]]: a guest there, counting
launch()
{
    define "${@:2}" && on "$1" start -q "$work/$2.json" && wait_until 60 counts "$2"
}

# move NAME FROM [OPTION...]: to the other host, and it counts on there; or stays paused
move()
{
    local name=$1 from=$2 to was
    to=$(other "$2")
    was=$(state_on "$from" "$name")
    shift 2
    on "$from" migrate -q "$@" "$name" "$(uri_of "$to")" || return
    [ "$(state_on "$from" "$name") $(state_on "$to" "$name")" = "none $was" ] || {
        echo "$from: $(state_on "$from" "$name"), $to: $(state_on "$to" "$name"), not $was"
        return 1
    }
    [ "$was" = paused ] || goes_on "$name"
}

# there_and_back TIMES NAME [OPTION...]: from `a` to `b` and back to `a`
there_and_back()
{
    local times=$1 name=$2
    shift 2
    for ((round = 0; round < times; round++)); do
        move "$name" a "$@" && move "$name" b "$@" || {
            echo "round $round"
            return 1
        }
    done
}

# ---- of the guest `$name` ----

# qemu_of HOST: its process there, of one that arrives, too; and of one that has no name yet
qemu_of()
{
    local pid
    read -r pid _ 2>/dev/null <"$(echo "$work/$1/root"/*"$name"/identity)" && echo "$pid"
}

# phase_on HOST: of its migration, if that is not over
phase_on()
{
    on "$1" migrations | awk -v name="$name" '$2 == name && $4 != "over" { print $4 }'
}

is_in_phase()
{
    [ "$(phase_on "$1")" = "$2" ]
}

all_over()
{
    [ -z "$(phase_on a)$(phase_on b)" ]
}

comes_to_an_end()
{
    wait_until 60 all_over && return
    on a migrations
    on b migrations
    return 1
}

# ---- the end ----

# finish HOST NAME: it ends, and its count has no gap
finish()
{
    on "$1" destroy -q "$2" && continued "$work/$2.log"
}
