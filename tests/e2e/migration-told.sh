#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What `virstream migrations` says of migrations that came to no good end is true, on both sides, and
# stays so over restarts of the daemons. What may become of a guest is decided elsewhere: see
# migrate-faults.sh and post-copy.sh.
. "$(dirname "$0")/hosts.sh"
. "$(dirname "$0")/link.sh"

need_guests
number=0

# begin_moving OPTION...: slowly, so that there is time for what happens meanwhile
begin_moving()
{
    number=$((number + 1))
    name=g$number
    tell_link accept && tell_link go && launch a "$name" F 192 || return
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 6M "$@" "$name" \
        "$link" >"$work/said" 2>&1 &
    moving=$!
    wait_until 60 is_in_phase a memory && wait_until 60 is_in_phase b memory
}

begin_post_copy()
{
    begin_moving --post-copy --downtime 1 && on a migration post-copy -q "$name" &&
        wait_until 60 is_in_phase a post-copy && wait_until 60 is_in_phase b post-copy
}

# told_on HOST: what is said of it below its line
told_on()
{
    on "$1" migrations | awk -v name="$name" '/^ / { if (mine) print } !/^ / { mine = $2 == name }'
}

# tells HOST TEXT
tells()
{
    told_on "$1" | grep -q -- "$2"
}

# must_tell HOST TEXT: soon
must_tell()
{
    wait_until 60 tells "$@" && return
    echo "$1 tells, and not \`$2':"
    on "$1" migrations
    return 1
}

restart()
{
    kill_host "$1" KILL
    begin_host "$1"
}

is_running_on()
{
    [ "$(state_on "$1" "$name")" = running ]
}

is_gone_from()
{
    [ "$(state_on "$1" "$name")" = none ]
}

# ---- over restarts ----

# The other host cannot be told, so that the source keeps what it knows.
guest_is_cut_off()
{
    local round
    begin_post_copy && tell_link refuse && tell_link cut && kill -KILL "$(qemu_of a)" || return
    ! wait "$moving" && must_tell a "will not get the rest of its memory" || return
    for round in 1 2; do
        restart a && must_tell a "guest has died; .*will not get the rest of its memory" || return
    done
    tell_link accept && comes_to_an_end && on b destroy -q "$name"
}

guest_stays()
{
    local round
    begin_moving || return
    kill_host b KILL
    for round in 1 2 3; do
        restart a && wait_until 60 is_in_phase a clean-up &&
            must_tell a "stayed on the source; virstream ended here before the guest was handed over" || return
    done
    ! wait "$moving" && begin_host b && comes_to_an_end && is_running_on a && goes_on "$name" && finish a "$name"
}

# The last record of a's journal says that the guest has returned.
has_returned()
{
    [ "$(tail -c 1024 "$(find "$work/a" -name journal)" | od -An -tu1 -j 15 -N 1)" -eq 11 ]
}

# is_late REASON OPTION...: who is given up for that, and whose destination cannot be told
is_late()
{
    local round
    begin_moving "${@:2}" && tell_link hold || return
    ! wait "$moving" && wait_until 60 is_in_phase a clean-up && wait_until 60 has_returned || return
    for round in 1 2; do
        restart a && must_tell a "stayed on the source; $1" || return
    done
    tell_link go && comes_to_an_end && is_running_on a && goes_on "$name" && finish a "$name"
}

# ---- in QEMU's words ----

# A QEMU that is given twice the memory that it is asked for.
make_liar()
{
    mkdir -p "$work/liar" && cat >"$work/liar/qemu-system-x86_64" <<END
#!/bin/bash
words=("\$@")
for ((i = 1; i < \$#; i++)); do
    [ "\${words[i - 1]}" != -m ] || words[i]=\$((2 * \${words[i]%M}))M
done
exec "$(command -v qemu-system-x86_64)" "\${words[@]}"
END
    chmod +x "$work/liar/qemu-system-x86_64"
}

is_refused_with()
{
    ! on a migrate -q "$name" "$(uri_of b)" 2>"$work/said" && grep -q "$1" "$work/said" && return
    echo "not refused with $1:"
    cat "$work/said"
    return 1
}

qemu_refuses()
{
    local round
    name=refused
    make_liar && kill_host b TERM && PATH=$work/liar:$PATH begin_host b && launch a "$name" || return
    for round in 1 2 3 4; do
        is_refused_with 'Size mismatch: pc.ram' && wait_until 60 is_running_on a || return
    done
    must_tell a 'Size mismatch: pc.ram' && must_tell b 'Size mismatch: pc.ram' && comes_to_an_end &&
        finish a "$name" && kill_host b TERM && begin_host b
}

hurry()
{
    on a migration set -q --bandwidth 2G "$name"
}

is_no_doubt()
{
    on a --json migrations | grep -q "\"name\":\"$name\".*\"phase\":\"post-copy\",\"in-doubt\":false.*\"outcome\":\"migrated\""
}

# Whose it is is known, and that it would be wrong to let it run here, is said.
guest_runs_there()
{
    begin_post_copy && tell_link refuse && tell_link cut && restart a && wait_until 60 is_no_doubt || {
        on a --json migrations
        return 1
    }
    refuses 2 "has run at $link" on a migration resolve --guest-runs-on=source "$name" && is_no_doubt &&
        ! wait "$moving" && tell_link accept && wait_until 60 hurry && comes_to_an_end &&
        is_running_on b && is_gone_from a && goes_on "$name" && finish b "$name"
}

check two_hosts_and_a_link_begin  eval 'make_hosts && make_link'
check restarted_source_says_that_the_guest_was_cut_off  guest_is_cut_off
check restarted_source_says_that_the_guest_runs_there  guest_runs_there
check restarted_twice_the_source_says_why_the_guest_stayed  guest_stays
check restarted_source_says_that_nothing_moved  is_late "nothing moved for too long" --stall 3
check restarted_source_says_that_it_took_too_long  \
    is_late "it was not over in the time that it was given" --timeout 15
check what_the_qemu_of_the_destination_refuses_is_told_in_its_words  qemu_refuses

# ---- who it was ----

# ends_with ON_A ON_B: it is given up, for these reasons, and the guest goes on at the source
ends_with()
{
    ! wait "$moving" && comes_to_an_end && must_tell a "$1" && must_tell b "$2" && goes_on "$name" && finish a "$name"
}

cancelled_at_the_source()
{
    begin_moving && on a migration cancel -q "$name" && ends_with "[^:] it was cancelled" " source: it was cancelled"
}

cancelled_at_the_destination()
{
    begin_moving && on b migration cancel -q "$name" && ends_with " destination: it was cancelled" "lives; it was cancelled"
}

takes_too_long()
{
    begin_moving --timeout 2 && ends_with "[^:] it was not over in 2 seconds" " source: it was not over in 2 seconds"
}

link_is_cut()
{
    begin_moving && tell_link cut && ends_with "the connection ended\|reset by peer" " the connection from the source is lost: "
}

source_is_restarted()
{
    begin_moving || return
    kill_host a "$1"
    begin_host a && ends_with "$2" "$3"
}

destination_is_ended()
{
    begin_moving && kill_host b TERM && begin_host b && ends_with " destination: .*shut down" "."
}

# The end of the stream has the source's reason; its word that it has given up may come before that.
source_qemu_dies()
{
    begin_moving && kill -KILL "$(qemu_of a)" || return
    ! wait "$moving" && must_tell a "ended without a word" &&
        must_tell a "the guest has died" &&
        must_tell b " source: .*ended without a word\|the source has given up" &&
        must_tell b "it was given up; the guest is the source's, if it lives" &&
        comes_to_an_end && on a destroy -q "$name"
}

destination_qemu_dies()
{
    begin_moving && kill -KILL "$(qemu_of b)" && ends_with " destination: " "lives; "
}

check cancel_at_the_source_is_told_at_the_destination  cancelled_at_the_source
check cancel_at_the_destination_is_told_at_the_source  cancelled_at_the_destination
check time_that_was_over_at_the_source_is_told_at_the_destination  takes_too_long
check link_that_was_cut_is_told_as_that_on_both_sides  link_is_cut
check killed_source_daemon_is_told_as_a_lost_connection  \
    source_is_restarted KILL "virstream ended here" " the connection from the source is lost: "
check ended_source_daemon_is_told_as_that  source_is_restarted TERM "virstream ended here" " source: "
check ended_destination_daemon_is_told_as_that  destination_is_ended
check dead_source_qemu_is_told_at_the_destination  source_qemu_dies
check dead_destination_qemu_is_told_at_the_source  destination_qemu_dies

nothing_left()
{
    kill_host a TERM && kill_host b TERM && kill "$relay" && wait_until 20 no_process_left
}

check nothing_is_left  nothing_left
end_tests
