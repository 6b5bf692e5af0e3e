#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Live migration through the command, between two daemons that let nobody in but a client: over TLS,
# with a certificate of its own. The command is interrupted and killed at a random moment, too; at
# every step that is done by tests/unit/migrate-relay.
. "$(dirname "$0")/hosts.sh"

need_guests
times=2
is_long && times=20
RANDOM=${VST_TEST_SEED-$$}

# The hosts do not know each other: each lets in the carrier alone.
make_strangers()
{
    make_hosts || return
    virstream -q pki issue --client carrier "$pki" && virstream -q pki issue --client other "$pki" ||
        return
    local host
    for host in a b; do
        sed -i 's/^transfer = .*/transfer = x509:CN=carrier\ntransfer = x509:CN=other/' "$work/$host/conf"
        kill_host "$host" TERM
        begin_host "$host" || return
    done
}

# at HOST [WHO]: its URI for a client
at()
{
    echo "qemu+tls://127.0.0.1:${port[$1]}/?pkipath=$pki/${2-carrier}"
}

# carry NAME FROM TO [OPTION...]
carry()
{
    local name=$1 from=$2 to=$3
    shift 3
    virstream -c "$(at "$from")" migrate -q --relay "$@" "$name" "$(at "$to")"
}

goes_there_and_back()
{
    local name=$1 round
    shift
    for ((round = 0; round < times; round++)); do
        carry "$name" a b "$@" && [ "$(state_on a "$name") $(state_on b "$name")" = "none running" ] &&
            goes_on "$name" && carry "$name" b a "$@" &&
            [ "$(state_on a "$name") $(state_on b "$name")" = "running none" ] && goes_on "$name" || {
            echo "round $round"
            return 1
        }
    done
    [ -z "$(on a migrations --json | grep '"over": *false')" ]
}

idle()
{
    launch a idle && goes_there_and_back idle && finish a idle
}

dirtying()
{
    launch a dirtying D && goes_there_and_back dirtying --downtime 2000 --compress && finish a dirtying
}

with_its_disk()
{
    local disk="\"disks\": [{\"name\": \"d\", \"file\": \"$work/here.raw\", \"format\": \"raw\"}]"
    head -c 3000000 /dev/urandom >"$work/here.raw"
    cp "$work/here.raw" "$work/kept.raw"
    define disked && sed -i "s|\"vcpus\"|$disk, &|" "$work/disked.json" &&
        on a start -q "$work/disked.json" && wait_until 20 counts disked &&
        mkdir "$work/elsewhere" && refuses 11 "there already" carry disked a b --copy-disks &&
        goes_on disked && finish a disked
}

hosts_do_not_reach_each_other()
{
    launch a apart && refuses 4 "" on a migrate -q apart "qemu+tls://127.0.0.1:${port[b]}/" &&
        goes_on apart && finish a apart
}

checks()
{
    launch a g && contains "g can go to" virstream -c "$(at a)" migrate --relay --check g "$(at b)" &&
        [ "$(state_on b g)" = none ] && goes_on g && finish a g
}

# over_on HOST: it knows of no migration that is not over
over_on()
{
    local list
    list=$(on "$1" migrations --json 2>/dev/null) && ! grep -q '"over": *false' <<<"$list"
}

settled()
{
    over_on a && over_on b
}

relays_again()
{
    local token
    token=$(on a migrations --json | grep -o '"token": *"[^"]*"[^}]*"over": *false' | grep -om1 '[0-9a-f-]\{36\}')
    [ -z "$token" ] || virstream -c "$(at a)" migration relay -q "$token" "$(at b)"
    settled
}

# strikes SIGNAL: at a random moment; whoever comes after ends what is left
strikes()
{
    local command round ms
    for ((round = 0; round < times * 2; round++)); do
        launch a struck || return
        "$top/run" virstream -c "$(at a)" migrate -q --relay struck "$(at b)" 2>"$work/err" &
        command=$!
        ms=$((RANDOM % 1500))
        sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
        kill -"$1" "$command" 2>/dev/null
        wait "$command" 2>/dev/null
        wait_until 60 relays_again || {
            cat "$work/err"
            on a migrations
            on b migrations
            return 1
        }
        case "$(state_on a struck) $(state_on b struck)" in
        "running none") goes_on struck && finish a struck ;;
        "none running") goes_on struck && finish b struck ;;
        *) echo "a: $(state_on a struck), b: $(state_on b struck), after $ms ms" && false ;;
        esac || return
    done
}

# Who comes after is told that nothing is left to be relayed, and not that nobody relays.
is_given_up_before()
{
    local command
    launch a left F 32 || return
    "$top/run" virstream -c "$(at a)" migrate -q --relay --bandwidth 2M left "$(at b)" 2>"$work/err" &
    command=$!
    wait_until 20 contains memory on a migrations || return
    kill -KILL "$command"
    wait "$command" 2>/dev/null
    wait_until 20 contains "the guest stayed on the source" on a migrations &&
        refuses 3 "it was given up before this client came; the guest is on the source" \
            virstream -c "$(at a)" migration relay left "$(at b)" &&
        settled && goes_on left && finish a left
}

# has_sent HOST NAME MIB: the migration of it that is not over
has_sent()
{
    local sent
    sent=$(on "$1" migrations --json | grep -o "\"name\":\"$2\"[^}]*\"over\":false[^}]*\"sent\":[0-9]*") &&
        [ "${sent##*:}" -ge $(($3 << 20)) ]
}

# By more than all buffers on the way have room for, so that the first one waits for errands, too.
second_is_refused()
{
    local command status=0
    launch a kept F 192 || return
    "$top/run" virstream -c "$(at a)" migrate -q --relay --bandwidth 6M kept "$(at b)" 2>"$work/err" &
    command=$!
    wait_until 60 has_sent a kept 16 &&
        refuses 6 "another client relays this migration" \
            virstream -c "$(at a)" migration relay kept "$(at b)" &&
        is_in_phase a kept memory && goes_on kept && hurry kept || {
        on a migrations
        on a migration cancel -q kept
        status=refused
    }
    wait "$command" || status=$?
    cat "$work/err"
    [ "$status" = 0 ] && has_gone kept
}

# Who was cancelled has said so, and the guest is where it was.
is_cancelled()
{
    local command status=0
    launch a cancelled F 32 || return
    "$top/run" virstream -c "$(at a)" migrate -q --relay --bandwidth 2M cancelled "$(at b)" 2>"$work/err" &
    command=$!
    wait_until 20 contains memory on a migrations || return
    kill -INT "$command"
    wait "$command" || status=$?
    cat "$work/err"
    [ "$status" = 8 ] && [ "$(state_on a cancelled) $(state_on b cancelled)" = "running none" ] &&
        settled && goes_on cancelled && finish a cancelled
}

# ---- post-copy: once the guest runs there, the client carries what is left of its memory ----

# phase_on HOST NAME: of the migration that is not over
phase_on()
{
    on "$1" migrations | awk -v name="$2" '$2 == name && $4 != "over" { print $4 }'
}

is_in_phase()
{
    [ "$(phase_on "$1" "$2")" = "$3" ]
}

in_post_copy()
{
    is_in_phase a "$1" post-copy && is_in_phase b "$1" post-copy
}

# begin_post_copy NAME: the guest runs there, counts, and lacks memory; `command` carries it
begin_post_copy()
{
    launch a "$1" F 192 || return
    "$top/run" virstream -c "$(at a)" migrate -q --relay --post-copy --bandwidth 6M "$1" "$(at b)" 2>"$work/err" &
    command=$!
    wait_until 60 is_in_phase a "$1" memory && on a migration post-copy -q "$1" &&
        wait_until 60 in_post_copy "$1" && [ "$(state_on b "$1")" = running ] && goes_on "$1" && in_post_copy "$1"
}

hurry()
{
    on a migration set -q --bandwidth 2G "$1"
}

has_gone()
{
    [ "$(state_on a "$1") $(state_on b "$1")" = "none running" ] && wait_until 20 settled && goes_on "$1" &&
        finish b "$1"
}

in_post_copy_it_gets_there()
{
    local command
    begin_post_copy late && hurry late && wait "$command" && has_gone late && return
    cat "$work/err"
    return 1
}

# Nothing is lost by it any more.
second_takes_over()
{
    local command second status=0
    begin_post_copy passed || return
    "$top/run" virstream -c "$(at a)" migration relay -q passed "$(at b)" 2>"$work/second" &
    second=$!
    wait "$command" || status=$?
    wait_until 60 hurry passed && wait "$second" && [ "$status" = 6 ] &&
        grep -q "another client relays now" "$work/err" && has_gone passed && return
    cat "$work/err" "$work/second"
    return 1
}

# The guest stands still where it lacks memory, until another client carries.
is_taken_up()
{
    local command
    begin_post_copy orphan || return
    kill -KILL "$command"
    wait "$command" 2>/dev/null
    wait_until 60 contains "cannot follow until" on a migrations &&
        refuses 6 "cannot be cancelled" on a migration cancel orphan || return
    "$top/run" virstream -c "$(at a)" migration relay -q orphan "$(at b)" 2>"$work/err" &
    command=$!
    wait_until 60 hurry orphan && wait "$command" && has_gone orphan && return
    cat "$work/err"
    return 1
}

is_not_for_others()
{
    local command token
    launch a owned F 32 || return
    "$top/run" virstream -c "$(at a)" migrate -q --relay --bandwidth 2M owned "$(at b)" 2>"$work/err" &
    command=$!
    wait_until 20 contains memory on a migrations || return
    refuses 4 "not yours" virstream -c "$(at a other)" migration relay owned "$(at b other)" &&
        refuses 4 "not yours" virstream -c "$(at a other)" migration cancel owned &&
        refuses 4 "not yours" virstream -c "$(at b other)" migration cancel owned &&
        refuses 4 "role admin" virstream -c "$(at a)" migration resolve --guest-runs-on=source owned &&
        on a migration cancel -q owned
    local result=$?
    wait "$command"
    [ "$result" = 0 ] && wait_until 20 settled && goes_on owned && finish a owned
}

check two_hosts_that_do_not_know_each_other_begin  make_strangers
check check_goes_through_the_command  checks
check idle_guest_goes_there_and_back  idle
check guest_that_dirties_its_memory_goes_there_and_back  in_three_tries dirtying
check copied_disk_that_is_there_already_is_refused  with_its_disk
check ctrl_c_gives_it_up  is_cancelled
check client_that_comes_too_late_is_told_so  is_given_up_before
check second_client_before_the_hand_over_is_refused  second_is_refused
check post_copy_goes_through_the_command_too  in_post_copy_it_gets_there
check second_client_after_the_hand_over_takes_over  second_takes_over
check killed_command_in_post_copy_is_taken_up_by_another  is_taken_up
check others_with_the_same_role_are_refused  is_not_for_others
check killed_command_leaves_one_guest  in_three_tries strikes KILL
check interrupted_command_leaves_one_guest  in_three_tries strikes INT
check hosts_alone_do_not_get_through  hosts_do_not_reach_each_other

nothing_left()
{
    kill_host a TERM && kill_host b TERM && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
