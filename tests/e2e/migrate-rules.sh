#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a daemon lets come: [migrate] accept-from and allow-path, each refused and allowed, between two
# daemons that know each other by certificates. What the rules say of each single path and identity is
# in tests/unit/move-rules.
. "$(dirname "$0")/hosts.sh"

need_guests
conf=

# rules LINE...: of host b, under [migrate]; it begins anew
rules()
{
    local lines
    lines=$(printf '%s\n' "$@")
    kill_host b TERM
    awk -v lines="$lines" '{ print } /^\[migrate\]/ { print lines }' <<<"$conf" >"$work/b/conf"
    begin_host b
}

begin_hosts()
{
    make_hosts && conf=$(<"$work/b/conf") && launch a g
}

check_of()
{
    on a migrate --check "$1" "$(uri_of b)"
}

# is_refused TEXT...: by --check and by migrate, in all of these words, and nothing has begun
is_refused()
{
    local text
    for text in "$@"; do
        refuses 4 "$text" check_of g && refuses 4 "$text" on a migrate -q g "$(uri_of b)" || return
    done
    [ "$(state_on a g) $(state_on b g)" = "running none" ] && goes_on g && nothing_is_known_there &&
        wait_until 20 all_is_over_here
}

# The other host is not asked for ever about what it did not let begin.
all_is_over_here()
{
    on a migrations --json >"$work/known" && grep -q '"over": *true' "$work/known" &&
        ! grep -q '"over": *false' "$work/known"
}

nothing_is_known_there()
{
    [ -z "$(on b migrations -q)" ]
}

# It goes there, and comes back: host a takes all.
goes()
{
    contains "g can go to" check_of g && there_and_back 1 g
}

from_nobody_known()
{
    rules "accept-from = x509:CN=elsewhere" "accept-from = unix:*" &&
        is_refused "no guest is taken from x509:CN=localhost" "[migrate] accept-from"
}

from_one_of_them()
{
    rules "accept-from = x509:CN=elsewhere" "accept-from = x509:CN=local*" && goes
}

check two_hosts_and_a_guest_begin  begin_hosts
check guest_goes_where_nothing_is_said  goes
check guest_from_a_host_that_is_not_named_is_refused  from_nobody_known
check guest_from_a_host_that_is_named_goes  from_one_of_them

# ---- paths ----

all_paths()
{
    rules "allow-path = $work/guests" &&
        is_refused "kernel $guest_elf: not in a directory" "console log $work/g.log: not in a directory" \
            "[migrate] allow-path"
}

one_path()
{
    rules "allow-path = $work/guests" "allow-path = ${guest_elf%/*}" &&
        is_refused "console log $work/g.log: not in a directory" &&
        ! contains "kernel" check_of g >/dev/null
}

no_path()
{
    rules "allow-path = $work/" "allow-path = ${guest_elf%/*}" && goes
}

# A name that begins as the directory's is not in it, and one that climbs is nowhere.
names_that_only_look_like_it()
{
    rules "allow-path = ${work%?}" "allow-path = ${guest_elf%/*}" &&
        is_refused "console log $work/g.log" && finish a g || return
    define climber && mkdir -p "$work/in" && sed -i "s,$work/climber.log,$work/in/../climber.log," "$work/climber.json" &&
        on a start -q "$work/climber.json" && wait_until 20 counts climber &&
        rules "allow-path = $work" "allow-path = ${guest_elf%/*}" &&
        refuses 4 "console log $work/in/../climber.log" check_of climber && finish a climber
}

# With what the rules say comes all else that stands in the way.
all_else_too()
{
    local command
    launch b taken || return
    for command in "migrate --check" "migrate -q"; do
        # shellcheck disable=SC2086 # words
        refuses 4 "a domain named taken is there already" \
            on a $command --rename taken g "$(uri_of b)" || return
    done
    refuses 4 "kernel $guest_elf: not in a directory" \
        on a migrate --check --rename taken g "$(uri_of b)" &&
        [ "$(state_on a g)" = running ] && goes_on g && finish b taken
}

check guest_with_files_elsewhere_is_refused_and_all_are_told  all_paths
check what_stands_in_the_way_besides_is_told_with_it  all_else_too
check one_file_elsewhere_is_enough  one_path
check guest_whose_files_are_all_allowed_goes  no_path
check path_that_only_looks_allowed_is_refused  names_that_only_look_like_it

# ---- certificates ----

# Of whom, of which file, and why: what the hosts' daemons found, at a client of one of them.
certificates_that_are_wrong()
{
    local own=$pki/localhost uri
    uri="$(uri_of b)?cert=$own/servercert.pem&key=$own/serverkey.pem&ca="
    virstream -q pki init "$work/others" && rules && launch a sure || return
    refuses 2 "$guest_elf: no certificate" on a migrate sure "$uri$guest_elf" &&
        refuses 2 "where: source host, certificates" on a migrate sure "$uri$guest_elf" &&
        refuses 4 "no such authority is in $work/others/cacert.pem" on a migrate sure "$uri$work/others/cacert.pem" &&
        refuses 4 "where: destination host, handshake" on a migrate sure "$uri$work/others/cacert.pem" &&
        [ "$(state_on a sure)" = running ] && finish a sure
}

check certificates_that_are_wrong_are_named  certificates_that_are_wrong

# ---- reasons ----

# The reason is cut where it is kept; one of two names that differ by a byte is cut in a character.
reasons_of_long_names()
{
    local more dir name
    for more in x xx; do
        name=long$more dir=$work/$more$(printf 'ü%.0s' {1..115})
        mkdir -p "$dir" && truncate -s 1M "$dir/disk" && define "$name" &&
            sed -i "s|\"vcpus\"|\"disks\": [{\"name\": \"d\", \"file\": \"$dir/disk\", \"format\": \"raw\"}], &|" \
                "$work/$name.json" && on a start -q "$work/$name.json" && wait_until 20 counts "$name" &&
            mv "$dir/disk" "$dir/away" && ! on a migrate -q "$name" "$(uri_of b)" 2>"$work/said" &&
            grep -qF "$dir/disk" "$work/said" &&
            contains "/$more" on a migrations && wait_until 20 all_is_over_here && finish a "$name" || return
    done
}

begin_without_rules()
{
    rules
}

check rules_are_gone  begin_without_rules
check reasons_of_any_length_are_told  reasons_of_long_names

nothing_left()
{
    kill_host a TERM && kill_host b TERM && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
