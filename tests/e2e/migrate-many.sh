#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Eight migrations at once between two daemons, four each way: all end, and no count has a gap. How
# long control calls of both daemons take meanwhile is printed, and beside it how long the same calls
# of a third daemon take, which has nothing to do. Then all go back, while the daemons are not
# favoured (`nice`, virstreamd.conf(5)): what their calls take longer then is the wait for a turn among
# sixteen QEMUs.
. "$(dirname "$0")/hosts.sh"

need_guests
memory=16
if is_long; then
    memory=256
fi
declare -A caller at=([a]=a [b]=b) # where the guests are that began on a, and on b

make_all_hosts()
{
    make_hosts && address[idle]=127.0.0.1 && port[idle]=$((20000 + RANDOM % 12000)) &&
        configure_host idle && begin_host idle
}

launch_all()
{
    local number
    for number in 1 2 3 4; do
        launch a "a$number" F "$memory" && launch b "b$number" F "$memory" || return
    done
}

# A process that calls HOST until its input ends.
begin_calling()
{
    [ -p "$work/$1.input" ] || mkfifo "$work/$1.input" || return
    setsid "$top/run" tests/e2e/calls "qemu+unix://$work/$1/socket" <"$work/$1.input" \
        >"$work/$1.calls" &
    caller[$1]=$!
}

end_calling()
{
    exec 7>&- 8>&- 9>&-
    wait "${caller[a]}" && wait "${caller[b]}" && wait "${caller[idle]}"
}

move_all()
{
    local number pid running=() status=0
    begin_calling a && begin_calling b && begin_calling idle &&
        exec 7>"$work/a.input" 8>"$work/b.input" 9>"$work/idle.input" || return
    for number in 1 2 3 4; do
        on "${at[a]}" migrate -q "a$number" "$(uri_of "${at[b]}")" 7>&- 8>&- 9>&- &
        running+=($!)
        on "${at[b]}" migrate -q "b$number" "$(uri_of "${at[a]}")" 7>&- 8>&- 9>&- &
        running+=($!)
    done
    for pid in "${running[@]}"; do
        wait "$pid" || status=1
    done
    end_calling || status=1
    at=([a]=${at[b]} [b]=${at[a]})
    return "$status"
}

all_run_there()
{
    local first number name
    for first in a b; do
        for number in 1 2 3 4; do
            name=$first$number
            [ "$(state_on "${at[$first]}" "$name") $(state_on "$(other "${at[$first]}")" "$name")" = \
                "running none" ] || return
        done
    done
}

# A host so busy may leave a console unread for a moment.
all_are_gapless()
{
    local first number name
    for first in a b; do
        for number in 1 2 3 4; do
            name=$first$number
            goes_on "$name" && on "${at[$first]}" destroy -q "$name" &&
                continued --repeats 2 "$work/$name.log" || return
        done
    done
}

tell_times()
{
    local host
    for host in a b idle; do
        echo "# control calls of $host meanwhile$1: $(cat "$work/$host.calls")"
    done
}

# False where they were not, and nothing was to be done.
favour_no_daemon()
{
    local host
    for host in a b idle; do
        grep -q 'nice -10' "/proc/${daemon_pid[$host]}/autogroup" &&
            echo 0 >"/proc/${daemon_pid[$host]}/autogroup" || return
    done
} 2>/dev/null

check hosts_begin  make_all_hosts
check eight_guests_run  launch_all
check eight_migrations_at_once_end_well  move_all
tell_times ""
check each_guest_runs_on_the_other_host  all_run_there
if favour_no_daemon; then
    check eight_migrations_back_end_well  move_all
    tell_times ", not favoured"
    check each_guest_runs_where_it_began  all_run_there
else
    skip eight_migrations_back_end_well "no autogroup, or not root"
fi
check no_count_has_a_gap  all_are_gapless
kill_host a TERM
kill_host b TERM
kill_host idle TERM
check nothing_is_left  wait_until 20 no_process_left
end_tests
