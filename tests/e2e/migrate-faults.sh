#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Live migration between two daemons when things die, stop, or are cut off, one alone or two at
# once, at each step of the hand-over: in the end exactly one guest runs, its count has no gap, and
# people were asked only where a link was lost for good or a guest was lost at the very moment it
# was told to run. Only where a QEMU was killed may the guest be gone. A table of the outcomes, and of
# the steps at which the faults struck, is printed at the end. Several pairs of hosts try side by
# side. VST_TEST_SEED repeats the plan and its moments, VST_TEST_ITEMS="3 17" some of its runs, and
# VST_TEST_LANES says how many pairs there are.
. "$(dirname "$0")/trouble.sh"

need_guests
seed=${VST_TEST_SEED-$$}
lanes=${VST_TEST_LANES-3}
kills_each=1 others_each=1 pairs=10 last_copies=2 strikes_each=0 tries=1
if is_long; then
    strikes_each=20 tries=6
    kills_each=$((strikes_each * most_steps)) others_each=24 pairs=500 last_copies=20
    lanes=${VST_TEST_LANES-6}
else
    long_standstill=$standstill qemu_standstill=$standstill
fi
plan=()

# ---- the plan: "FAULT STEP", or two of these, a run; three, where but one copy is left ----

# several TIMES FAULT...: each of them, at each step in turn
several()
{
    local times=$1 fault round first
    shift
    for fault in "$@"; do
        first=$((RANDOM % most_steps))
        for ((round = 0; round < times; round++)); do
            plan+=("$fault $(((first + round) % most_steps + 1))")
        done
    done
}

make_plan()
{
    local all=("${kills[@]}" "${others[@]}")
    local one two round
    RANDOM=$seed
    several "$kills_each" "${kills[@]}"
    several "$others_each" "${others[@]}"
    for ((round = 0; round < pairs; round++)); do
        one=${all[RANDOM % ${#all[@]}]} two=${all[RANDOM % ${#all[@]}]}
        plan+=("$one $((RANDOM % most_steps + 1)) $two $((RANDOM % most_steps + 1))")
    done
    for ((round = 0; round < last_copies; round++)); do
        plan+=("lose_link_for_good 6 kill_source_qemu 6")
        plan+=("lose_link_for_good 6 kill_source_qemu 6 kill_destination 6")
    done
}

# ---- the lanes ----

# claim ITEM: true for the first lane that asks
claim()
{
    mkdir "$whole/claimed/$1" 2>/dev/null
}

is_wanted()
{
    [ -z "${VST_TEST_ITEMS-}" ] || [[ " $VST_TEST_ITEMS " = *" $1 "* ]]
}

# The results are lines "ITEM|PLAN|CAME|STEPS|STATES|SECONDS", of all lanes.
go_through()
{
    local item parts begun
    for item in "${!plan[@]}"; do
        is_wanted "$item" && claim "$item" || continue
        have_guest >"$work/begun" 2>&1 || {
            mend
            have_guest >"$work/begun" 2>&1
        }
        RANDOM=$((seed + item))
        read -r -a parts <<<"${plan[item]}"
        try_item || try_again
    done
}

# One run; false where the one fault of the plan has struck at another step than the plan's: the
# other end may go on while a state is held at one.
try_item()
{
    local begun=$SECONDS
    one_run "${parts[@]}" >"$work/shown" 2>&1
    case $came in
    here | there | died | asked) ;;
    *) { echo "run $item: ${plan[item]}: $came"; cat "$work/shown"; } >>"$whole/wrong/$item" ;;
    esac
    echo "$item|${plan[item]}|$came|${struck[*]}|${states[*]}|$((SECONDS - begun))" >>"$whole/results"
    [ "${#parts[@]}" != 2 ] || [ "${struck[0]}" = "${parts[1]}" ] || [ "${parts[1]}" = "$most_steps" ]
}

try_again()
{
    local try
    for ((try = 1; try < tries; try++)); do
        have_guest >"$work/begun" 2>&1 && try_item && break
    done
}

lane()
{
    work=$whole/lane$1
    mkdir -p "$work" && pki=$work/pki && RANDOM=$$$1 || return
    where="" age=0
    begin_lane && go_through && end_lane
}

run_lanes()
{
    local number running=() pid status=0
    make_plan
    whole=$work
    mkdir "$whole/claimed" "$whole/wrong" && : >"$whole/results"
    for ((number = 0; number < lanes; number++)); do
        (lane "$number") >"$whole/lane$number.said" 2>&1 &
        running+=($!)
    done
    for pid in "${running[@]}"; do
        wait "$pid" || status=1
    done
    [ "$status" = 0 ] || tail -n 20 "$whole"/lane*.said
    return "$status"
}

# ---- what came of it ----

all_ran()
{
    local wanted=${#plan[@]}
    [ -z "${VST_TEST_ITEMS-}" ] || wanted=$(wc -w <<<"$VST_TEST_ITEMS")
    [ "$(cut -d '|' -f 1 "$work/results" | sort -u | wc -l)" = "$wanted" ]
}

# Each kill alone, at each step up to the one from which there is nothing left to be decided.
each_struck_often()
{
    local kill step count status=0
    for kill in "${kills[@]}"; do
        for ((step = 1; step < most_steps; step++)); do
            count=$(awk -F '|' -v kill="$kill" -v step="$step" '
                split($2, words, " ") == 2 && words[1] == kill && $4 == step { count++ }
                END { print count + 0 }' "$work/results")
            [ "$count" -ge "$strikes_each" ] && continue
            echo "$kill at step $step: $count times, not $strikes_each"
            status=1
        done
    done
    return "$status"
}

# is_right WORDS: of the runs whose plan has so many words none came to what may not be
is_right()
{
    local item fields status=0
    for item in "$work"/wrong/*; do
        [ -f "$item" ] || continue
        read -r -a fields <<<"${plan[${item##*/}]}"
        [ "${#fields[@]}" = "$1" ] || continue
        cat "$item"
        status=1
    done
    return "$status"
}

table()
{
    awk -F '|' -v steps="$most_steps" '
        {
            split($2, words, " ")
            name = words[5] ? "three of them" : words[3] ? "two of them" : words[1]
            if (!(name in runs))
                order[++names] = name
            runs[name]++
            came[name, $3]++
            count = split($4, struck, " ")
            for (i = 1; i <= count; i++)
                met[name, struck[i]]++
        }
        END {
            split("here there died asked two none count stuck", outcomes, " ")
            printf "# %-22s %5s |", "what went wrong", "runs"
            for (i = 1; i <= 8; i++) printf " %6s", outcomes[i]
            printf " | at step"
            for (i = 0; i <= steps; i++) printf " %3d", i
            printf "\n"
            for (n = 1; n <= names; n++) {
                printf "# %-22s %5d |", order[n], runs[order[n]]
                for (i = 1; i <= 8; i++)
                    printf " %6s", came[order[n], outcomes[i]] ? came[order[n], outcomes[i]] : "-"
                printf " |        "
                for (i = 0; i <= steps; i++)
                    printf " %3s", met[order[n], i] ? met[order[n], i] : "-"
                printf "\n"
            }
        }' "$work/results"
}

check hosts_go_through_all_that_is_planned  run_lanes
check every_run_has_an_outcome  all_ran
check one_fault_leaves_one_guest  is_right 2
check two_faults_leave_one_guest  is_right 4
check last_copy_is_kept_and_runs  is_right 6
table
if is_long && [ -z "${VST_TEST_ITEMS-}" ]; then
    check each_kill_struck_often_enough_at_each_step  each_struck_often
fi
check nothing_is_left  wait_until 20 no_process_left
end_tests
