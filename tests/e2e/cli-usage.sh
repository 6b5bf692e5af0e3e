#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The command line itself: help, mistakes, exit codes, and errors as JSON.
. "$(dirname "$0")/lib.sh"

uri='test:///?domains=3&memory=64K'
commands=(start list info suspend resume shutdown destroy save restore console screenshot
    migrate migrations 'migration relay' 'migration cancel' 'migration set' 'migration post-copy' 'migration resolve'
    'migration forget'
    'image info' 'image check' 'pki init' 'pki issue' 'pki revoke' 'pki check')

# every_command FUNCTION: calls it with the words of each command
every_command()
{
    local command words
    for command in "${commands[@]}"; do
        read -ra words <<<"$command"
        "$1" "${words[@]}" || {
            echo "command: $command"
            return 1
        }
    done
}

has_help()
{
    contains "usage: virstream $*" virstream "$@" --help &&
        contains '--timeout SECONDS' virstream "$@" -h
}

is_in_the_help()
{
    virstream --help | grep -qE "^  $*( |\$)"
}

is_in_the_manual()
{
    virstream "$@" --help | grep -oE -- '--[a-z-]+' | tr -d - | sort -u |
        while read -r option; do
            tr -d '\\-' <"$top/docs/virstream.1" | grep -qE "(Fl|,) $option\b" || {
                echo "docs/virstream.1 does not name --$option"
                exit 1
            }
        done
}

# In the header and in the protocol, too, where programs read of them.
phases_are_in_the_manual()
{
    local phases
    phases=$(sed -n '/define VST_MIGRATION_PHASES/,/^$/s/.*X([A-Z_]*, "\([a-z-]*\)").*/\1/p' \
        "$top/include/virstream/migration.h")
    [ "$(wc -w <<<"$phases")" -ge 9 ] || return
    for phase in $phases; do
        tr -d '\\' <"$top/docs/virstream.1" | grep -q "^\.It Ql $phase$" &&
            grep -q "\`$phase\`" "$top/remote/PROTOCOL.md" && continue
        echo "docs/virstream.1 or remote/PROTOCOL.md does not tell of the phase $phase"
        return 1
    done
}

refuses_an_unknown_option()
{
    exits 2 virstream "$@" --no-such-thing
}

# says_one_object TEXT COMMAND...: standard output is one line, an error object with TEXT in it
says_one_object()
{
    local text=$1
    shift
    run "$@" >"$work/out" 2>"$work/err"
    cat "$work/out" "$work/err"
    [ "$(wc -l <"$work/out")" = 1 ] && [ ! -s "$work/err" ] &&
        grep -qE '^\{"error":\{"code":.*\}\}$' "$work/out" && grep -qF "$text" "$work/out"
}

names_only()
{
    [ "$(virstream -c "$uri" list -q | paste -sd' ')" = "test1 test2 test3" ]
}

aligned()
{
    virstream -c "$uri" list | tee /dev/stderr |
        awk '{ at = match($0, /STATE|running/); if (NR > 1 && at != last) exit 1; last = at } END { exit NR != 4 }'
}

environment_names_the_uri()
{
    VIRSTREAM_DEFAULT_URI=$uri contains test3 virstream list -q
}

full_disk_is_told()
{
    virstream -c "$uri" list >/dev/full
}

# completes WORDS RESULT: in bash, with the last of the words unfinished
completes()
{
    local COMP_WORDS COMP_CWORD COMPREPLY=()
    read -ra COMP_WORDS <<<"$1"
    [ "${1% }" = "$1" ] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    # shellcheck source=/dev/null
    . "$top/tools/bash-completion/virstream"
    _virstream
    echo "completions of '$1': ${COMPREPLY[*]}"
    [ "${COMPREPLY[*]}" = "$2" ]
}

completes_guests()
{
    VIRSTREAM_DEFAULT_URI=$uri completes "virstream info " "test1 test2 test3"
}

check every_command_has_help  every_command has_help
check every_command_is_in_the_help  every_command is_in_the_help
check every_option_is_in_the_manual  every_command is_in_the_manual
check every_phase_is_in_the_manual  phases_are_in_the_manual
check version_is_told  contains "virstream " virstream --version
check no_command_is_wrong_usage  exits 2 virstream
check unknown_command_is_wrong_usage  exits 2 virstream frobnicate
check half_a_command_is_wrong_usage  exits 2 virstream image
check half_a_command_is_told_its_other_half  contains 'one of: info, check' virstream image
check unknown_option_is_wrong_usage  every_command refuses_an_unknown_option
check missing_argument_is_wrong_usage  exits 2 virstream save g1
check surplus_argument_is_wrong_usage  exits 2 virstream info g1 g2
check missing_value_is_wrong_usage  contains "needs a value: URI" virstream list --connect
check surplus_value_is_wrong_usage  contains "takes no value" virstream list --json=yes
check option_of_another_command_is_wrong_usage  exits 2 virstream restore --live g1
check bad_rate_is_wrong_usage  exits 2 virstream save --rate 10kB g1 g1.image
check bad_level_is_wrong_usage  exits 2 virstream save --compress zstd:20 g1 g1.image
check bad_seconds_are_wrong_usage  exits 2 virstream list --timeout 0
check bad_category_is_wrong_usage  exits 2 virstream list --trace state,nonsense
check bad_migrations_are_wrong_usage  exits 2 virstream migrate --then suspend test1 x
check bad_downtime_is_wrong_usage  exits 2 virstream migrate --downtime 0 test1 x
check bad_compression_of_a_migration_is_wrong_usage  exits 2 virstream migrate --compress=20 test1 x
check bad_owner_is_wrong_usage  exits 2 virstream migration resolve --guest-runs-on=me x
check nothing_to_set_is_wrong_usage  exits 2 virstream migration set x
check no_owner_is_wrong_usage  contains 'source, or destination' virstream migration resolve x
check no_word_of_a_lost_host_is_wrong_usage  exits 2 virstream migration forget x
check usage_names_the_help  contains "hint: virstream save --help" virstream save

check unknown_driver_is_exit_2  exits 2 virstream -c nonsense:/// list
check unknown_parameter_is_named  contains '`foo`' virstream -c 'test:///?foo=1' list
check hundred_thousand_domains_open_in_seconds  timeout 20 "$top/run" virstream -q -c 'test:///?domains=100000' info test100000
check missing_domain_is_exit_5  exits 5 virstream -c "$uri" info nobody
check missing_file_is_exit_5  exits 5 virstream -c "$uri" start "$work/nothing.json"
check bad_definition_is_exit_2  exits 2 virstream -c "$uri" start "$top/COPYING"
check full_output_is_exit_1  exits 1 full_disk_is_told

check error_is_one_json_object  says_one_object '"code":"not-found"' \
    virstream --json -c "$uri" info nobody
check json_counts_behind_a_mistake  says_one_object '"code":"invalid"' \
    virstream list --no-such-thing --json
check json_counts_behind_an_unknown_command  says_one_object '"code":"invalid"' \
    virstream frobnicate --json
check options_may_follow_arguments  virstream info test1 -c "$uri" --json
check list_is_aligned  aligned
check quiet_list_is_names_only  names_only
check environment_names_the_uri  environment_names_the_uri
check trace_goes_to_standard_error  contains "CONN_OPENING -> CONN_OPEN" \
    virstream -c "$uri" list --trace state
check bash_completes_commands  completes "virstream -q su" suspend
check bash_completes_half_commands  completes "virstream image " "info check"
check bash_completes_options  completes "virstream restore --pa" --paused
check bash_completes_values  completes "virstream save --progress j" json
check bash_completes_guests  completes_guests
end_tests
