#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A virstreamd and what others wrote: gnutls-cli and openssl at its TLS port, users of saslpasswd2,
# a saslauthd that hangs, Kerberos where its plugin is, and the text format of its metrics.
. "$(dirname "$0")/lib.sh"

command -v saslpasswd2 >/dev/null || skip_all "no saslpasswd2 here"
command -v saslauthd >/dev/null || PATH=$PATH:/usr/sbin

port=$((20000 + RANDOM % 3000 * 4)) # certificates; +1: a login is enough; +2: metrics
ca=$work/ca
host=$ca/localhost

make_identities()
{
    virstream pki init -q "$ca" && virstream pki issue -q "$ca" --host localhost &&
        virstream pki issue -q "$ca" --client alice && virstream pki issue -q "$ca" --client bob &&
        cp -r "$ca/bob" "$work/bob" && virstream pki revoke -q "$ca" bob &&
        cp "$ca/cacrl.pem" "$host" &&
        virstream pki init -q "$work/other" &&
        virstream pki issue -q "$work/other" --client mallory &&
        cp "$ca/cacert.pem" "$work/other/mallory" &&
        printf secret | saslpasswd2 -p -c -f "$work/users" alice && echo secret >"$work/password" &&
        echo wrong >"$work/wrong"
}

# configure NAME PORT REQUIRE-CERTIFICATE [LINE...]
configure()
{
    cat >"$work/$1.conf" <<END
[daemon]
serve = test:///?domains=2&memory=256K
[listen]
unix = $work/$1.socket
tls = 127.0.0.1:$2
[tls]
ca = $host/cacert.pem
crl = $host/cacrl.pem
cert = $host/servercert.pem
key = $host/serverkey.pem
require-client-cert = $3
[access]
admin = unix:$(id -u)
transfer = x509:CN=alice
transfer = x509:CN=carol
admin = sasl:alice
$(printf '%s\n' "${@:4}")
END
}

# start_daemon NAME
start_daemon()
{
    "$top/run" virstreamd --config "$work/$1.conf" 2>"$work/$1.log" &
    echo $! >"$work/$1.pid"
    disown
    wait_until 20 grep -q "is ready" "$work/$1.log" && return
    sed 's/^/# /' "$work/$1.log"
    return 1
}

logged()
{
    wait_until 10 grep -qF -- "$2" "$work/$1.log" && return
    tail -n 5 "$work/$1.log"
    return 1
}

# What a client of others hears first, if it is let in: HELLO.
hears_hello()
{
    grep -qaF '"software":"virstream' "$work/out"
}

# gnutls PORT DIRECTORY ARGUMENTS...: 0 when it heard HELLO; DIRECTORY may be `none`
gnutls()
{
    local at=$1 dir=$2 certificate=()
    shift 2
    [ "$dir" = none ] ||
        certificate=(--x509certfile="$dir/clientcert.pem" --x509keyfile="$dir/clientkey.pem")
    sleep 1 | timeout 20 gnutls-cli --logfile="$work/cli.log" -p "$at" \
        --x509cafile="$ca/cacert.pem" --verify-hostname=localhost ${certificate[@]+"${certificate[@]}"} \
        "$@" 127.0.0.1 >"$work/out" 2>&1
    cat "$work/out" "$work/cli.log" | tr -cd '[:print:]\n'
    hears_hello
}

# openssl_client PORT DIRECTORY ARGUMENTS...: the same
openssl_client()
{
    local at=$1 dir=$2 certificate=()
    shift 2
    [ "$dir" = none ] || certificate=(-cert "$dir/clientcert.pem" -key "$dir/clientkey.pem")
    sleep 1 | timeout 20 openssl s_client -connect "127.0.0.1:$at" -quiet -no_ign_eof \
        -CAfile "$ca/cacert.pem" -verify_return_error -verify_hostname localhost \
        ${certificate[@]+"${certificate[@]}"} "$@" >"$work/out" 2>"$work/err"
    cat "$work/out" "$work/err" | tr -cd '[:print:]\n'
    hears_hello
}

# refused CLIENT DIRECTORY TEXT [ARGUMENTS...]: it hears nothing, and the log says why
refused()
{
    local client=$1 dir=$2 text=$3
    shift 3
    : >"$work/strict.log"
    ! "$client" "$port" "$dir" "$@" && logged strict "$text"
}

# A certificate that was good until yesterday, signed by the authority.
expire()
{
    cp -r "$ca/alice" "$work/late" && cat >"$work/template" <<END || return
cn = "alice"
tls_www_client
activation_date = "2020-01-01 00:00:00 UTC"
expiration_date = "2021-01-01 00:00:00 UTC"
END
    certtool --generate-certificate --load-privkey "$ca/alice/clientkey.pem" \
        --load-ca-certificate "$ca/cacert.pem" --load-ca-privkey "$ca/cakey.pem" \
        --template "$work/template" --outfile "$work/late/clientcert.pem"
}

wrong_name_is_found_out()
{
    ! gnutls "$port" "$ca/alice" --verify-hostname=elsewhere &&
        ! openssl_client "$port" "$ca/alice" -verify_hostname elsewhere
}

# A save goes on while its client's certificate is revoked and the server's is replaced; who comes
# then finds the new ones.
certificates_change_under_a_stream()
{
    local slow before
    cp -r "$ca/alice" "$work/alice" && before=$(openssl x509 -in "$host/servercert.pem" -noout -serial)
    "$top/run" virstream -c "test+tls://localhost:$port/?pkipath=$work/alice" save -q --rate 64K \
        test1 "$work/slow.image" &
    slow=$!
    wait_until 10 is_paused test1 && virstream pki issue -q "$ca" --client carol &&
        virstream pki revoke -q "$ca" alice && virstream pki revoke -q "$ca" localhost &&
        virstream pki issue -q "$ca" --host localhost || return
    : >"$work/strict.log"
    kill -HUP "$(cat "$work/strict.pid")"
    logged strict "have been loaded again" && refused openssl_client "$work/alice" "was revoked" &&
        openssl_client "$port" "$ca/carol" && serves_another_than "$before" &&
        kill -0 "$slow" && wait "$slow" && virstream image check "$work/slow.image"
}

is_paused()
{
    virstream -c "test+unix://$work/strict.socket" info "$1" | grep -qx "state: *paused"
}

serves_another_than()
{
    local now
    now=$(openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | openssl x509 -noout -serial)
    [ -n "$now" ] && [ "$now" != "$1" ]
}

# ---- logins ----

# login PARAMETERS: lists domains with a password, in TLS
login()
{
    contains test1 virstream -c \
        "test+tls://alice@localhost:$((port + 1))/?ca=$ca/cacert.pem&password-file=$work/password$1" \
        list
}

# Waits for a byte that never comes: what saslauthd will ask.
make_silence()
{
    mkfifo "$work/words" && { "$VIRSTREAM_BUILD/tests/e2e/relay" 0 "$work/login.socket" \
        <"$work/words" >"$work/silence" & disown; exec 8>"$work/words"; } && echo hold >&8 &&
        wait_until 10 test -s "$work/silence"
}

start_saslauthd()
{
    mkdir "$work/auth" && make_silence || return
    setsid saslauthd -d -a rimap -O "127.0.0.1/$(head -n 1 "$work/silence")" -m "$work/auth" -n 2 \
        >/dev/null 2>&1 8>&- &
    saslauthd=$!
    disown
    wait_until 10 test -S "$work/auth/mux"
}

# PLAIN asks saslauthd, which asks what never answers; everybody else is served meanwhile.
hanging_logins_slow_nobody()
{
    local pids=() pid status=0
    for _ in 1 2 3 4 5 6; do
        login "&mech=PLAIN&timeout=60" >/dev/null 2>&1 &
        pids+=($!)
    done
    sleep 1
    for _ in 1 2 3 4 5; do
        login "&mech=SCRAM-SHA-256" && gnutls "$((port + 1))" none || status=1
    done
    for pid in "${pids[@]}"; do
        kill -0 "$pid" 2>/dev/null || { echo "a login of PLAIN did not hang"; status=1; }
        kill "$pid" 2>/dev/null
    done
    return $status
}

offers()
{
    openssl_client "$((port + 1))" none && grep -qaw -- "$1" "$work/out"
}

kerberos_is_there()
{
    compgen -G '/usr/lib*/sasl2/libgssapi*' || compgen -G '/usr/lib/*/sasl2/libgssapi*'
}

# ---- metrics ----

# The page of the metrics, head and all.
fetch()
{
    exec 9<>"/dev/tcp/127.0.0.1/$((port + 2))" || return
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&9
    tr -d '\r' <&9
    exec 9>&-
}

check_metrics()
{
    "$top/tests/e2e/check-metrics"
}

checker_refuses()
{
    local page="# HELP a_total x\n# TYPE a_total counter\n" line
    printf "${page}a_total{b=\"c\\\\\\\\\\\\\"\\\\n,\"} 1\na_total 2.5e3 12\n" | check_metrics || return
    for line in 'a_total' 'a_total x' 'a_total  1' 'a_total{b="c} 1' 'a_total{b="\x"} 1' \
        'a_total{b="c" c="d"} 1' 'a_total{b="c",b="d"} 1' 'a_total{__b="c"} 1' 'a_total -1' \
        'b 1' '1a 1' 'a_total 1\na_total 2' '# TYPE a_total counter' '# HELP a_total y' \
        '# HELP b x\n# TYPE b counter\nb 1' '# HELP b x\n# TYPE b gauge\nb 1\na_total 1' \
        '# TYPE b histogram' 'a_total 1\r'; do
        line=${line//\\x/\\\\x}
        if printf "${page}$line\n" | check_metrics >/dev/null; then
            echo "taken for good: $line"
            return 1
        fi
    done
    ! check_metrics </dev/null >/dev/null
}

# After all that has happened here.
metrics_are_good()
{
    fetch >"$work/page" && grep -qi '^content-type: text/plain; version=0.0.4' "$work/page" &&
        sed '1,/^$/d' "$work/page" | check_metrics && grep -q '^virstream_' "$work/page"
}

check identities_are_made  make_identities
configure strict "$port" yes '[metrics]' "listen = 127.0.0.1:$((port + 2))"
configure login "$((port + 1))" no '[sasl]' 'mechanisms = SCRAM-SHA-256 PLAIN GSSAPI' \
    "database = $work/users" "saslauthd = $work/auth/mux"
check daemon_begins  start_daemon strict

if command -v gnutls-cli >/dev/null && command -v certtool >/dev/null; then
    expire >/dev/null 2>&1
    check gnutls_is_let_in  gnutls "$port" "$ca/alice"
    check gnutls_without_a_certificate_is_refused  refused gnutls none certificate
    check gnutls_of_another_authority_is_refused  refused gnutls "$work/other/mallory" "is signed by"
    check gnutls_too_late_is_refused  refused gnutls "$work/late" "expired"
    check gnutls_revoked_is_refused  refused gnutls "$work/bob" "was revoked"
    check gnutls_with_an_older_version_is_refused  refused gnutls "$ca/alice" \
        "does not speak TLS 1.3" --priority=NORMAL:-VERS-ALL:+VERS-TLS1.2
else
    skip gnutls_is_let_in_and_refused_in_five_ways "no gnutls-cli here"
fi
if command -v openssl >/dev/null; then
    check openssl_is_let_in  openssl_client "$port" "$ca/alice"
    check openssl_without_a_certificate_is_refused  refused openssl_client none certificate
    check openssl_of_another_authority_is_refused  refused openssl_client "$work/other/mallory" \
        "is signed by"
    check openssl_too_late_is_refused  refused openssl_client "$work/late" "expired"
    check openssl_revoked_is_refused  refused openssl_client "$work/bob" "was revoked"
    check openssl_with_an_older_version_is_refused  refused openssl_client "$ca/alice" \
        "does not speak TLS 1.3" -tls1_2
    check wrong_host_name_is_found_out_by_both  wrong_name_is_found_out
    check certificates_change_under_a_stream_that_goes_on  certificates_change_under_a_stream
else
    skip openssl_is_let_in_and_refused_in_five_ways "no openssl here"
    skip certificates_change_under_a_stream_that_goes_on "no openssl here"
fi

if command -v saslauthd >/dev/null; then
    check saslauthd_begins  start_saslauthd
    check daemon_with_logins_begins  start_daemon login
    check user_of_saslpasswd2_logs_in  login "&mech=SCRAM-SHA-256"
    check wrong_password_is_refused  exits 4 virstream -c \
        "test+tls://alice@localhost:$((port + 1))/?ca=$ca/cacert.pem&password-file=$work/wrong&mech=SCRAM-SHA-256" \
        list
    check mechanisms_are_offered_to_openssl  offers SCRAM-SHA-256-PLUS
    if kerberos_is_there >/dev/null; then
        check kerberos_is_offered_where_its_plugin_is  offers GSSAPI
    else
        skip kerberos_is_offered_where_its_plugin_is "no GSSAPI plugin here"
    fi
    check saslauthd_that_hangs_slows_nobody_else  hanging_logins_slow_nobody
    kill -KILL -- "-$saslauthd" # it and what it has begun: one that hangs does not hear TERM
else
    skip user_of_saslpasswd2_logs_in "no saslauthd here"
    skip saslauthd_that_hangs_slows_nobody_else "no saslauthd here"
fi

check checker_of_metrics_knows_what_is_wrong  checker_refuses
check metrics_keep_to_the_text_format  metrics_are_good
exec 8>&-
for pid in $(processes | grep virstreamd | cut -d' ' -f1); do
    kill -TERM "$pid"
done
check no_process_left  wait_until 10 no_process_left
end_tests
