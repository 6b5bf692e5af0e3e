#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Live migration between two daemons, over TLS: guests that are idle, busy, large or paused, there
# and back; and everything that --check finds. What goes wrong on the way is in migrate-faults.sh.
. "$(dirname "$0")/hosts.sh"

need_guests
times=3
large=64
if is_long; then
    times=50
    large=${VST_TEST_GUEST_MIB-2048}
fi

daemon_options=(--trace qmp)
if are_namespaces_allowed; then
    check two_hosts_in_namespaces_begin  make_hosts namespaces
else
    check two_hosts_begin  make_hosts
fi

# ---- there and back ----

idle()
{
    launch a idle && there_and_back "$times" idle && finish a idle
}

dirtying()
{
    launch a dirtying D && there_and_back "$times" dirtying --downtime 2000 && finish a dirtying
}

large()
{
    launch a large F "$large" && there_and_back "$times" large && finish a large
}

compressed()
{
    launch a compressed F && there_and_back 1 compressed --compress && finish a compressed
}

paused()
{
    launch a paused && on a suspend -q paused && stands_still paused &&
        there_and_back "$times" paused && stands_still paused &&
        on a resume -q paused && goes_on paused && finish a paused
}

stopped_for_it()
{
    launch a offline && there_and_back 1 offline --offline && finish a offline
}

check idle_guest_goes_there_and_back  idle
check guest_that_dirties_its_memory_goes_there_and_back  dirtying
check guest_of_random_memory_goes_there_and_back  large
check compressed_guest_goes_there_and_back  compressed
check paused_guest_stays_paused_and_goes_on_when_told  paused
check guest_goes_offline_and_runs_there  stopped_for_it

# Only by its return path does a QEMU that has sent all hear that the other one has loaded it: each
# that was to move, and each that was to take one, was told to have it when it began.
have_return_paths()
{
    local host
    for host in a b; do
        awk '
            { guest = $0; sub(/ (->|<-) .*/, "", guest) }
            /"execute": *"migrate-set-capabilities"/ {
                has[guest] = /"capability": *"return-path", *"state": *true/
            }
            /"execute": *"migrate(-incoming)?"/ { count[/-incoming/]++; lacks += !has[guest] }
            END { print count[0] + 0, count[1] + 0, lacks + 0; exit !(count[0] && count[1] && !lacks) }
        ' "$work/$host/log" || return
    done
}

check all_of_them_had_a_return_path  have_return_paths

# ---- what stands in the way ----

check_of()
{
    on a migrate --check "$1" "$(uri_of b)"
}

nothing_in_the_way()
{
    launch a g && check_of g && [ "$(state_on b g)" = none ] && goes_on g
}

# blocked TEXT NAME: said by --check and by migrate, which begins nothing
blocked()
{
    refuses 11 "$1" check_of "$2" && refuses 11 "$1" on a migrate -q "$2" "$(uri_of b)" &&
        is_on_a_alone "$2"
}

is_on_a_alone()
{
    [ "$(state_on a "$1") $(state_on b "$1")" = "running none" ] && goes_on "$1"
}

name_is_taken()
{
    printf '{"name": "g", "machine": "none", "accel": "tcg", "memory-mib": 16, "vcpus": 1}' >"$work/taken.json"
    on b start -q "$work/taken.json" &&
        refuses 11 "a domain named g is there already" check_of g &&
        refuses 11 "there already" on a migrate -q g "$(uri_of b)" && goes_on g &&
        on b destroy -q g && finish a g
}

file_is_missing()
{
    local disk="\"disks\": [{\"name\": \"d\", \"file\": \"$work/disk.raw\", \"format\": \"raw\"}]"
    cp "$guest_elf" "$work/kernel.elf"
    truncate -s 1M "$work/disk.raw"
    define file && sed -i "s,$guest_elf,$work/kernel.elf,; s|\"vcpus\"|$disk, &|" "$work/file.json" &&
        on a start -q "$work/file.json" && wait_until 20 counts file &&
        rm "$work/kernel.elf" "$work/disk.raw" && refuses 11 "$work/kernel.elf" check_of file &&
        blocked "$work/disk.raw" file && finish a file
}

too_large()
{
    local mib
    mib=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo) # never available as a whole
    launch a big P "$mib" && blocked "of memory" big && finish a big
}

check check_starts_nothing  nothing_in_the_way
check name_that_is_taken_is_told  name_is_taken
check kernel_and_disk_that_are_missing_are_both_told  file_is_missing
check guest_that_is_too_large_is_told  too_large

nobody_there()
{
    local status=0
    launch a alone || return
    on a migrate -q alone "qemu+tls://${address[b]}:1/" || status=$?
    [ "$status" = 3 ] && ! on a migrations | grep -q alone && goes_on alone && finish a alone
}

check destination_that_is_not_there_leaves_the_guest  nobody_there

# One that is cancelled where it was to come is told what is true there.
cancelled_there()
{
    local moving
    launch a slow && {
        on a migrate -q --bandwidth 1M slow "$(uri_of b)" 2>/dev/null &
        moving=$!
    }
    wait_until 20 is_coming slow &&
        contains "what is here of the guest is ended" on b migration cancel slow &&
        ! wait "$moving" && wait_until 20 is_over slow && goes_on slow || return
    contains " sent in " on a migrations && finish a slow
}

# is_over TOKEN|GUEST: that is on the disk, too, and the guest is free
is_over()
{
    on a migrations | grep -qw "$1 .* over" && ! on a migrations | grep -w "$1 .* 20" | grep -qvw over
}

is_coming()
{
    on b migrations | grep -q "$1 .* in  *memory"
}

check migration_is_cancelled_at_its_destination  cancelled_there

# Both ends are on the one host, and both are listed: the token is that of either.
cancelled_on_one_host()
{
    local token
    launch a self && token=$(on a migrate --detach --bandwidth 1M --rename other self "$(uri_of a)") || return
    wait_until 20 is_coming_home other && [ "$(on a migrations -q | grep -c "$token")" = 2 ] &&
        contains "stays on the source" on a migration cancel "$token" &&
        wait_until 20 is_alone && wait_until 20 is_over "$token" && goes_on self && finish a self
}

is_coming_home()
{
    on a migrations | grep -q "$1 .* in  *memory"
}

is_alone()
{
    [ "$(state_on a self) $(state_on a other)" = "running none" ]
}

check migration_within_a_host_is_cancelled_by_its_token  cancelled_on_one_host

# What a migration has set in QEMU is not in the way of what comes after it.
saved_after_it()
{
    launch a saved && on a migrate -q saved "$(uri_of b)" &&
        on b save -q --live --keep saved "$work/live.vst" && on b image check -q "$work/live.vst" &&
        on b save -q --stall 20 saved "$work/saved.vst" && on b restore -q "$work/saved.vst" &&
        goes_on saved && finish b saved
}

saved_after_one_that_was_cancelled()
{
    local moving
    launch a stayed && {
        on a migrate -q --bandwidth 1M stayed "$(uri_of b)" 2>/dev/null &
        moving=$!
    }
    wait_until 20 is_coming stayed && on a migration cancel -q stayed && ! wait "$moving" &&
        wait_until 20 is_over stayed && on a save -q --stall 20 stayed "$work/stayed.vst" &&
        on a restore -q "$work/stayed.vst" && goes_on stayed && finish a stayed
}

check guest_that_has_migrated_is_saved_live_and_for_good  saved_after_it
check guest_whose_migration_was_cancelled_is_saved  saved_after_one_that_was_cancelled

# QEMU does not answer yet, and is gone: nothing has begun, and nobody waits on.
dies_while_it_is_asked()
{
    local option pid asking
    for option in --check -q; do
        launch a asked && pid=$(on a list | awk '$1 == "asked" { print $NF }') &&
            kill -STOP "$pid" || return
        on a migrate "$option" asked "$(uri_of b)" >"$work/asked.out" 2>&1 &
        asking=$!
        wait_until 20 is_asking asked && kill -KILL "$pid" && ! wait "$asking" &&
            grep -q "killed, or crashed" "$work/asked.out" && on a destroy -q asked || return
    done
}

is_asking()
{
    on a migrations | grep -q "$1 .* out  *ask"
}

check qemu_that_dies_while_it_is_asked_ends_the_migration  dies_while_it_is_asked

nothing_left()
{
    kill_host a TERM && kill_host b TERM &&
        [ -z "$(processes | grep -v '\.namespace')" ]
}

check nothing_is_left  nothing_left
end_tests
