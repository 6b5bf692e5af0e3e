#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Eight migrations at once between two daemons, four each way: all end, and no count has a gap. How
# long control calls of both daemons take meanwhile is printed, and beside it how long the same calls
# of a third daemon take, which has nothing to do: what a call waits for there is the turn of a
# process among sixteen QEMUs, and none of our doing.
. "$(dirname "$0")/hosts.sh"

need_guests
memory=16
if is_long; then
    memory=128
fi
declare -A caller

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
    mkfifo "$work/$1.input" || return
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
        on a migrate -q "a$number" "$(uri_of b)" 7>&- 8>&- 9>&- &
        running+=($!)
        on b migrate -q "b$number" "$(uri_of a)" 7>&- 8>&- 9>&- &
        running+=($!)
    done
    for pid in "${running[@]}"; do
        wait "$pid" || status=1
    done
    end_calling && return "$status"
}

all_run_there()
{
    local number
    for number in 1 2 3 4; do
        [ "$(state_on a "a$number") $(state_on b "a$number")" = "none running" ] &&
            [ "$(state_on b "b$number") $(state_on a "b$number")" = "none running" ] || return
    done
}

# A host so busy may leave a console unread for a moment.
all_are_gapless()
{
    local number
    for number in 1 2 3 4; do
        goes_on "a$number" && goes_on "b$number" && on b destroy -q "a$number" &&
            on a destroy -q "b$number" && continued "$work/a$number.log" &&
            continued "$work/b$number.log" || return
    done
}

check hosts_begin  make_all_hosts
check eight_guests_run  launch_all
check eight_migrations_at_once_end_well  move_all
for host in a b idle; do
    echo "# control calls of $host meanwhile: $(cat "$work/$host.calls")"
done
check each_guest_runs_on_the_other_host  all_run_there
check no_count_has_a_gap  all_are_gapless
kill_host a TERM
kill_host b TERM
kill_host idle TERM
check nothing_is_left  wait_until 20 no_process_left
end_tests
