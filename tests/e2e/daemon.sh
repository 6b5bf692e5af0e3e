#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The daemon as a process, with real guests: its configuration, signals, restarts, what it counts,
# and what systemd thinks of its unit.
. "$(dirname "$0")/lib.sh"

need_guests
conf=$work/virstreamd.conf
sock=$work/virstreamd.sock
log=$work/virstreamd.log
port=$((20000 + $$ % 12000))
daemon=
remote=qemu+unix://$sock

configure()
{
    cat >"$conf" <<END
[daemon]
root = $root
[listen]
unix = $sock
[access]
${1-admin} = unix:$(id -u)
[limits]
drain-seconds = 20
[metrics]
listen = 127.0.0.1:$port
END
}

# A session of its own, as a service has it.
begin()
{
    : >"$log"
    setsid "$top/run" virstreamd --config "$conf" 2>"$log" &
    daemon=$!
    wait_until 20 grep -q 'is ready' "$log"
}

# The daemon's exit status, after it has ended by itself or by a signal.
ended()
{
    wait "$daemon"
}

stop()
{
    kill -TERM "$daemon"
    ended
}

there()
{
    virstream -c "$remote" "$@"
}

# is STATE: g1, as the daemon knows it; to others it is busy while a call runs
is()
{
    there info g1 | grep -qx "state: *$1"
}

# logged TEXT: the daemon has logged, or will
logged()
{
    wait_until 10 grep -qF -- "$1" "$log"
}

# ---- without a daemon ----

check_config()
{
    run virstreamd --check-config --config "$conf"
}

faulty()
{
    printf '[daemon]\nrot = /x\n[limits]\nclients = none\n' >"$conf"
    refuses 2 "$conf:2: [daemon] has no key \`rot\`; did you mean \`root\`?" check_config &&
        refuses 2 "$conf:4: clients = none: must be a number" check_config
}

good()
{
    configure && check_config
}

# What waits for a writer would wait for ever.
fifos()
{
    rm -f "$conf" && mkfifo "$conf" "$work/users" &&
        refuses 2 'not a regular file, but a FIFO' timeout 20 "$top/run" virstreamd --check-config --config "$conf" &&
        rm "$conf" && configure && printf '[sasl]\nmechanisms = SCRAM-SHA-256\ndatabase = %s\n' "$work/users" >>"$conf" &&
        refuses 2 "database = $work/users: not a regular file" check_config && rm "$work/users"
}

certificates_are_missing()
{
    configure
    printf '[listen]\ntls = *:1\n[tls]\ncert = /nowhere/none.pem\n' >>"$conf"
    refuses 2 cacert.pem check_config
}

# bad TEXT LINE...: with these lines it is bad for the check and for the daemon, which both say TEXT
bad()
{
    local text=$1
    shift
    configure
    printf '%s\n' "$@" >>"$conf"
    refuses 2 "$text" check_config && refuses 2 "$text" run virstreamd --config "$conf"
}

mechanisms_are_looked_for()
{
    bad "$conf:12: mechanisms: Cyrus SASL has none of them" '[sasl]' 'mechanisms = FOO BAR'
}

tcp_without_a_security_layer()
{
    bad "$conf:12: tcp: nobody could log in there" '[listen]' "tcp = 127.0.0.1:$port" '[sasl]' \
        'mechanisms = SCRAM-SHA-256'
}

only_warned_of()
{
    configure && printf '[sasl]\nmechanisms = FOO SCRAM-SHA-256\ndatabase = /nowhere/db\n' >>"$conf" &&
        contains "$conf:12: warning: mechanisms: no plugin of Cyrus SASL on this host offers FOO" \
            check_config &&
        contains "$conf:13: warning: database = /nowhere/db: No such file" check_config &&
        contains "$conf: good" check_config
}

# tls CERT KEY TEXT
tls_is_bad()
{
    bad "$3" '[listen]' "tls = 127.0.0.1:$port" '[tls]' "ca = $work/ca/cacert.pem" \
        "cert = $work/ca/$1.pem" "key = $work/ca/$2.pem"
}

wrong_certificates()
{
    virstream pki init -q "$work/ca" && virstream pki issue -q "$work/ca" --host localhost &&
        virstream pki issue -q "$work/ca" --client alice &&
        tls_is_bad alice/clientcert alice/clientkey "is not for a server" &&
        tls_is_bad localhost/servercert alice/clientkey "is not the key of the certificate"
}

# What the drivers say of what they are to serve.
not_served()
{
    printf '[daemon]\nserve = %s\n' "$1" >"$work/served.conf"
    refuses 2 "$work/served.conf:2: $2" run virstreamd --check-config --config "$work/served.conf"
}

served_is_bad()
{
    not_served 'qemu:///?foo=1' 'qemu:///?foo=1: no such parameter: `foo`' &&
        not_served 'qemu:///?pool.x=rel' 'pool x: `rel` is not an absolute path' &&
        not_served 'test:///?domains=99999999' 'test:///?domains=99999999: domains: at most 100000'
}

user_is_unknown()
{
    local text='user=nobody-at-all: this host has no such user'
    [ "$(id -u)" = 0 ] || text='only root can run QEMU as another user'
    bad "$text" '[daemon]' 'user = nobody-at-all'
}

socket_that_is_a_directory()
{
    bad "$work/: names a directory, not a socket" '[listen]' "unix = $work/"
}

check version_is_told  contains "$(run virstream --version | cut -d' ' -f2)" run virstreamd --version
check help_is_told  contains --check-config run virstreamd --help
check unknown_option_is_refused  refuses 2 --help run virstreamd --nothing
check unknown_category_of_the_trace_is_refused  refuses 2 '`qmb` is not to be traced' \
    run virstreamd --trace state,qmb,wire
check faults_of_the_configuration_are_told_with_their_lines  faulty
check good_configuration_is_good  good
check fifos_are_no_files  fifos
check certificates_are_part_of_the_check  certificates_are_missing
check mechanisms_that_no_plugin_offers_are_refused  mechanisms_are_looked_for
check tcp_needs_a_mechanism_with_a_security_layer  tcp_without_a_security_layer
check served_is_checked_by_its_driver  served_is_bad
check user_of_the_guests_must_exist  user_is_unknown
check socket_is_not_a_directory  socket_that_is_a_directory
check missing_users_and_one_missing_plugin_are_warned_of  only_warned_of
check certificate_that_cannot_serve_is_refused  wrong_certificates
place_of_no_socket_is_told()
{
    printf '[listen]\nunix = %s/none/s\n' "$work" >"$work/place.conf"
    contains "warning: unix = $work/none/s: $work/none: No such file or directory" \
        sh -c "'$top/run' virstreamd --check-config --config '$work/place.conf' 2>&1"
}

check place_of_no_socket_is_told  place_of_no_socket_is_told
check shipped_configuration_is_good  run virstreamd --check-config --config "$top/conf/virstreamd.conf"

# ---- one life ----

guest_by_daemon()
{
    define g1 && there start -q "$work/g1.json" && wait_until 20 counts g1
}

second_is_refused()
{
    refuses 6 "another process listens there" run virstreamd --config "$conf"
}

# has_nice PID VALUE: it has this nice value, and its session, too, where the kernel knows of that
has_nice()
{
    local values=("$(sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 17)" "$2")
    [ ! -e "/proc/$1/autogroup" ] || values[1]=$(sed 's/.* nice //' "/proc/$1/autogroup")
    [ "${values[*]}" = "$2 $2" ] && return
    echo "nice values of $1: ${values[*]}"
    return 1
}

only_the_daemon_is_favoured()
{
    local qemu
    qemu=$(there info g1 | sed -n 's/^pid: *//p')
    has_nice "$daemon" -10 && has_nice "$qemu" 0 &&
        grep -q '^Max nice priority  *0  *0 ' "/proc/$qemu/limits"
}

configure
check daemon_gets_ready  begin
check guest_starts_through_the_daemon  guest_by_daemon
if [ "$(id -u)" = 0 ]; then
    check daemon_favours_itself_and_no_guest  only_the_daemon_is_favoured
else
    skip daemon_favours_itself_and_no_guest "not root"
fi
check guest_is_the_same_without_the_daemon  contains g1 virstream list
check second_daemon_does_not_take_the_socket_away  second_is_refused

restart()
{
    stop && goes_on g1 && [ ! -e "$sock" ] && begin && contains g1 there list
}

crash()
{
    kill -KILL "$daemon"
    ended
    goes_on g1 && [ -e "$sock" ] && begin && contains g1 there list
}

check guest_lives_through_a_restart  restart
check guest_lives_through_the_death_of_the_daemon  crash

save_and_back()
{
    there save -q g1 "$work/g1.image" && [ -z "$(guests)" ] &&
        there restore -q "$work/g1.image" && goes_on g1 && continued "$work/g1.log"
}

client_dies()
{
    "$top/run" virstream -c "$remote" save -q --rate 200K g1 "$work/cut.image" &
    wait_until 10 is paused || return
    kill -KILL $!
    wait $! 2>/dev/null
    wait_until 10 is running && goes_on g1 && [ ! -e "$work/cut.image" ]
}

check adopted_guest_is_saved_and_restored  save_and_back
check client_that_dies_leaves_the_guest_running  client_dies

# ---- signals ----

# A save that takes some seconds; `slow` is its process.
begin_slow_save()
{
    rm -f "$work/slow.image"
    "$top/run" virstream -c "$remote" save -q --rate 300K g1 "$work/slow.image" &
    slow=$!
    wait_until 10 is paused
}

reload()
{
    begin_slow_save || return
    configure observe
    kill -HUP "$daemon"
    logged 'have been loaded again' && logged 'has the role observe now' &&
        refuses 4 'needs the role operate' there destroy g1 &&
        wait "$slow" && run virstream image check "$work/slow.image"
}

bad_reload()
{
    printf '[nonsense]\na = b\n' >"$conf"
    kill -HUP "$daemon"
    logged "everything is as before: $conf:2: there is no section [nonsense]" &&
        contains STATE there list && refuses 4 'needs the role transfer' there restore "$work/slow.image"
}

missing_reload()
{
    rm "$conf" && kill -HUP "$daemon"
    logged "everything is as before: $conf: cannot be read: No such file" && contains STATE there list
}

# Nobody writes into it; the next reload is not kept from anything.
fifo_reload()
{
    mkfifo "$conf" && kill -HUP "$daemon"
    logged "everything is as before: $conf: cannot be read: not a regular file, but a FIFO" && rm "$conf"
}

good_reload()
{
    configure admin
    kill -HUP "$daemon"
    wait_until 10 there restore -q "$work/slow.image" && goes_on g1
}

drain()
{
    begin_slow_save || return
    kill -TERM "$daemon"
    logged 'shuts down' || return
    refuses 3 "$sock" there list && wait "$slow" && ended &&
        virstream restore -q "$work/slow.image" && goes_on g1 && begin
}

second_signal()
{
    begin_slow_save || return
    kill -TERM "$daemon"
    logged 'shuts down'
    kill -TERM "$daemon"
    ended || return
    wait "$slow"
    [ $? = 8 ] && wait_until 10 is_state g1 running && goes_on g1 && begin
}

check reload_takes_a_role_away_and_no_stream  reload
check reload_that_fails_changes_nothing_and_says_why  bad_reload
check reload_of_nothing_changes_nothing_and_says_why  missing_reload
check reload_of_a_fifo_changes_nothing_and_does_not_wait  fifo_reload
check reload_gives_the_role_back  good_reload
check end_waits_for_a_save_and_takes_nobody_new  drain
check second_signal_does_not_wait_and_the_guest_goes_on  second_signal

# ---- metrics ----

fetch()
{
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    tr -d '\r' <&3
    exec 3>&-
}

# Also when a name was cut that has letters of two bytes.
well_formed()
{
    there info "$(printf 'a%.0s' {1..62})éé"
    fetch /metrics | sed '1,/^$/d' >"$work/page" && grep -q 'domain="aaa' "$work/page" &&
        iconv -f UTF-8 -t UTF-8 "$work/page" >/dev/null && "$top/tests/e2e/check-metrics" "$work/page"
}

operations_are_counted()
{
    there list && contains 'virstream_operations_total{procedure="list",outcome="ok"} 1' \
        fetch /metrics
}

check metrics_count_operations  operations_are_counted
check metrics_are_well_formed  well_formed
check health_is_told  contains 'HTTP/1.1 200' fetch /health
check other_pages_are_not_there  contains 'HTTP/1.1 404' fetch /nothing

# ---- systemd ----

exposure()
{
    local said level
    cp "$VIRSTREAM_BUILD/conf/systemd/virstreamd.service" "$top"/conf/systemd/*.socket "$work" &&
        sed -i "s,^ExecStart=.*,ExecStart=/bin/true," "$work/virstreamd.service" &&
        said=$(systemd-analyze security --offline=true "$work/virstreamd.service") || return
    level=$(sed -n 's/.*exposure level for [^ ]*: \([0-9.]*\).*/\1/p' <<<"$said")
    echo "exposure: $level"
    awk -v level="$level" 'BEGIN { exit !(level != "" && level <= 2.0) }'
}

activated()
{
    stop
    systemd-socket-activate -l "$work/passed.sock" "$top/run" virstreamd -c "$conf" 2>"$log" &
    daemon=$!
    wait_until 10 test -S "$work/passed.sock" || return
    contains g1 virstream -c "qemu+unix://$work/passed.sock" list || { cat "$log" && return 1; }
    stop && begin
}

if command -v systemd-analyze >/dev/null && systemd-analyze security --help >/dev/null 2>&1; then
    check unit_is_exposed_to_at_most_2  exposure
else
    skip unit_is_exposed_to_at_most_2 "no systemd-analyze here"
fi
if command -v systemd-socket-activate >/dev/null; then
    check socket_of_systemd_is_taken  activated
else
    skip socket_of_systemd_is_taken "no systemd-socket-activate here"
fi

nothing_left()
{
    there destroy -q g1 && stop && no_process_left
}

check nothing_is_left  nothing_left
end_tests
