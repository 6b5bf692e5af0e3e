#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# That "make dist" leaves nothing out. ("make distcheck", which takes longer, builds what is in it.)
. "$(dirname "$0")/tap.sh"

unset MAKEFLAGS MFLAGS MAKELEVEL

git -C "$top" ls-files >"$work/tracked" 2>/dev/null || skip_all "not a git checkout"

packs()
{
    make -s -C "$VIRSTREAM_BUILD" distdir top_distdir="$work/dist" distdir="$work/dist"
}

# What only a git checkout needs is not in the archive.
holds_every_file()
{
    (cd "$work/dist" && find . -type f | sed 's|^\./||') | sort >"$work/packed"
    grep -vE '^(\.ci/|\.editorconfig$|\.gitignore$)' "$work/tracked" | sort |
        comm -23 - "$work/packed" >"$work/left-out"
    [ ! -s "$work/left-out" ] && return
    echo "not in any list of Makefile.am:"
    cat "$work/left-out"
    return 1
}

check archive_is_packed  packs
check archive_holds_every_file  holds_every_file
end_tests
