#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What people are told of a guest that migrates: by the commands that show and end guests, and, when
# something dies on the way, of which host it was, and whether anything goes on.
. "$(dirname "$0")/hosts.sh"

need_guests
patience=10

# begin_moving: slowly, and nobody waits for it
begin_moving()
{
    launch a g F 32 && on a migrate -q --detach --bandwidth 2M g "$(uri_of b)" &&
        wait_until 20 shows a list g "migrates to $(uri_of b) (memory), [1-9]" &&
        wait_until 20 shows b list g "comes from .*, host [0-9a-f-]* (memory), [1-9]"
}

# shows HOST COMMAND NAME TEXT
shows()
{
    case $2 in
    list) on "$1" list | grep "^$3 " ;;
    *) on "$1" "$2" "$3" ;;
    esac | grep -q "$4"
}

all_is_over()
{
    ! on a migrations --json | grep -q '"over": *false' && ! on b migrations --json | grep -q '"over": *false'
}

stays()
{
    wait_until 30 all_is_over && [ "$(state_on a g) $(state_on b g)" = "running none" ] && goes_on g && finish a g
}

is_listed()
{
    begin_moving && shows a info g "^reason: *migrates to" && shows a info g "^job: *migrate, [1-9].* of " &&
        shows b info g "^reason: *comes from" && shows b info g "^job: *migrate, [1-9].* of "
}

is_no_guest_yet()
{
    refuses 6 "is on its way to this host, and the other one has it" on b destroy g &&
        [ "$(state_on a g) $(state_on b g)" = "running starting" ] && on a migration cancel -q g && stays
}

# loses STATUS TEXT COMMAND...: what dies by that is told to the client, who lives
loses()
{
    local status=0 wanted=$1 text=$2 command
    shift 2
    launch a g F 32 || return
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 2M g "$(uri_of b)" \
        2>"$work/err" &
    command=$!
    wait_until 20 shows b list g "(memory), [1-9]" && "$@" || return
    wait "$command" || status=$?
    cat "$work/err"
    [ "$status" = "$wanted" ] && grep -qE "$text" "$work/err" && ! grep -q "go on without us" "$work/err"
}

end_daemon()
{
    kill_host b "$1"
    ! kill -0 "${daemon_pid[b]}" 2>/dev/null
}

kill_copy()
{
    kill -9 "$(cut -d' ' -f1 "$work/b/root/g/identity")"
}

loses_the_daemon()
{
    loses 3 "where: destination host" end_daemon KILL && begin_host b && stays
}

loses_the_daemon_that_is_stopped()
{
    loses 10 "where: destination host" end_daemon TERM && grep -q "shut down" "$work/err" &&
        begin_host b && stays
}

loses_the_qemu()
{
    loses 10 "where: destination host" kill_copy && stays
}

check two_hosts_begin  make_hosts
check guest_that_moves_is_shown_with_how_far_it_is  is_listed
check copy_that_arrives_is_no_guest_to_be_ended  is_no_guest_yet
check death_of_the_destination_is_told  loses_the_daemon
check end_of_the_destination_is_no_cancel  loses_the_daemon_that_is_stopped
check death_of_the_copy_is_told  loses_the_qemu

nothing_left()
{
    kill_host a TERM && kill_host b TERM && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
