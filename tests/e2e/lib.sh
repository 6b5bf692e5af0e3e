# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What end-to-end tests of the command share, on top of tap.sh: a root of their own for real
# guests, definitions of the counting guest, and the proof that it was continued exactly.

. "$(dirname "${BASH_SOURCE[0]}")/tap.sh"

root=$work/root
export VIRSTREAM_DEFAULT_URI="qemu:///?root=$root"
guest_elf=$VIRSTREAM_BUILD/tests/guest/guest.elf

virstream()
{
    run virstream "$@"
}

# In front of tests that need a real guest.
need_guests()
{
    command -v qemu-system-x86_64 >/dev/null || skip_all "no qemu-system-x86_64 here"
    [ -f "$guest_elf" ] || fail_all "no $guest_elf; make check builds it"
    run virstream list >/dev/null || fail_all "no qemu driver: $(run virstream list 2>&1 | head -1)"
}

# define NAME [MODE [MIB [MACHINE]]]: $work/NAME.json is a guest that counts into $work/NAME.log
define()
{
    rm -f "$work/$1.log"
    cat >"$work/$1.json" <<END
{"name": "$1", "machine": "${4-pc}", "accel": "tcg", "memory-mib": ${3-16}, "vcpus": 1,
 "kernel": "$guest_elf", "append": "mode=${2-P}", "console": {"log": "$work/$1.log"}}
END
}

# start NAME [MODE [MIB [MACHINE]]]: that, started and counting
start()
{
    define "$@" && virstream start -q "$work/$1.json" && wait_until 20 counts "$1"
}

# The last number in the log of guest NAME; fails if there is none yet.
count_of()
{
    grep -xE '[0-9a-f]{8}' "$work/$1.log" 2>/dev/null | tail -n 1 | grep .
}

counts()
{
    count_of "$1" >/dev/null
}

# goes_on NAME: within ten seconds guest NAME has counted further than it has now
goes_on()
{
    local before
    before=$(count_of "$1") || return
    wait_until 10 counted_beyond "$1" "$before"
}

counted_beyond()
{
    [[ $(count_of "$1") > $2 ]]
}

# stands_still NAME: guest NAME counts nothing for half a second
stands_still()
{
    local before
    before=$(count_of "$1")
    sleep 0.5
    [ "$(count_of "$1")" = "$before" ]
}

# is_state NAME STATE
is_state()
{
    virstream info "$1" | grep -qx "state: *$2"
}

# The names of all guests, in one line.
guests()
{
    virstream list -q | paste -sd' '
}

# What is in the root: guests, whole or not. What must survive the host is not looked at.
places()
{
    ls -A -I .state "$root" | paste -sd' '
}

# continued LOG...: the count has no gap, no repeat, and the guest found no fault in its memory. QEMU
# may have logged a few characters twice, where the machine was too busy to read the console.
continued()
{
    "$top/tests/guest/count-check" --repeats 3 "$@"
}

# contains TEXT COMMAND...: succeeds when what the command prints has TEXT in it; shows it if not
contains()
{
    local text=$1 said
    shift
    said=$("$@" 2>&1)
    case $said in *"$text"*) return 0 ;; esac
    printf '%s\n' "$said"
    return 1
}

# refuses STATUS TEXT COMMAND...: it ends with this status, and what it prints has TEXT in it
refuses()
{
    local wanted=$1 text=$2 status=0 said
    shift 2
    said=$("$@" 2>&1) || status=$?
    [ "$status" = "$wanted" ] && case $said in *"$text"*) return 0 ;; esac
    printf 'exit status %s\n%s\n' "$status" "$said"
    return 1
}

# in_three_tries COMMAND...: for what a busy machine may spoil once
in_three_tries()
{
    "$@" || "$@" || "$@"
}
