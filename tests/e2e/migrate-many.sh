#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Eight migrations at once between two daemons, four each way: all end, and no count has a gap. How
# long control calls of both daemons take meanwhile is printed.
. "$(dirname "$0")/hosts.sh"

need_guests
memory=16
if is_long; then
    memory=128
fi
declare -A caller

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
    "$top/run" tests/e2e/calls "qemu+unix://$work/$1/socket" <"$work/$1.input" \
        >"$work/$1.calls" &
    caller[$1]=$!
}

end_calling()
{
    exec 7>&- 8>&-
    wait "${caller[a]}" && wait "${caller[b]}"
}

move_all()
{
    local number pid running=() status=0
    begin_calling a && begin_calling b && exec 7>"$work/a.input" 8>"$work/b.input" || return
    for number in 1 2 3 4; do
        on a migrate -q "a$number" "$(uri_of b)" 7>&- 8>&- &
        running+=($!)
        on b migrate -q "b$number" "$(uri_of a)" 7>&- 8>&- &
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
            on a destroy -q "b$number" && continued --repeats 2 "$work/a$number.log" &&
            continued --repeats 2 "$work/b$number.log" || return
    done
}

check two_hosts_begin  make_hosts
check eight_guests_run  launch_all
check eight_migrations_at_once_end_well  move_all
for host in a b; do
    echo "# control calls of $host meanwhile: $(cat "$work/$host.calls")"
done
check each_guest_runs_on_the_other_host  all_run_there
check no_count_has_a_gap  all_are_gapless
kill_host a TERM
kill_host b TERM
check nothing_is_left  wait_until 20 no_process_left
end_tests
