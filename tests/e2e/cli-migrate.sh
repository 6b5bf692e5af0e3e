#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The commands of migration, against a host that makes migrations up: what they say, how they end,
# and that it goes on without them. Real ones are in migrate.sh.
. "$(dirname "$0")/lib.sh"

TMPDIR=$work "$VIRSTREAM_BUILD/tests/e2e/mover" >"$work/socket" &
mover=$!
wait_until 10 test -s "$work/socket"
VIRSTREAM_DEFAULT_URI="test+unix://$(cat "$work/socket")"
export VIRSTREAM_DEFAULT_URI

# token WORD: the token of the migration whose line in the list has WORD in it
token()
{
    virstream migrations | grep -- "$1" | cut -d' ' -f1
}

# shows_lines_of_json DESTINATION: the last line of standard error is what is shown last, and standard
# output is one object.
shows_lines_of_json()
{
    virstream --json migrate --progress json test1 "$1" >"$work/out" 2>"$work/err" ||
        return
    cat "$work/out" "$work/err"
    grep -q '^{"migrated":{"token":"' "$work/out" && [ "$(wc -l <"$work/out")" = 1 ] &&
        grep -q '^{"progress":{"token":".*"phase":"memory","in-doubt":false' "$work/err" &&
        tail -n 1 "$work/err" | grep -q '"over":true,"outcome":"migrated",.*"downtime-ms":42'
}

# The hosts still have words for each other then.
ends_with_the_outcome()
{
    shows_lines_of_json test+tls://words/ &&
        [ "$(grep -c '"over":true' "$work/err")" = 1 ] &&
        contains '"outcome":"migrated"' cat "$work/out"
}

cancelled_it_ends_with_the_outcome()
{
    local command
    "$top/run" virstream migrate --progress json test2 test+tls://slow/json 2>"$work/err" &
    command=$!
    wait_until 10 grep -q '"phase":"memory"' "$work/err"
    kill -INT "$command"
    wait "$command"
    cat "$work/err"
    grep progress "$work/err" | tail -n 1 | grep -q '"over":true,"outcome":"stayed"'
}

lost_by_the_destination_nobody_goes_on()
{
    refuses 3 "the destination is gone" virstream migrate test1 test+tls://lost/ &&
        ! refuses 3 "go on without us" virstream migrate test1 test+tls://lost/
}

# Ends the host itself.
lost_by_us_the_hosts_go_on()
{
    local command status=0
    "$top/run" virstream migrate --progress json test1 test+tls://slow/alone 2>"$work/err" &
    command=$!
    wait_until 10 grep -q '"phase":"memory"' "$work/err"
    kill -9 "$mover"
    wait "$command" || status=$?
    cat "$work/err"
    [ "$status" = 3 ] && grep -q "hint: the hosts go on without us" "$work/err" &&
        grep progress "$work/err" | tail -n 1 | grep -q '"over":false,"outcome":null'
}

shows_a_line_on_a_terminal()
{
    script -qec "$top/run virstream migrate test1 test+tls://b/" /dev/null >"$work/out" 2>&1
    cat -v "$work/out"
    grep -qE 'memory  pass [123]: [0-9.]+ MiB left, 100.0 MiB/s, dirties 5.0 MiB/s, downtime 42 ms' \
        "$work/out"
}

leaves_it_going()
{
    local left
    left=$(virstream migrate --detach test1 test+tls://slow/) || return
    [ "$left" = "$(token slow)" ] && virstream migrations | grep -q "$left.* memory "
}

# Also of one that is over before anybody could have asked how it is.
knows_the_token_of_a_quick_one()
{
    local option said
    for option in --detach --quiet; do
        said=$(virstream --json migrate $option test1 "test+tls://quick/$option") || return
        echo "$said"
        grep -q '"migrated":{"token":"'"$(token "quick/$option")"'","name":"test1",.*"peer":"test+tls://quick/'$option'"' \
            <<<"$said" && grep -q '"outcome":"migrated"' <<<"$said" || return
    done
    said=$(virstream migrate --detach test1 test+tls://quick/plain) && [ "$said" = "$(token quick/plain)" ]
}

is_found_by_its_beginning()
{
    local whole
    whole=$(token slow)
    contains "is changed" virstream migration set "${whole:0:8}" --bandwidth 10M --downtime 100
}

is_over_by_then()
{
    local whole
    whole=$(token slow) && refuses 6 'virstream migrations` tells how it is' \
        virstream migration cancel "$whole"
}

is_cancelled_by_the_name_of_its_guest()
{
    contains "stays on the source" virstream migration cancel test1 &&
        contains "it was cancelled" virstream migrations
}

survives_its_command()
{
    local command
    "$top/run" virstream migrate test1 test+tls://slow/killed 2>/dev/null &
    command=$!
    wait_until 10 is_in_memory killed || return
    kill -9 "$command"
    wait "$command"
    contains "goes over" virstream migration post-copy test1 || return
    wait_until 10 is_over killed
}

is_in_memory()
{
    virstream --json migrations | grep -q "$1\",\"phase\":\"memory\""
}

is_over()
{
    virstream --json migrations | grep -q "$1\",\"phase\":\"over\",\"in-doubt\":false,\"over\":true"
}

# interrupts DESTINATION STATUS: Ctrl-C, and how the command ends
interrupts()
{
    local command status=0
    "$top/run" virstream migrate test2 "$1" 2>"$work/err" &
    command=$!
    wait_until 10 contains "$1" virstream migrations
    kill -INT "$command"
    wait "$command" || status=$?
    cat "$work/err"
    [ "$status" = "$2" ]
}

is_resolved()
{
    contains "by your word the guest is the source's" \
        virstream migration resolve test2 --guest-runs-on=source &&
        exits 5 virstream migration resolve test2 --guest-runs-on=source
}

# What it has done there would be undone in part: that is said before it is done.
is_resolved_with_care()
{
    virstream migrate -q --detach test2 test+tls://apart/ >/dev/null &&
        wait_until 10 contains " post-copy " virstream migrations &&
        refuses 2 "has run at test+tls://apart/" virstream migration resolve test2 --guest-runs-on=source &&
        refuses 2 "other-host-is-lost" virstream migration resolve test2 --guest-runs-on=source &&
        contains " post-copy " virstream migrations &&
        contains "guest is the source's" \
            virstream migration resolve test2 --guest-runs-on=source --other-host-is-lost
}

# Of two migrations of one guest the first has only words left; that is the one to be forgotten.
is_not_that_of_a_clean_up()
{
    contains "clean-up" virstream migrations && virstream migrate -q --detach test1 test+tls://slow/again >/dev/null &&
        refuses 6 "not in doubt" virstream migration resolve test1 --guest-runs-on=source &&
        contains "$(token slow/again)" virstream migration set test1 --downtime 100 &&
        contains "$(token words)" virstream migration forget test1 --other-host-is-lost &&
        contains "$(token slow/again)" virstream migration cancel test1
}

watches()
{
    exits 7 virstream --json migrations --watch --timeout 3 >"$work/out"
    [ "$(grep -c '^{"migrations":\[' "$work/out")" -gt 1 ]
}

check guest_is_migrated  contains "40.0 MiB sent in 4 passes; stood still for 42 ms" \
    virstream migrate test1 test+tls://b/
check progress_is_lines_of_json  shows_lines_of_json test+tls://b/
command -v script >/dev/null && check progress_is_a_line_on_a_terminal  shows_a_line_on_a_terminal
check check_says_that_all_is_well  contains "test1 can go to" \
    virstream migrate --check test1 test+tls://b/
check check_lists_every_blocker  refuses 11 "the name is taken" \
    virstream migrate --check test1 test+tls://full/
check blockers_are_exit_11  refuses 11 "no room for its memory" \
    virstream migrate test1 test+tls://full/
check clean_up_that_failed_is_exit_12  refuses 12 "its QEMU is still here" \
    virstream migrate test1 test+tls://left/
check this_process_cannot_be_left  refuses 2 "a server would go on" \
    virstream -c 'test:///?domains=1' migrate --detach test1 test+tls://b/
check detached_it_goes_on  leaves_it_going
check token_of_a_quick_one_is_known  knows_the_token_of_a_quick_one
check token_is_known_by_its_beginning  is_found_by_its_beginning
check guest_is_as_good_as_a_token  is_cancelled_by_the_name_of_its_guest
check what_is_over_is_not_cancelled_again  is_over_by_then
check unknown_token_is_exit_5  refuses 5 "no such migration" virstream migration cancel ffffffff
check command_that_is_killed_lets_it_go_on  survives_its_command
check interrupt_gives_it_up  interrupts test+tls://slow/int 8
check progress_of_one_given_up_ends_with_the_outcome  cancelled_it_ends_with_the_outcome
check destination_that_is_lost_lets_nobody_go_on  lost_by_the_destination_nobody_goes_on
check doubt_is_exit_13  interrupts test+tls://doubt/ 13
check doubt_is_resolved_by_word  is_resolved
check migrations_are_watched  watches
check source_is_taken_for_a_guest_that_ran_there_only_with_care  is_resolved_with_care
check progress_ends_with_the_outcome  ends_with_the_outcome
check name_of_a_guest_is_not_that_of_a_migration_in_clean_up  is_not_that_of_a_clean_up
check host_that_is_lost_goes_on_without_the_command  lost_by_us_the_hosts_go_on
end_tests
