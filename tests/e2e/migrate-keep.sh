#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What --keep-source leaves: a copy that never runs again, whoever takes hold of it, and however often.
# It says where its guest has gone, has the name until it is destroyed, and is then as if it had never
# been. The source is a daemon, which is killed, or the driver in each command.
. "$(dirname "$0")/hosts.sh"

need_guests
own=$pki/localhost
declare -A where

# of SOURCE COMMAND...: as the source of that kind is asked
of()
{
    virstream -c "${where[$1]}" "${@:2}"
}

begin_hosts()
{
    make_hosts || return
    where[daemon]="qemu+unix://$work/a/socket"
    where[command]="qemu:///?root=$work/in-command/root&state=$work/in-command/state"
}

there()
{
    echo "$(uri_of b)?ca=$own/cacert.pem&cert=$own/servercert.pem&key=$own/serverkey.pem"
}

# leave SOURCE: the guest, and it counts there
leave()
{
    define g && of "$1" start -q "$work/g.json" && wait_until 20 counts g &&
        of "$1" migrate -q --keep-source g "$(there)" && is_kept "$1"
}

# is_kept SOURCE: paused, it tells why, and the guest runs where it went
is_kept()
{
    contains "paused" of "$1" list && contains "has migrated to $(uri_of b)" of "$1" info g &&
        contains "destroy it when it is not needed" of "$1" info g &&
        [ "$(state_on b g)" = running ] && goes_on g
}

# never_runs SOURCE: and cannot be made to, in whatever way
never_runs()
{
    refuses 6 "never runs again" of "$1" resume g && refuses 6 "never runs again" of "$1" shutdown g &&
        refuses 6 "never runs again" of "$1" save -q g "$work/image" && [ ! -e "$work/image" ] &&
        refuses 6 "never runs again" of "$1" save -q --live g "$work/image" &&
        refuses 6 "never runs again" of "$1" migrate -q g "$(there)" &&
        exits 6 of "$1" start -q "$work/g.json" && is_kept "$1"
}

# can_go SOURCE: nothing is left of it, the guest is where it was, and may come back
can_go()
{
    of "$1" destroy -q g && contains "no domain" of "$1" info g && goes_on g
}

of_a_daemon()
{
    leave daemon && never_runs daemon
}

daemon_begins_anew()
{
    kill_host a KILL
    begin_host a && is_kept daemon && never_runs daemon
}

# The one that was kept has the name.
guest_does_not_come_back()
{
    on b migrate -q g "$(uri_of a)" >"$work/said" 2>&1 && return 1
    contains "g" cat "$work/said" && is_kept daemon && never_runs daemon
}

guest_comes_back()
{
    can_go daemon && move g b && finish a g
}

of_a_command()
{
    leave command && never_runs command && never_runs command && can_go command && finish b g
}

check two_hosts_begin  begin_hosts
check copy_that_was_kept_never_runs  of_a_daemon
check restart_of_the_daemon_changes_nothing  daemon_begins_anew
check guest_does_not_come_back_as_long_as_it_is_there  guest_does_not_come_back
check guest_comes_back_when_it_is_destroyed  guest_comes_back
check copy_that_a_command_kept_never_runs  of_a_command

nothing_left()
{
    kill_host a TERM && kill_host b TERM && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
