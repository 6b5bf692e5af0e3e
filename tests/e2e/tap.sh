# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What every end-to-end test starts with: TAP, a private directory, and a clean-up that ends every
# process that the test left in it. A test reads
#
#     #!/bin/bash
#     . "$(dirname "$0")/tap.sh"
#     check saved_guest_is_gone  virstream -c "$uri" info g1 ...
#     end_tests
#
# A test that stops before end_tests has no plan, which is an error.

set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export VIRSTREAM_BUILD=${VIRSTREAM_BUILD:-$top/build}
work=$(mktemp -d "${TMPDIR:-/tmp}/virstream-test.XXXXXX") || exit 1
test_count=0
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

# The programs under test, by the path that the build gives them: `run virstream list`.
run()
{
    "$top/run" "$@"
}

# check SENTENCE COMMAND...: one test; what the command says is shown when it fails
check()
{
    local sentence=$1 status
    shift
    test_count=$((test_count + 1))
    "$@" >"$work/.said" 2>&1
    status=$?
    if [ "$status" = 0 ]; then
        echo "ok $test_count - $sentence"
    else
        echo "not ok $test_count - $sentence"
        echo "# exit status $status of: $*"
        awk '{ print "# " $0 }' "$work/.said" # its last line may have no end
    fi
}

# exits STATUS COMMAND...: succeeds when the command ends with just this status
exits()
{
    local wanted=$1 status=0
    shift
    "$@" || status=$?
    [ "$status" = "$wanted" ] && return
    echo "exit status $status, not $wanted"
    return 1
}

# skip SENTENCE REASON: in the place of a check that cannot be made here
skip()
{
    test_count=$((test_count + 1))
    echo "ok $test_count - $1 # SKIP $2"
}

# skip_all REASON: in the place of all checks; only before the first
skip_all()
{
    echo "1..0 # SKIP $1"
    exit 0
}

# fail_all REASON: what every check rests on is broken, and is ours; only before the first
fail_all()
{
    echo "not ok 1 - $1"
    echo "1..1"
    exit 0
}

end_tests()
{
    echo "1..$test_count"
    exit 0
}

# True under "make check-long".
is_long()
{
    [ -n "${VST_TEST_LONG-}" ]
}

# wait_until SECONDS COMMAND...: until the command succeeds
wait_until()
{
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# Prints "PID COMMAND LINE" of each process that names this test's directory, or writes there: a
# guest's QEMU is given its files open, and names none of them.
processes()
{
    local path line
    for path in /proc/[0-9]*; do
        line="$({ tr "\\0" " " <"$path/cmdline"; readlink "$path/fd/1"; } 2>/dev/null)"
        path=${path#/proc/}
        [ "$path" != $$ ] && case $line in *"$work"*) echo "$path" $line ;; esac
    done
}

# A check of its own at the end of most tests: nothing that was started still runs.
no_process_left()
{
    [ -z "$(processes | tee /dev/stderr)" ]
}

clean_up()
{
    local pid
    for pid in $(processes | cut -d' ' -f1); do
        kill -KILL "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
