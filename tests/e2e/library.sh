#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What others see of the library: its symbols and its headers.
. "$(dirname "$0")/tap.sh"

CC=${CC:-cc}
CXX=${CXX:-c++}
mapfile -t headers < <(cd "$top/include" && printf '%s\n' virstream/*.h)
library=$VIRSTREAM_BUILD/.libs/libvirstream.so

nm -D --defined-only --format=posix "$library" | sed -nE 's/^(vst_\w+)@.*/\1/p' |
    sort >"$work/exported"
sed -nE 's/^ +(vst_\w+);$/\1/p' "$top/core/virstream.map" | sort >"$work/listed"
(cd "$top/include" && sed -nE '/^static/d; s/^[a-z][a-z_ 0-9]*[ *]+(vst_\w+)\(.*/\1/p' "${headers[@]}") |
    sort >"$work/declared"

exports_nothing_else()
{
    ! nm -D --defined-only --format=posix "$library" | grep -vE '^(vst_\w+@|VIRSTREAM_)'
}

stands_alone()
{
    local compiler=$1 language=$2 header
    for header in "${headers[@]}"; do
        echo "#include <$header>" |
            $compiler -x "$language" -Wall -Wextra -Werror -fsyntax-only -I"$top/include" - ||
            return
    done
}

check listed_symbols_are_exported  diff "$work/listed" "$work/exported"
check declared_functions_are_exported  diff "$work/declared" "$work/exported"
check only_public_symbols_are_exported  exports_nothing_else
check each_header_stands_alone_in_c  stands_alone "$CC -std=c11" c
if command -v "${CXX%% *}" >/dev/null; then
    check each_header_stands_alone_in_cxx  stands_alone "$CXX -std=c++11" c++
else
    skip each_header_stands_alone_in_cxx "no C++ compiler"
fi
end_tests
