#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The model of the hand-over, with one trouble at any moment. "make model" checks it with more, and
# that planted bugs are found.
. "$(dirname "$0")/tap.sh"

manual_shows_the_tables()
{
    run tests/model/print-handover markdown >tables || return
    tail -n "$(wc -l <tables)" "$top/docs/handover.md" | diff - tables
}

# They have to keep up with the tables, or "make model" ends there.
bugs_can_be_planted()
{
    local patch
    for patch in "$top"/tests/bugs/handover-*.patch; do
        patch -s -p1 --dry-run --fuzz=0 -d "$top" <"$patch" || {
            echo "$patch"
            return 1
        }
    done
}

cd "$work" || exit 1
check the_manual_shows_the_tables_that_run manual_shows_the_tables
if command -v patch >/dev/null; then
    check every_planted_bug_fits_the_tables bugs_can_be_planted
else
    skip every_planted_bug_fits_the_tables "no patch(1) here"
fi
if command -v spin >/dev/null && command -v "${CC-cc}" >/dev/null; then
    check one_trouble_breaks_no_rule_of_the_hand_over \
        "$top/tests/model/check" "$VIRSTREAM_BUILD/tests/model/print-handover" 1
else
    skip one_trouble_breaks_no_rule_of_the_hand_over "spin or a compiler is not there"
fi
end_tests
