#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# virstream pki: an authority, what it issues and revokes, and the check of it; verified by openssl
# too, where it is installed.
. "$(dirname "$0")/lib.sh"

ca=$work/ca
host=$ca/hostb.example

# says STATUS TEXT COMMAND...: ends with that status, and says that
says()
{
    local status=$1 text=$2
    shift 2
    exits "$status" "$@" >"$work/out" 2>&1 || { cat "$work/out"; return 1; }
    cat "$work/out"
    grep -qF -- "$text" "$work/out"
}

has_mode()
{
    [ "$(stat -c %a "$1")" = "$2" ]
}

issues_for_a_host()
{
    virstream pki issue "$ca" --host hostb.example --host hostb --ip 10.0.0.2 --ip fd00::2 &&
        [ "$(cd "$host" && echo *)" = "cacert.pem cacrl.pem servercert.pem serverkey.pem" ] &&
        has_mode "$host/serverkey.pem" 600
}

issues_for_a_client()
{
    virstream pki issue "$ca" --client alice --uri urn:example:alice &&
        [ "$(cd "$ca/alice" && echo *)" = "cacert.pem cacrl.pem clientcert.pem clientkey.pem" ]
}

keeps_what_there_is()
{
    local before
    before=$(sha256sum "$host"/*)
    says 6 "exists, and is not overwritten" virstream pki issue "$ca" --host hostb.example &&
        [ "$(sha256sum "$host"/*)" = "$before" ]
}

key_of_another_is_told()
{
    cp -r "$host" "$work/mixed"
    cp "$ca/cakey.pem" "$work/mixed/serverkey.pem"
    says 4 "is not the key of the certificate" virstream pki check "$work/mixed"
}

authority_of_another_is_told()
{
    virstream pki init -q "$work/other"
    cp -r "$host" "$work/strange"
    cp "$work/other/cacert.pem" "$work/other/cacrl.pem" "$work/strange"
    says 4 "is not signed by the authority" virstream pki check "$work/strange"
}

readable_key_is_told()
{
    chmod 640 "$host/serverkey.pem"
    says 4 "others can use it: chmod 600" virstream pki check "$host"
    local status=$?
    chmod 600 "$host/serverkey.pem"
    return $status
}

# Another authority may stand beside it, in any order, also one that has ended.
bundle_is_read_whole()
{
    virstream pki init -q "$work/other-ca" && cp -r "$host" "$work/bundle" || return
    cat "$work/other-ca/cacert.pem" "$ca/cacert.pem" >"$work/bundle/cacert.pem"
    cat "$work/other-ca/cacrl.pem" "$ca/cacrl.pem" >"$work/bundle/cacrl.pem"
    says 0 ", and 1 more" virstream pki check "$work/bundle" || return
    cp "$work/other-ca/cacert.pem" "$work/bundle/cacert.pem"
    says 4 "is not signed by the authority" virstream pki check "$work/bundle"
}

faults_are_json_too()
{
    says 4 '"good":false' virstream --json pki check "$work/bundle" &&
        [ "$(virstream --json pki check "$host" --host zz | wc -l)" = 1 ] &&
        says 4 "2 of its files would not do" virstream pki check "$work/bundle"
}

half_a_pair_is_told()
{
    cp -r "$host" "$work/half"
    rm "$work/half/serverkey.pem"
    says 4 "is missing" virstream pki check "$work/half"
}

revokes()
{
    virstream pki revoke "$ca" alice && [ ! -e "$ca/alice" ] &&
        says 0 "1 revoked" virstream pki check "$ca" &&
        cp "$ca/cacrl.pem" "$ca"/revoked/alice-*/ &&
        says 4 "was revoked" virstream pki check "$ca"/revoked/alice-*
}

issues_again_and_revokes_again()
{
    virstream pki issue -q "$ca" --client alice && virstream pki revoke -q "$ca" alice &&
        says 0 "2 revoked" virstream pki check "$ca"
}

openssl_agrees()
{
    openssl verify -x509_strict -crl_check -CRLfile "$ca/cacrl.pem" -CAfile "$ca/cacert.pem" \
        -purpose sslserver -verify_hostname hostb "$host/servercert.pem" &&
        openssl verify -CAfile "$ca/cacert.pem" -purpose sslclient "$host/servercert.pem" &&
        openssl verify -CAfile "$ca/cacert.pem" -purpose sslserver -verify_ip 10.0.0.2 \
            "$host/servercert.pem" &&
        ! openssl verify -crl_check -CRLfile "$ca/cacrl.pem" -CAfile "$ca/cacert.pem" \
            "$(ls -d "$ca"/revoked/alice-* | head -n 1)/clientcert.pem"
}

check authority_is_made  virstream pki init "$ca"
check authority_keeps_its_key_to_itself  has_mode "$ca/cakey.pem" 600
check authority_is_not_made_twice  says 6 "exists, and is not overwritten" virstream pki init "$ca"
check authority_is_good  says 0 "is the key of the certificate" virstream pki check "$ca"
check host_gets_all_it_needs  issues_for_a_host
check client_gets_all_it_needs  issues_for_a_client
check nothing_is_overwritten  keeps_what_there_is
check host_is_good_by_each_name  virstream pki check "$host" --host hostb --ip fd00::2
check other_names_are_told  says 4 "is not for hostc, zz, 10.9.9.9" \
    virstream pki check "$host" --host hostc --host hostb --host zz --ip 10.9.9.9
check other_key_is_told  key_of_another_is_told
check other_authority_is_told  authority_of_another_is_told
check readable_key_is_told  readable_key_is_told
check bundle_of_authorities_is_read_whole  bundle_is_read_whole
check faults_are_told_as_json_too  faults_are_json_too
check missing_key_is_told  half_a_pair_is_told
check revoked_is_told  revokes
check name_is_free_after_revocation  issues_again_and_revokes_again
check nobody_is_wrong_usage  says 2 "for whom?" virstream pki issue "$ca"
check path_is_no_name  says 2 "is not the name of a client" virstream pki issue "$ca" --client ../x
check bad_address_is_wrong_usage  says 2 "is not an IP address" virstream pki issue "$ca" --ip 10.0.0
check empty_directory_is_not_found  says 5 "no certificates there" virstream pki check "$work"
check unknown_name_is_not_found  says 5 "nothing was issued there" virstream pki revoke "$ca" bob
check json_is_one_object  says 0 '{"pki":[{"file":"cacert.pem","good":true' \
    virstream --json pki check "$ca"
if command -v openssl >/dev/null; then
    check openssl_agrees  openssl_agrees
else
    skip openssl_agrees "no openssl here"
fi
end_tests
