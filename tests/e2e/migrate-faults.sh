#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Live migration between two daemons when something dies, stops or is cut off at a random moment:
# in the end exactly one guest runs, and its count has no gap. Only where the QEMU that had the
# guest was killed may it be gone. A table of the outcomes is printed at the end; VST_TEST_SEED
# repeats the moments.
. "$(dirname "$0")/hosts.sh"

need_guests
RANDOM=${VST_TEST_SEED-$$}
runs=1
standstill=1
if is_long; then
    runs=20
    standstill=70
fi
declare -A outcomes
faults=()
link=
moving=
relay=

# ---- the two hosts, and the link from `a` to `b` ----

make_link()
{
    mkfifo "$work/words" || return
    exec 8<>"$work/words"
    "$VIRSTREAM_BUILD/tests/e2e/relay" 0 "${port[b]}" <"$work/words" >"$work/link" &
    relay=$!
    wait_until 5 grep -q . "$work/link" && link=qemu+tls://localhost:$(head -n 1 "$work/link")/
}

tell_link()
{
    echo "$1" >&8
}

# qemu_of HOST: the process of the guest there; of one that arrives, too
qemu_of()
{
    local pid
    read -r pid _ 2>/dev/null <"$(echo "$work/$1/root"/*g/identity)" && echo "$pid"
}

begin_moving()
{
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 100M g "$link" \
        >"$work/said" 2>&1 &
    moving=$!
}

# ---- one run ----

now_ms()
{
    echo $(($(date +%s%N) / 1000000))
}

# A random moment of a migration that takes about as long as an undisturbed one did.
sleep_a_while()
{
    local ms=$((RANDOM % duration))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

measure()
{
    local begun
    launch a g F 32 && on a migrate -q --check g "$link" || return
    begun=$(now_ms)
    begin_moving
    wait "$moving" || {
        cat "$work/said"
        return 1
    }
    duration=$(($(now_ms) - begun + 50))
    echo "# a migration takes $duration ms" >"$work/duration"
    finish b g
}

# over_on HOST: it answers, and knows of no migration that is not over
over_on()
{
    local list
    list=$(on "$1" migrations --json 2>/dev/null) && ! grep -q '"over": *false' <<<"$list"
}

settled()
{
    over_on a && over_on b
}

# A daemon that is stopped does not read the consoles: QEMU logs a character twice then.
continued_after()
{
    local repeats=0
    [ "$1" != stop_daemon ] || repeats=3
    continued --repeats "$repeats" "$work/g.log"
}

# What became of the guest: a word for the table; fails if that may not be.
judge()
{
    local states
    states="$(state_on a g) $(state_on b g)"
    case $states in
    "running none") judged=here ;;
    "none running") judged=there ;;
    "crashed none" | "none crashed" | "none none") judged=died ;;
    *) judged=$states ;;
    esac
    case $judged in
    here | there) goes_on g && continued_after "$1" ;;
    died) [[ $1 = *qemu* ]] && continued_after "$1" ;;
    *) false ;;
    esac
}

show_hosts()
{
    local host
    for host in a b; do
        echo "-- $host"
        on "$host" list
        on "$host" migrations
        tail -n 20 "$work/$host/log"
    done
    echo "-- the command"
    cat "$work/said"
    tail -n 3 "$work/g.log"
}

clear_hosts()
{
    local host
    for host in a b; do
        [ "$(state_on "$host" g)" = none ] || on "$host" destroy -q g
    done
}

# Who lost the guest at the moment it was told to run: people are asked, and say that it is here.
resolve_what_is_lost()
{
    on a migrations | grep -q 'told to run the guest' || return
    judged=asked
    on a migration resolve g --guest-runs-on=source
}

# one_run FAULT: a migration with it; FAULT is a function, or several words
one_run()
{
    local judged=
    launch a g F 32 || return
    begin_moving
    sleep_a_while
    "$@" || return
    wait "$moving" 2>/dev/null
    wait_until 40 settled || { resolve_what_is_lost && wait_until 20 settled; } ||
        { show_hosts && return 1; }
    judge "$1" || { show_hosts && outcomes[$*,wrong]=1 && return 1; }
    outcomes[$*,$judged]=$((${outcomes[$*,$judged]-0} + 1))
    clear_hosts
}

# several FAULT...
several()
{
    local round
    faults+=("$*")
    for ((round = 0; round < runs; round++)); do
        one_run "$@" || {
            echo "round $round"
            clear_hosts >/dev/null 2>&1
            return 1
        }
    done
}

# ---- what goes wrong ----

kill_client()
{
    kill -KILL "$moving" 2>/dev/null
    return 0
}

kill_daemon()
{
    kill_host "$1"
    sleep_a_while
    begin_host "$1"
}

kill_both_daemons()
{
    kill_host a
    kill_host b
    begin_host a && begin_host b
}

kill_qemu()
{
    local pid
    pid=$(qemu_of "$1") && kill -KILL "$pid" 2>/dev/null
    return 0
}

stop_for_a_while()
{
    kill -STOP "$1" 2>/dev/null
    sleep "$standstill"
    kill -CONT "$1" 2>/dev/null
    return 0
}

stop_client()
{
    stop_for_a_while "$moving"
}

stop_daemon()
{
    stop_for_a_while "${daemon_pid[$1]}"
}

# Not one that may be another process by then.
stop_the_qemu()
{
    local pid
    pid=$(qemu_of "$1") && stop_for_a_while "$pid"
    return 0
}

cut_link()
{
    tell_link cut
}

cut_link_for_a_while()
{
    tell_link refuse
    tell_link cut
    sleep "$standstill"
    tell_link accept
}

# hold_link [WAY]: nothing goes through, and nobody is told
hold_link()
{
    tell_link "hold${1+ $1}"
    sleep "$standstill"
    tell_link go
}

cancel_it()
{
    on a migration cancel g >/dev/null 2>&1
    return 0
}

# ---- all of it ----

check two_hosts_and_a_link_begin  eval 'make_hosts && make_link'
check undisturbed_migration_is_measured  measure
cat "$work/duration"
check killed_client_is_not_missed  several kill_client
check killed_daemon_of_the_source_goes_on_when_it_is_back  several kill_daemon a
check killed_daemon_of_the_destination_goes_on_when_it_is_back  several kill_daemon b
check both_daemons_killed_and_back  several kill_both_daemons
check killed_qemu_of_the_source_leaves_one_guest_at_most  several kill_qemu a
check killed_qemu_of_the_destination_leaves_one_guest_at_most  several kill_qemu b
check stopped_client_is_not_missed  several stop_client
check stopped_daemon_of_the_source_leaves_one_guest  several stop_daemon a
check stopped_daemon_of_the_destination_leaves_one_guest  several stop_daemon b
check stopped_qemu_of_the_source_leaves_one_guest  several stop_the_qemu a
check stopped_qemu_of_the_destination_leaves_one_guest  several stop_the_qemu b
check cut_link_leaves_one_guest  several cut_link
check link_that_is_away_for_a_while_leaves_one_guest  several cut_link_for_a_while
check held_link_leaves_one_guest  several hold_link
check link_held_towards_the_destination_leaves_one_guest  several hold_link up
check link_held_towards_the_source_leaves_one_guest  several hold_link down
check cancelled_migration_leaves_one_guest  several cancel_it

# ---- what came of it ----

table()
{
    local fault came
    printf '# %-24s %6s %6s %6s %6s %6s\n' "each $runs times" here there died asked wrong
    for fault in "${faults[@]}"; do
        printf '# %-24s' "$fault"
        for came in here there died asked wrong; do
            printf ' %6s' "${outcomes[$fault,$came]--}"
        done
        echo
    done
}

table
kill_host a TERM
kill_host b TERM
kill "$relay"
check nothing_is_left  wait_until 10 no_process_left
end_tests
