#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The operator's word, where it is wrong or comes too late: what a host knows to be false it refuses;
# what it cannot know is believed, and when the hosts see each other again both say what became of
# the guest.
. "$(dirname "$0")/trouble.sh"

need_guests
from=a to=b

has_reached()
{
    look_at a
    look_at b
    [ -n "${reached[$1]-}" ]
}

# reaches STATE
reaches()
{
    wait_until 60 has_reached "$1" || {
        echo "no $1; ${state[SOURCE]}, ${state[DESTINATION]}"
        return 1
    }
}

token()
{
    on a migrations | awk '$3 == "out" && $4 != "over" { print $1 }'
}

# resolve OWNER [OPTION]: at the source
resolve()
{
    on a migration resolve --guest-runs-on="$1" "${@:2}" "$(token)"
}

# both_say WORD...: the outcome of the newest migration, here and there
both_say()
{
    local host word
    for host in a b; do
        on "$host" migrations --json | sed 's/.*{"token"/{"token"/' >"$work/known" || return
        for word in "$@"; do
            grep -q "$word" "$work/known" || {
                echo "$host:"
                cat "$work/known"
                return 1
            }
        done
    done
}

states_are()
{
    [ "$(state_on a g) $(state_on b g)" = "$1" ] || {
        echo "$(state_on a g) $(state_on b g), not $1"
        return 1
    }
}

# The link is lost when the destination has all and is to be told to run it.
in_doubt()
{
    launch a g F 8 || return
    forget_states
    tell_gates hold SOURCE_HANDING
    begin_moving
    reaches SOURCE_HANDING || return
    lose_link
    tell_gates go SOURCE_HANDING
    reaches SOURCE_DOUBT
}

# shows HOST TEXT: list and info, and no figures of what does not move
shows()
{
    on "$1" list | grep "^g " >"$work/listed" && on "$1" info g >"$work/known" &&
        grep -q " $2" "$work/listed" && grep -q "^reason: *$2" "$work/known" && ! grep -q "so far" "$work/listed" "$work/known" &&
        return
    cat "$work/listed" "$work/known"
    return 1
}

# Without its QEMU the guest cannot go on here, and what is there is the last copy.
source_without_qemu()
{
    in_doubt && shows a "in doubt, it may run at ${link[a]%%\?*}" &&
        wait_until 60 shows b "in doubt, it may run at x509:CN=localhost, host [0-9a-f-]*:" && kill_source_qemu && wait_until 60 is_crashed && refuses 6 "its QEMU is gone on this host" resolve source &&
        states_are "crashed starting" && lose_link_ends && wait_until 60 settled &&
        states_are "none running" && goes_on g && gapless && finish b g
}

is_crashed()
{
    [ "$(state_on a g)" = crashed ]
}

destination_without_qemu()
{
    in_doubt && kill_destination_qemu && reaches DESTINATION_ABORTED &&
        resolve destination && reaches SOURCE_FINISHING && lose_link_ends &&
        wait_until 60 settled && states_are "none none" && both_say '"outcome":"died"' "neither host"
}

# The destination's QEMU is deaf when it is told to run the guest. When it hears again it is to be
# gone, and not to run beside the source's.
destination_is_deaf()
{
    launch a g F 8 || return
    forget_states
    tell_gates hold DESTINATION_COMMITTING
    begin_moving
    reaches DESTINATION_COMMITTING && stop_destination_qemu || return
    tell_gates go DESTINATION_COMMITTING
    reaches DESTINATION_RESUMING && reaches SOURCE_DOUBT && resolve source && reaches SOURCE_TELLING &&
        wait_until 60 settled && states_are "running none" && both_say '"outcome":"stayed"' &&
        goes_on g && gapless && finish a g
}

begin_post_copy()
{
    launch a g F 192 || return
    forget_states
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 6M --post-copy g \
        "${link[a]}" >"$work/said" 2>&1 &
    moving=$!
    reaches SOURCE_MOVING && wait_until 60 on a migration post-copy -q g &&
        reaches DESTINATION_LACKING
}

# What ran there lacks the memory that is here, and must not go on writing to the disks.
source_in_post_copy()
{
    begin_post_copy && lose_link && reaches SOURCE_APART &&
        refuses 2 "has run at" resolve source && resolve source --other-host-is-lost &&
        reaches SOURCE_TELLING && states_are "running running" && lose_link_ends &&
        wait_until 60 settled && states_are "running none" && both_say '"outcome":"stayed"' && on a destroy -q g
}

destination_in_post_copy()
{
    begin_post_copy && lose_link && reaches SOURCE_APART && resolve destination &&
        reaches SOURCE_FINISHING && lose_link_ends && wait_until 60 settled &&
        states_are "none running" && both_say '"outcome":"died"' "will not get the rest of its memory" && on b destroy -q g
}

nothing_left()
{
    end_lane
    wait_until 10 no_process_left
}

check two_hosts_begin  begin_lane
check guest_whose_qemu_is_gone_is_not_given_to_its_host  source_without_qemu
check guest_that_is_given_to_a_host_without_it_is_told_to_be_nowhere  destination_without_qemu
check copy_that_may_have_been_told_to_run_ends_when_the_source_has_the_guest  destination_is_deaf
check copy_that_lacks_memory_ends_when_the_source_has_the_guest  source_in_post_copy
check memory_that_is_given_up_is_told_of  destination_in_post_copy
check nothing_is_left  nothing_left
end_tests
