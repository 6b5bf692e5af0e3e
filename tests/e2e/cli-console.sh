#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The console command, with a guest in memory that answers each byte with the same: through pipes,
# and on a terminal, which must be as it was on every way out.
. "$(dirname "$0")/lib.sh"

uri='test:///?domains=1'
export VIRSTREAM_DEFAULT_URI=$uri

console()
{
    virstream console test1 "$@"
}

answers()
{
    [ "$(echo hello | console)" = hello ]
}

carries_a_megabyte()
{
    seq 150000 >"$work/typed"
    console <"$work/typed" >"$work/printed" && cmp "$work/typed" "$work/printed"
}

nothing_typed()
{
    exits 0 console </dev/null
}

reads_nothing()
{
    echo unread | { exits 7 console --read-only --timeout 1 && read -r line && [ "$line" = unread ]; }
}

# The guest says nothing: only the pipe tells that nobody reads it any more.
reader_goes()
{
    console --read-only --timeout 60 2>"$work/said" | true
    [ "${PIPESTATUS[0]}" = 8 ] && grep -q "read standard output has gone" "$work/said"
}

told_as_json()
{
    echo hello | console --json 2>"$work/said" >/dev/null
    cat "$work/said"
    grep -q '^{"console":{"name":"test1",.*"sent":6,"received":6}}$' "$work/said"
}

# on_a_terminal STATUS KEYS: the console on a terminal where KEYS are typed when it is open, or after
# some seconds, ends with STATUS, and the terminal is as it was
on_a_terminal()
{
    local wanted=$1 keys=$2
    rm -f "$work/pid" "$work/trace"
    cat >"$work/said-by" <<END
echo \$\$ >"$work/pid"
exec "$top/run" virstream --trace=state console \${guest-test1} 2>"$work/trace"
END
    cat >"$work/session" <<END
stty -g >"$work/before"
bash "$work/said-by"
echo \$? >"$work/status"
stty -g >"$work/after"
END
    { wait_until 5 is_open; printf '%b' "$keys"; sleep 1; } |
        timeout 60 script -qec "bash '$work/session'" /dev/null >"$work/seen"
    cat "$work/seen"
    [ "$(cat "$work/status")" = "$wanted" ] && cmp "$work/before" "$work/after"
}

is_open()
{
    grep -qs STREAM_FLOWING "$work/trace"
}

escape_leaves()
{
    on_a_terminal 0 'hel\001\003lo\035never typed' && grep -q 'hel.*lo' "$work/seen" &&
        ! grep -q never "$work/seen"
}

signal_leaves()
{
    rm -f "$work/trace"
    { wait_until 30 is_open; kill -s "$1" "$(cat "$work/pid")"; } &
    on_a_terminal 8 x && grep -q '^virstream: .*cancelled' "$work/trace"
}

unknown_guest_leaves()
{
    guest=nobody on_a_terminal 5 x
}

check typed_bytes_are_answered_through_pipes  answers
check megabyte_goes_through_pipes  carries_a_megabyte
check empty_input_ends_it  nothing_typed
check read_only_console_reads_nothing  reads_nothing
check silent_console_ends_when_its_reader_goes  reader_goes
check result_is_json_beside_the_data  told_as_json
if command -v script >/dev/null; then
    check escape_leaves_and_restores_the_terminal  escape_leaves
    check termination_restores_the_terminal  signal_leaves TERM
    check hangup_restores_the_terminal  signal_leaves HUP
    check interrupt_restores_the_terminal  signal_leaves INT
    check unknown_guest_leaves_the_terminal_alone  unknown_guest_leaves
else
    skip escape_leaves_and_restores_the_terminal "no script(1)"
fi
check no_process_left  no_process_left
end_tests
