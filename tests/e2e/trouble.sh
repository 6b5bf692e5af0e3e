# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Migrations that meet with trouble, on top of hosts.sh: one lane, which is two hosts, a link each
# way between them, and one guest that moves again and again from where it is, while one or two
# things go wrong. A fault strikes when the trace of the two daemons says that a step has been
# reached, or some time later; so every step is met, and what was met is known. A step that is over
# soon is kept until then: the daemon writes its trace through a gate (gate.c), and cannot leave a
# state whose line is held there. Nothing here forks while it waits for the moment. What is tried,
# and how often, is in migrate-faults.sh.

. "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"

# Seconds. An end that is silent for longer than `patience` is given up, but not one that has loaded
# all; a monitor of QEMU after thirty.
patience=2
standstill=5
long_doubt=11 # for whoever has lost the last copy but one
long_standstill=12
qemu_standstill=35
bandwidth=24M
daemon_options=(--trace state)
declare -A link words relay gate gate_words trace_fd log_fd state reached

# The states of the two machines that belong to the steps of docs/handover.md.
steps=(-
    "SOURCE_BEGINNING"
    "SOURCE_PREPARING DESTINATION_CHECKING DESTINATION_PREPARING DESTINATION_SPAWNING"
    "SOURCE_MOVING SOURCE_MOVING DESTINATION_LOADING"
    "SOURCE_SWITCHING SOURCE_DRAINING"
    "SOURCE_COMPLETED SOURCE_LOADED DESTINATION_UNVERIFIED DESTINATION_VERIFIED DESTINATION_KEEPING DESTINATION_LOADED"
    "SOURCE_HANDING SOURCE_COMMITTING DESTINATION_COMMITTING DESTINATION_RESUMING"
    "SOURCE_CLOSING SOURCE_QUITTING SOURCE_FINISHING DESTINATION_STARTED DESTINATION_RUNNING"
    "SOURCE_ENDING SOURCE_DONE DESTINATION_ENDING DESTINATION_DONE")
most_steps=8

# ---- two hosts, and a link each way ----

# make_link FROM TO
make_link()
{
    local name=$1
    mkfifo "$work/$name.words" || return
    exec {words[$name]}<>"$work/$name.words"
    "$VIRSTREAM_BUILD/tests/e2e/relay" --delay 8 0 "${port[$2]}" <"$work/$name.words" \
        >"$work/$name.link" 2>&1 &
    relay[$name]=$!
    wait_until 10 grep -q . "$work/$name.link" &&
        link[$name]=qemu+tls://localhost:$(head -n 1 "$work/$name.link")/
}

# make_gate HOST: from now on its daemon's words go through it
make_gate()
{
    mkfifo "$work/$1.trace" "$work/$1.gate" || return
    exec {trace_fd[$1]}<>"$work/$1.trace" {gate_words[$1]}<>"$work/$1.gate"
    "$VIRSTREAM_BUILD/tests/e2e/gate" "$work/$1.gate" "$work/$1/log" <&"${trace_fd[$1]}" \
        >"$work/$1.gated" 2>&1 &
    gate[$1]=$!
}

# begin_again HOST: its daemon, which goes on with what its journal says. It may be alive, if it was
# to be killed twice.
begin_again()
{
    signal KILL "${daemon_pid[$1]}"
    wait "${daemon_pid[$1]}" 2>/dev/null
    begin_daemon "$1" "${trace_fd[$1]}"
}

# A fifo that nobody writes to, so that `read -t` is a sleep without a process.
begin_lane()
{
    local host
    mkfifo "$work/never" && exec {never}<>"$work/never" && make_hosts && make_link a b &&
        make_link b a || return
    for host in a b; do
        make_gate "$host" && kill_host "$host" TERM && begin_again "$host" &&
            wait_until 20 on "$host" list -q && follow_log "$host" || return
    done
}

end_lane()
{
    clear_hosts
    kill_host a TERM
    kill_host b TERM
    kill "${relay[a]}" "${relay[b]}" "${gate[a]}" "${gate[b]}"
}

nap()
{
    local nothing
    read -r -t "$1" -u "$never" nothing
    return 0
}

now_ms()
{
    local us=${EPOCHREALTIME/[.,]/}
    now=$((us / 1000))
}

# ---- what the hosts are at ----

follow_log()
{
    exec {log_fd[$1]}<"$work/$1/log"
}

# Reads what the trace of HOST has that is new; `state` and `reached` are by "source" and
# "destination".
look_at()
{
    local line
    while read -r line <&"${log_fd[$1]}"; do
        case $line in
        *-\>\ SOURCE_* | *-\>\ DESTINATION_*)
            line=${line##*-> }
            state[${line%%_*}]=$line
            reached[$line]=1
            ;;
        esac
    done
}

forget_states()
{
    look_at a
    look_at b
    state=([SOURCE]=SOURCE_NEW [DESTINATION]=DESTINATION_NEW)
    reached=()
}

# The step that the further one of the two is at, by their states.
step_of()
{
    local number
    met=0
    for ((number = 1; number <= most_steps; number++)); do
        case " ${steps[number]} " in
        *" ${state[SOURCE]} "* | *" ${state[DESTINATION]} "*) met=$number ;;
        esac
    done
}

# ---- faults: NAME_begins, and NAME_ends where it does ----

tell_link()
{
    echo "$1" >&"${words[$from]}"
}

# qemu_of HOST: sets `qemu` to the process of the guest there, of one that arrives, too
qemu_of()
{
    qemu=
    read -r qemu _ 2>/dev/null <"$work/$1/root/g/identity"
    [ -n "$qemu" ]
}

# signal NAME PID
signal()
{
    kill -"$1" "$2" 2>/dev/null
    return 0
}

kill_client() { signal KILL "$moving"; }
kill_source() { signal KILL "${daemon_pid[$from]}"; }
kill_source_ends() { begin_again "$from"; }
kill_destination() { signal KILL "${daemon_pid[$to]}"; }
kill_destination_ends() { begin_again "$to"; }
kill_source_qemu() { qemu_of "$from" && signal KILL "$qemu"; }
kill_destination_qemu() { qemu_of "$to" && signal KILL "$qemu"; }
stop_client() { signal STOP "$moving"; }
stop_client_ends() { signal CONT "$moving"; }
stop_source() { signal STOP "${daemon_pid[$from]}"; }
stop_source_ends() { signal CONT "${daemon_pid[$from]}"; }
stop_destination() { signal STOP "${daemon_pid[$to]}"; }
stop_destination_ends() { signal CONT "${daemon_pid[$to]}"; }
declare -A stopped
stop_source_qemu() { qemu_of "$from" && stopped[source]=$qemu && signal STOP "$qemu"; }
stop_source_qemu_ends() { [ -z "${stopped[source]-}" ] || signal CONT "${stopped[source]}"; }
stop_destination_qemu() { qemu_of "$to" && stopped[destination]=$qemu && signal STOP "$qemu"; }
stop_destination_qemu_ends() { [ -z "${stopped[destination]-}" ] || signal CONT "${stopped[destination]}"; }
cut_link() { tell_link cut; }
lose_link() { tell_link refuse && tell_link cut; }
lose_link_ends() { tell_link accept; }
lose_link_for_good() { lose_link; }
hold_link() { tell_link hold; }
hold_link_ends() { tell_link go; }
hold_link_up() { tell_link "hold up"; }
hold_link_up_ends() { tell_link go; }
hold_link_down() { tell_link "hold down"; }
hold_link_down_ends() { tell_link go; }
cancel() { on "$from" migration cancel g >/dev/null 2>&1 & }

kills=(kill_client kill_source kill_destination kill_source_qemu kill_destination_qemu)
others=(stop_client stop_source stop_destination stop_source_qemu stop_destination_qemu cut_link
    lose_link lose_link_for_good hold_link hold_link_up hold_link_down cancel)

# How long FAULT goes on: a daemon is back soon or late, silence lasts for longer than what waits.
duration_of()
{
    case $1 in
    kill_*) lasts=$((RANDOM % 1500)) ;;
    stop_*_qemu) lasts=$((RANDOM % 8 ? standstill * 1000 : qemu_standstill * 1000)) ;;
    *) lasts=$((RANDOM % 4 ? standstill * 1000 : long_standstill * 1000)) ;;
    esac
}

# ---- one run ----

begin_moving()
{
    "$top/run" virstream -c "qemu+unix://$work/$from/socket" migrate -q --bandwidth "$bandwidth" g \
        "${link[$from]}" >"$work/said" 2>&1 &
    moving=$!
}

is_moving()
{
    kill -0 "$moving" 2>/dev/null
}

# arm INDEX FAULT STEP: it strikes in a state of that step, which is held as long, or up to so many
# milliseconds later. Memory moves by itself for long enough, and would not if it were held.
arm()
{
    local among
    read -r -a among <<<"${steps[$3]}"
    fault[$1]=$2
    awaits[$1]=${among[RANDOM % ${#among[@]}]}
    later[$1]=$((RANDOM % 3 ? RANDOM % ($3 == 3 ? 300 : 25) : 0))
    due[$1]=
    ends_at[$1]=
    [ "$3" = 3 ] || tell_gates hold "${awaits[$1]}"
}

# tell_gates hold|go STATE
tell_gates()
{
    echo "$1 $2" >&"${gate_words[a]}"
    echo "$1 $2" >&"${gate_words[b]}"
}

# The times at which what is armed strikes and ends; it is on when all have.
play()
{
    local index left=${#fault[@]} now deadline
    now_ms
    deadline=$((now + 15000))
    while [ "$left" -gt 0 ]; do
        look_at a
        look_at b
        now_ms
        for index in "${!fault[@]}"; do
            play_one "$index"
        done
        [ "$left" = 0 ] || nap 0.002
    done
}

play_one()
{
    if [ "${ends_at[$1]}" = over ]; then
        return
    elif [ -n "${ends_at[$1]}" ]; then
        [ "$now" -ge "${ends_at[$1]}" ] || return
        "${fault[$1]}_ends"
        ends_at[$1]=over
        left=$((left - 1))
    elif [ -n "${due[$1]}" ]; then
        [ "$now" -ge "${due[$1]}" ] || return
        strike "$1"
    elif [ -n "${reached[${awaits[$1]}]-}" ]; then
        due[$1]=$((now + later[$1]))
    elif [ "$now" -ge "$deadline" ]; then
        due[$1]=$now # the state will not come any more
    elif ! is_moving && [ "$deadline" -gt $((now + 500)) ]; then
        deadline=$((now + 500)) # the hosts may have words for each other
    fi
}

strike()
{
    local met lasts
    "${fault[$1]}"
    look_at a
    look_at b
    step_of
    struck[$1]=$met
    states[$1]=${state[SOURCE]}/${state[DESTINATION]}
    tell_gates go "${awaits[$1]}"
    if [ "$(type -t "${fault[$1]}_ends")" != function ]; then
        ends_at[$1]=over
        left=$((left - 1))
        return
    fi
    duration_of "${fault[$1]}"
    ends_at[$1]=$((now + lasts))
}

# ---- what came of it ----

# over_on HOST: it answers, and knows of no migration that is not over
over_on()
{
    local list
    list=$(on "$1" migrations --json 2>/dev/null) && [[ $list != *'"over":false'* ]]
}

settled()
{
    over_on "$from" && over_on "$to"
}

is_lost()
{
    on "$from" migrations 2>/dev/null | grep -q 'told to run the guest'
}

# say_owner HOST OWNER
say_owner()
{
    on "$1" migration resolve g "--guest-runs-on=$2" >"$work/resolved" 2>&1
    cat "$work/resolved"
    grep -q "by your word the guest is the $2's" "$work/resolved"
}

# What people do who are asked: they look where it runs, or else where it could; and when its QEMU is
# gone here they take their time, which the copy there has.
resolve()
{
    local here
    here=$(state_on "$from" g)
    [ "$here" != crashed ] || nap "$long_doubt"
    look_at a
    look_at b
    if [ -n "${reached[DESTINATION_STARTED]-}" ]; then # whatever became of it there
        say_owner "$from" destination
    elif [ "$here" = crashed ] && waits_on_destination; then
        say_owner "$to" destination && say_owner "$from" destination
    else
        say_owner "$from" source
    fi
}

# The one that arrived has all of the guest, waits for the source's word, and says so.
waits_on_destination()
{
    on "$to" --json migrations | grep -q '"phase":"hand-over","in-doubt":true.*a whole copy .* is kept'
}

# The link is lost for good: in the end the source is in doubt, or nothing but words are left.
apart()
{
    local here there
    here=$(on "$from" migrations --json 2>/dev/null) && there=$(on "$to" migrations --json 2>/dev/null) ||
        return
    is_still "$here" && { [[ $here = *'"in-doubt":true'* ]] || is_still "$there"; }
}

# is_still LIST: each migration in it is over, in doubt, or has let go of the guest
is_still()
{
    local one
    while read -r one; do
        case $one in
        *'"over":true'* | *'"in-doubt":true'* | *'"phase":"clean-up"'*) ;;
        *) return 1 ;;
        esac
    done < <(grep -o '{"token"[^}]*}' <<<"$1")
}

# Sets `asked` when people were; the link is whole again at the end of it.
come_to_rest()
{
    local status=0
    asked=
    if strikes lose_link_for_good; then
        wait_until 60 apart || return
        if on "$from" migrations --json | grep -q '"in-doubt":true'; then
            asked=asked
            resolve || return
        fi
        tell_link accept
    fi
    wait_until 90 settled && return
    is_lost && asked=asked && resolve && wait_until 60 settled
}

strikes()
{
    [[ " ${fault[*]} " = *" $1 "* ]]
}

# Whether the guest may be gone: the last copy that could go on was in a QEMU that was killed.
may_be_gone()
{
    if strikes kill_source_qemu && strikes kill_destination_qemu; then
        return 0
    elif strikes kill_source_qemu; then
        [ -z "${reached[SOURCE_HANDING]-}" ] || ! had_copy
    else
        strikes kill_destination_qemu &&
            [ -n "${reached[DESTINATION_RESUMING]-}${reached[DESTINATION_ADOPTING]-}" ]
    fi
}

# From here on the destination keeps it: its daemon has written so, or will.
had_copy()
{
    [ -n "${reached[DESTINATION_LOADED]-}" ] ||
        { [ -n "${reached[DESTINATION_KEEPING]-}" ] && ! strikes kill_destination; }
}

# Daemons that are stopped, or killed, read no consoles: QEMU logs a character twice then.
gapless()
{
    continued --repeats 40 "$work/g.log" >"$work/count"
}

# Sets `came` to a word for the table: here, there, died, asked; or two, none, count
judge()
{
    local here there
    here=$(state_on "$from" g) there=$(state_on "$to" g)
    came=none where=
    case "$here $there" in
    "running none") came=here where=$from ;;
    "none running") came=there where=$to ;;
    "running running") came=two ;;
    "crashed none" | "none crashed" | "none none" | "crashed crashed") may_be_gone && came=died ;;
    esac
    case $came in
    here | there) { goes_on g && gapless; } || came=count ;;
    died) gapless || came=count ;;
    esac
    case $came in
    here | there | died) came=${asked:-$came} ;;
    esac
    said_states="$here $there"
}

show_hosts()
{
    local host
    echo "-- $said_states; ${fault[*]} at ${states[*]}"
    for host in $from $to; do
        echo "-- $host"
        on "$host" list 2>&1
        on "$host" migrations 2>&1 | tail -n 4
        grep -E 'SOURCE_|DESTINATION_|is ready' "$work/$host/log" | tail -n 40
        tail -n 5 "$work/$host/root/.log/g" 2>/dev/null
    done
    echo "-- the command"
    cat "$work/said"
    cat "$work/count" 2>/dev/null
    tail -n 3 "$work/g.log"
}

clear_hosts()
{
    local host
    for host in a b; do
        [ "$(state_on "$host" g)" = none ] || on "$host" destroy -q g
    done
} >/dev/null 2>&1

# Now and then a new guest, so that the count that is looked at does not grow without end.
have_guest()
{
    if [ -n "$where" ] && [ "$age" -lt 12 ]; then
        age=$((age + 1))
        return
    fi
    clear_hosts
    age=0 where=a
    launch a g F 8
}

# one_run [FAULT STEP]...: sets `came`, `struck`, `states`
one_run()
{
    stopped=()
    local -a fault awaits later due ends_at
    local index=0
    from=$where to=$(other "$where")
    struck=() states=() said_states=
    while [ $# -gt 0 ]; do
        arm "$((index++))" "$1" "$2"
        shift 2
    done
    forget_states
    rm -f "$work/count"
    begin_moving
    play
    came=stuck
    if wait_until 100 command_ended && come_to_rest; then
        judge
    fi
    look_at a
    look_at b
    case $came in
    here | there | died | asked) ;;
    *) show_hosts && mend ;;
    esac
}

command_ended()
{
    ! is_moving
}

# After what must not be: everything is begun anew.
mend()
{
    local host pid
    tell_link accept
    tell_link go
    where=
    for host in a b; do
        kill_host "$host"
        qemu_of "$host" && signal CONT "$qemu" && signal KILL "$qemu"
        rm -rf "$work/$host/root"
        begin_again "$host"
    done
    wait_until 20 on a list -q && wait_until 20 on b list -q
} >/dev/null 2>&1
