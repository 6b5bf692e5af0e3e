#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# That tests/guest/count-check, which other tests rest on, can fail. No guest runs here.
. "$(dirname "$0")/tap.sh"

cd "$work" || exit 1

# judged STATUS VERDICT ARGUMENT...: whether count-check says just that
judged()
{
    local wanted=$1 verdict=$2
    shift 2
    exits "$wanted" "$top/tests/guest/count-check" "$@" >verdict 2>&1
    diff <(echo "$verdict") verdict
}

# log NAME TEXT: makes a console log, TEXT with the escapes of printf
log()
{
    # shellcheck disable=SC2059 # the escapes are wanted
    printf "$2" >"$1"
}

# numbers NAME FIRST LAST: makes one of these counts
numbers()
{
    awk -v i="$2" -v last="$3" 'BEGIN { for (; i <= last; i++) printf "%08x\n", i }' >"$1"
}

numbers whole 1 300
numbers next 301 400
numbers later 302 400
numbers repeat 300 400
log empty ''
log two '00000001\n00000002\n'
log cut '00000001\n000'
log cut-rest '00002\n00000003\n'
log cut-wrong '00004\n'
log talk '00000001\n< 41\n00000002\n< 76\nshutdown\n'
log cut-talk '00000001\n< 4'
log cut-shutdown '00000001\nshut'
log cut-else '00000001\n000x'
log damage '00000001\n!00201000\n'
log cut-damage '00000001\n!002'
log reset '00000001\n00000002\n00000001\n'
log noise '00000001\nhello\n00000002\n'
log blank '00000001\n\n00000002\n'
log dot '00000001\n.\n00000002\n'
log zero '00000000\n00000001\n'
log short '1\n2\n'
log twice '00000001\n000000002\n\n00000003\n000000044\n'
log twice-cut '00000001\n00000002\n\n'

check one_log_is_gapless  judged 0 '300 counts, gapless' whole
check two_logs_are_gapless  judged 0 '400 counts, gapless' whole next
check a_gap_between_logs_is_found  judged 1 'line 301: expected 0000012d, got "0000012e"' whole later
check a_repeat_between_logs_is_found  judged 1 'line 301: expected 0000012d, got "0000012c"' whole repeat
check the_order_of_logs_matters  judged 1 'line 1: expected 00000001, got "0000012d"' next whole
check one_log_twice_is_found  judged 1 'line 301: expected 0000012d, got "00000001"' whole whole
check an_empty_log_in_between_is_nothing  judged 0 '400 counts, gapless' whole empty next
check a_line_goes_on_in_the_next_log  judged 0 '3 counts, gapless' cut cut-rest
check a_line_that_goes_on_wrongly_is_found  judged 1 'line 2: expected 00000002, got "00000004"' cut cut-wrong
check a_line_lost_after_a_cut_is_found  judged 1 'line 2: expected 00000002, got "00000000001"' cut two
check a_last_line_may_be_cut  judged 0 '1 counts, gapless' cut
check a_last_answer_may_be_cut  judged 0 '1 counts, gapless' cut-talk
check a_last_shutdown_may_be_cut  judged 0 '1 counts, gapless' cut-shutdown
check a_cut_line_of_something_else_is_found  judged 1 'line 2: expected 00000002, got "000x"' cut-else
check answers_and_shutdown_are_not_counted  judged 0 '2 counts, gapless' talk
check damage_is_found  judged 1 'line 2: the guest reports damage: !00201000' damage
check damage_cut_short_is_found  judged 1 'line 2: the guest reports damage: !002' cut-damage
check a_reset_is_found  judged 1 'line 3: expected 00000003, got "00000001"' reset
check another_line_is_found  judged 1 'line 2: expected 00000002, got "hello"' noise
check an_empty_line_is_found  judged 1 'line 2: expected 00000002, got ""' blank
check a_line_with_a_dot_is_found  judged 1 'line 3: a dot in the log' dot
check a_count_from_zero_is_found  judged 1 'line 1: expected 00000001, got "00000000"' zero
check short_numbers_are_found  judged 1 'line 1: expected 00000001, got "1"' short
check silence_is_a_fault  judged 1 '0 counts, fewer than 1' empty
check a_minimum_that_is_met_passes  judged 0 '300 counts, gapless' --min 300 whole
check a_minimum_that_is_missed_fails  judged 1 '300 counts, fewer than 301' --min 301 whole
check a_log_that_is_missing_fails  judged 1 'absent: not a file that can be read' whole absent
check a_character_twice_is_found  judged 1 'line 2: expected 00000002, got "000000002"' twice
check characters_twice_are_forgiven_if_asked  judged 0 '4 counts, gapless, characters twice: 3' --repeats 3 twice
check more_of_them_are_not  judged 1 'line 5: expected 00000004, got "000000044"' --repeats 2 twice
check an_end_of_line_twice_is_one  judged 0 '2 counts, gapless, characters twice: 1' --repeats 1 twice-cut
check a_number_twice_is_not_forgiven  judged 1 'line 301: expected 0000012d, got "0000012c"' --repeats 100 whole repeat
check a_gap_is_not_forgiven  judged 1 'line 301: expected 0000012d, got "0000012e"' --repeats 100 whole later
check no_log_is_wrong_usage  judged 2 'usage: count-check [--min N] [--repeats N] LOG...'
end_tests
