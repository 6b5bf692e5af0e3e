#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# That the test guest counts, obeys, and finds damage, under QEMU alone: nothing of ours but the
# guest runs here, so that a failure in another test is not the guest's.
. "$(dirname "$0")/tap.sh"

command -v qemu-system-x86_64 >/dev/null || skip_all "no qemu-system-x86_64"
count_check=$top/tests/guest/count-check
mkfifo "$work/con.in" "$work/con.out" "$work/qmp"
exec {qmp}<>"$work/qmp"

# boot LOG MODE ARGUMENT...: starts a guest whose console goes to LOG, and QMP's words to LOG.qmp
boot()
{
    log=$work/$1
    local mode=$2
    shift 2
    : >"$log"
    cat "$work/con.out" >"$log" &
    qemu-system-x86_64 -accel tcg -m 16 -nodefaults -display none -vga none -no-reboot \
        -kernel "$VIRSTREAM_BUILD/tests/guest/guest.elf" -append "mode=$mode" \
        -chardev "pipe,id=con,path=$work/con" -serial chardev:con -qmp stdio "$@" \
        <"$work/qmp" >"$log.qmp" 2>"$log.err" &
    qemu=$!
    tell '{"execute": "qmp_capabilities"}'
    tell '{"execute": "migrate-set-capabilities",
           "arguments": {"capabilities": [{"capability": "events", "state": true}]}}'
}

tell()
{
    echo "$1" >&"$qmp"
}

type_in()
{
    printf %s "$1" >"$work/con.in"
}

prints()
{
    wait_until 20 grep -qx -- "$1" "$log" || { tail -n 3 "$log" "$log.err"; return 1; }
}

exited()
{
    ! kill -0 "$qemu" 2>/dev/null
}

# The console's reader ends with QEMU; then the log is whole.
ends()
{
    local status=0
    wait_until 20 exited || { status=1; kill "$qemu"; }
    wait
    return $status
}

powers_off()
{
    prints shutdown && ends && "$count_check" "$log"
}

migrated()
{
    wait_until 20 grep -q '"status": "completed"' "$log.qmp" || { cat "$log.qmp" "$log.err"; return 1; }
}

# The guest runs until the last of it is saved; so it will run at once when restored.
save()
{
    tell '{"execute": "migrate", "arguments": {"uri": "exec:cat >'"$work/image"'"}}'
    migrated || return
    tell '{"execute": "quit"}'
    ends
}

# Input that comes before the state is loaded is lost with the empty UART that it fell into.
restore()
{
    boot "$1" F -incoming "exec:cat $work/image"
    prints '.*[0-9a-f]\{8\}'
}

flip_bit_at()
{
    local byte
    byte=$(od -An -tu1 -j "$1" -N 1 "$work/image")
    printf '%b' "\\0$(printf %o $((byte ^ 1)))" |
        dd of="$work/image" bs=1 seek="$1" conv=notrunc status=none
}

for machine in pc q35; do
    boot "$machine" P -M "$machine"
    check "guest_counts_on_$machine"  prints 00000010
    type_in Az
    check "guest_answers_input_on_$machine"  prints '< 7a'
    tell '{"execute": "system_powerdown"}'
    check "guest_obeys_the_power_button_on_$machine"  powers_off
done

boot dirty D
check guest_counts_while_it_dirties_memory  prints 00000010
type_in q
check guest_powers_off_on_request  powers_off

boot source F
check guest_counts_with_memory_filled  prints 00000010
check guest_is_saved  save
restore destination
type_in v
check restored_guest_finds_all_memory_right  prints '< 76'
type_in q
check restored_guest_powers_off  ends
check restored_guest_goes_on_counting  "$count_check" --min 17 "$work/source" "$log"

flip_bit_at 8000000
restore damaged
type_in v
check restored_guest_finds_one_wrong_bit  prints '!00[0-9a-f]*'
tell '{"execute": "quit"}'
ends
check no_process_is_left  no_process_left
end_tests
