#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What "make install" gives: an application elsewhere finds, compiles against and runs the library.
. "$(dirname "$0")/tap.sh"

cd "$work" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
CC=${CC:-cc}

installs()
{
    make -s -C "$VIRSTREAM_BUILD" install DESTDIR="$work/root" && set_paths
}

set_paths()
{
    local pc
    pc=$(find "$work/root" -name virstream.pc)
    [ -f "$pc" ] && pkgconfig=${pc%/*} && libdir=${pkgconfig%/*}
}

compiles()
{
    cat >app.c <<END
#include <virstream/virstream.h>
#include <stdio.h>

int main(void)
{
    return puts(vst_code_name(VST_ERR_DAMAGED)) < 0;
}
END
    # shellcheck disable=SC2046 # they are several words
    $CC -Wall -Werror app.c -o app \
        $(PKG_CONFIG_PATH=$pkgconfig pkg-config --define-prefix --cflags --libs virstream)
}

runs()
{
    [ "$(LD_LIBRARY_PATH=$libdir ./app)" = damaged ]
}

installs_all_headers()
{
    diff <(cd "$top/include" && find virstream -name '*.h' | sort) \
        <(cd "${libdir%/lib*}/include" && find virstream -name '*.h' | sort)
}

command_runs()
{
    [ "$(LD_LIBRARY_PATH=$libdir "${libdir%/lib*}/bin/virstream" --version)" = \
        "$(run virstream --version)" ]
}

# A path to the build directory in an installed program would be looked into by whoever runs it.
looks_nowhere_else()
{
    readelf -d "${libdir%/lib*}/bin/virstream" "$libdir/libvirstream.so" >"$work/needs" &&
        grep -q libvirstream "$work/needs" && ! grep -F "$VIRSTREAM_BUILD/.libs" "$work/needs"
}

uninstalls()
{
    make -s -C "$VIRSTREAM_BUILD" uninstall DESTDIR="$work/root" || return
    [ -z "$(find "$work/root" -type f | tee /dev/stderr)" ]
}

check install_works  installs
check every_public_header_is_installed  installs_all_headers
check application_compiles_with_pkg_config  compiles
check application_runs  runs
check installed_command_runs  command_runs
check installed_command_looks_for_no_library_in_the_build_directory  looks_nowhere_else
check uninstall_leaves_no_file  uninstalls
end_tests
