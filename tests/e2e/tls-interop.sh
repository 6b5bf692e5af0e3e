#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The TLS layer with the clients of others, gnutls-cli and openssl s_client, under its rules: TLS 1.3
# and nothing else, certificates of the right authority, in time and not revoked.
. "$(dirname "$0")/lib.sh"

ca=$work/ca
alice=$ca/alice
bob=$work/bob
other=$work/other/mallory

# serve [optional]: sets port; what the server says goes to $server
served=0
serve()
{
    cp "$ca/cacrl.pem" "$ca/host.example"
    served=$((served + 1))
    server=$work/server.$served
    "$VIRSTREAM_BUILD/tests/e2e/tls-echo" "$ca/host.example" "$@" >"$server" &
    disown
    wait_until 20 test -s "$server"
    port=$(head -n 1 "$server")
}

server_says()
{
    wait_until 5 grep -qF -- "$1" "$server" && return
    cat "$server"
    return 1
}

# gnutls DIRECTORY ARGUMENTS...: a hand-shake, and "question" there and back
gnutls()
{
    local dir=$1
    shift
    (echo question; sleep 1) | timeout 20 gnutls-cli --logfile="$work/cli.log" -p "$port" \
        --x509cafile="$dir/cacert.pem" --verify-hostname=host.example \
        ${dir:+--x509certfile="$dir/clientcert.pem" --x509keyfile="$dir/clientkey.pem"} \
        "$@" 127.0.0.1 >"$work/out" 2>&1
    local status=$?
    cat "$work/out" "$work/cli.log"
    [ "$status" = 0 ] && grep -qx question "$work/out"
}

# openssl_client DIRECTORY ARGUMENTS...: the same
openssl_client()
{
    local dir=$1
    shift
    (echo question; sleep 1) | timeout 20 openssl s_client -connect "127.0.0.1:$port" -quiet -no_ign_eof \
        -CAfile "$dir/cacert.pem" -verify_return_error -verify_hostname host.example \
        -cert "$dir/clientcert.pem" -key "$dir/clientkey.pem" "$@" >"$work/out" 2>"$work/err"
    local status=$?
    cat "$work/out" "$work/err"
    [ "$status" = 0 ] && grep -qx question "$work/out"
}

fails()
{
    ! "$@"
}

end_is_announced()
{
    openssl_client "$alice" && server_says "CN=alice TLS1.3" && server_says "end"
}

refuses_revoked()
{
    virstream pki issue -q "$ca" --client bob && cp -r "$ca/bob" "$bob" &&
        virstream pki revoke -q "$ca" bob && serve &&
        fails gnutls "$bob" && server_says "(CN=bob) was revoked, as " &&
        fails openssl_client "$bob" && grep -q "certificate revoked" "$work/err"
}

optional_may_be_nobody()
{
    serve optional
    (echo question; sleep 1) | timeout 20 openssl s_client -connect "127.0.0.1:$port" -quiet -no_ign_eof \
        -CAfile "$ca/cacert.pem" >"$work/out" 2>&1
    grep -qx question "$work/out" && server_says "nobody TLS1.3"
}

virstream pki init -q "$ca"
virstream pki issue -q "$ca" --host host.example
virstream pki issue -q "$ca" --client alice
virstream pki init -q "$work/other"
virstream pki issue -q "$work/other" --client mallory
cp "$ca/cacert.pem" "$other/cacert.pem"
serve

if command -v gnutls-cli >/dev/null; then
    check gnutls_is_let_in  gnutls "$alice"
    check gnutls_of_another_authority_is_refused  fails gnutls "$other"
    check stranger_is_named  server_says "(CN=mallory) is signed by "
    check gnutls_with_older_version_is_refused  fails gnutls "$alice" \
        --priority=NORMAL:-VERS-ALL:+VERS-TLS1.2
    check older_version_is_named  server_says "does not speak TLS 1.3"
else
    skip gnutls_is_let_in "no gnutls-cli here"
fi
if command -v openssl >/dev/null; then
    check openssl_is_let_in  openssl_client "$alice"
    check openssl_of_another_authority_is_refused  fails openssl_client "$other"
    check openssl_with_older_version_is_refused  fails openssl_client "$alice" -tls1_2
    check end_is_announced_both_ways  end_is_announced
    check revoked_client_is_refused  refuses_revoked
    check client_may_be_nobody_if_that_is_wanted  optional_may_be_nobody
else
    skip openssl_is_let_in "no openssl here"
fi
end_tests
