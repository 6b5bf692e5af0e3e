#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The command and a virstreamd: ping, stats, events, doctor, passwords, and what is said when a
# connection cannot be made. That everything else works through a daemon, too, is what
# tests/e2e/through shows.
. "$(dirname "$0")/lib.sh"

command -v saslpasswd2 >/dev/null || skip_all "no saslpasswd2 here"

port=$((20000 + RANDOM % 6000 * 2))
pki=$work/pki
unix="test+unix://$work/socket"
tls="test+tls://localhost:$((port + 1))/"
tcp="test+tcp://localhost:$port/"
login="user=tester&password-file=$work/password"

make_identities()
{
    virstream pki init "$pki" && virstream pki issue --host localhost "$pki" &&
        virstream pki issue --client tester "$pki" &&
        printf secret | saslpasswd2 -p -c -f "$work/users" tester && echo secret >"$work/password" &&
        echo wrong >"$work/wrong"
}

configure()
{
    cat >"$work/conf" <<END
[daemon]
serve = test:///?domains=2&memory=256K
[listen]
unix = $work/socket
tcp = 127.0.0.1:$port
tls = 127.0.0.1:$((port + 1))
[tls]
ca = $pki/localhost/cacert.pem
cert = $pki/localhost/servercert.pem
key = $pki/localhost/serverkey.pem
require-client-cert = no
[sasl]
mechanisms = SCRAM-SHA-256 DIGEST-MD5
database = $work/users
[access]
admin = unix:$(id -u)
admin = sasl:tester
observe = x509:CN=tester
END
}

start_daemon()
{
    "$top/run" virstreamd --config "$work/conf" 2>"$work/log" &
    daemon=$!
    wait_until 20 grep -q "is ready" "$work/log"
}

stop_daemon()
{
    kill -TERM "$daemon"
    wait "$daemon"
}

doctor_sees_it_all()
{
    local uri=$1 step
    shift
    virstream doctor "$uri" >"$work/found" || return
    for step; do
        grep -qE "^$step " "$work/found" || {
            echo "no $step in:"
            cat "$work/found"
            return 1
        }
    done
}

# doctor_stops_after STEP STATUS TEXT URI
doctor_stops_after()
{
    refuses "$2" "$3" virstream doctor "$4" && virstream doctor "$4" 2>/dev/null | tail -n 1 |
        grep -q "^$1 "
}

doctor_says_steps_as_json()
{
    virstream --json doctor "$unix" >"$work/found" && [ "$(wc -l <"$work/found")" = 5 ] &&
        [ "$(grep -c '^{"step":{"name":' "$work/found")" = 5 ]
}

pings_are_counted()
{
    [ "$(virstream -c "$1" ping -n 7 | grep -c ' ms$')" = 8 ] &&
        virstream --json -c "$1" ping --count 3 | grep -q '^{"ping":{"count":3,"least-us":'
}

stats_have_both_sides()
{
    virstream -c "$unix" stats | grep -qx "server role: *admin" &&
        virstream --json -c "$unix" stats | grep -q '^{"stats":{"uri":"test+unix:.*"server":{'
}

events_are_followed()
{
    local follower status
    "$top/run" virstream --json -c "$unix" events >"$work/events" &
    follower=$!
    sleep 0.5
    virstream -q -c "$unix" suspend test2 && virstream -q -c "$unix" resume test2 &&
        wait_until 10 grep -q '"kind":"resumed","name":"test2"' "$work/events"
    status=$?
    kill -INT $follower
    exits 8 wait $follower && [ $status = 0 ] &&
        head -n 1 "$work/events" | grep -q '^{"event":{"time":"20.*"kind":"suspended"'
}

events_end_with_the_daemon()
{
    local follower
    "$top/run" virstream -c "$unix" events >"$work/events" 2>&1 &
    follower=$!
    sleep 0.5
    stop_daemon
    exits 3 wait $follower && grep -q "takes no new calls\|ended the connection" "$work/events"
}

password_is_asked_for()
{
    { sleep 0.7; echo secret; sleep 0.5; } |
        script -qec "$top/run virstream -c '${tls}?user=tester&ca=$pki/cacert.pem' list" \
            "$work/typescript" >/dev/null
    cat "$work/typescript"
    grep -q "Password of tester for test+tls" "$work/typescript" &&
        grep -q test1 "$work/typescript" && ! grep -q secret "$work/typescript"
}

interrupt_ends_the_question()
{
    { sleep 0.7; printf '\003'; sleep 0.5; } |
        script -qec "$top/run virstream -c '${tls}?user=tester&ca=$pki/cacert.pem' list" \
            "$work/typescript" >/dev/null
    grep -q cancelled "$work/typescript"
}

no_terminal_no_password()
{
    refuses 4 "password-file=FILE" setsid -w "$top/run" virstream -c "${tcp}?user=tester" list
}

observer_may_not_save()
{
    local uri="${tls}?pkipath=$pki/tester"
    virstream -c "$uri" list && refuses 4 "transfer" virstream -c "$uri" save test1 "$work/no"
}

check identities_are_made  make_identities
configure
check daemon_begins  start_daemon

check doctor_walks_the_unix_socket  doctor_sees_it_all "$unix" connect greeting access ping list
check doctor_walks_tcp  doctor_sees_it_all "$tcp?$login&mech=DIGEST-MD5" lookup connect login \
    greeting access ping list
check doctor_walks_tls  doctor_sees_it_all "$tls?pkipath=$pki/tester" tls-files lookup connect tls greeting \
    access ping list
check doctor_walks_a_login_in_tls  doctor_sees_it_all "$tls?$login&ca=$pki/cacert.pem" tls-files lookup \
    connect tls login greeting access ping list
check doctor_says_steps_as_json  doctor_says_steps_as_json
check doctor_needs_no_daemon_for_guests_here  contains "everything is as it should be" \
    virstream doctor test:///
check refused_address_is_named  doctor_stops_after lookup 3 "127.0.0.1: Connection refused" \
    "test+tcp://localhost:1/"
check missing_socket_is_named  refuses 3 "$work/nothing cannot be reached" \
    virstream doctor "test+unix://$work/nothing"
check unknown_name_is_named  refuses 3 "no.such.invalid" \
    virstream doctor 'test+tcp://no.such.invalid/?timeout=5'
check wrong_host_name_is_exit_4  doctor_stops_after connect 4 "127.0.0.1" \
    "test+tls://127.0.0.1:$((port + 1))/?pkipath=$pki/tester"
check missing_certificates_are_exit_5  refuses 5 "pki init" \
    virstream doctor "$tls?pkipath=$work/nothing"
check wrong_password_is_exit_4  refuses 4 "login" \
    virstream -c "$tls?user=tester&password-file=$work/wrong&ca=$pki/cacert.pem" list
check missing_password_file_is_exit_5  refuses 5 "password-file $work/nothing" \
    virstream -c "$tcp?user=tester&password-file=$work/nothing" list
check client_without_a_certificate_or_a_login_is_refused  refuses 4 "give a user and a password" \
    virstream -c "$tls?ca=$pki/cacert.pem" list
check server_without_tls_is_found_out  refuses 3 "does not speak TLS" \
    virstream -c "test+tls://localhost:$port/?pkipath=$pki/tester&timeout=5" list
check role_that_is_too_small_is_exit_4  observer_may_not_save
check pings_are_counted  pings_are_counted "$unix"
check pings_are_counted_in_tls  pings_are_counted "$tls?pkipath=$pki/tester"
check stats_have_both_sides  stats_have_both_sides
check events_are_followed  events_are_followed
check password_is_asked_for_without_an_echo  password_is_asked_for
check interrupt_ends_the_question  interrupt_ends_the_question
check password_needs_a_terminal_or_a_file  no_terminal_no_password
check events_end_with_the_daemon  events_end_with_the_daemon
check no_process_left  no_process_left
end_tests
