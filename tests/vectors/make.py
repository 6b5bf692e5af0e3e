#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the image vectors of this directory from docs/image-format.md, without the library's code.

The vectors are kept; this shows where they come from, and makes new ones for a new version.
"""
import ctypes
import os
import struct

xxh = ctypes.CDLL("libxxhash.so.0")
xxh.XXH3_64bits.restype = ctypes.c_uint64
xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


class Sum(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxh.XXH3_128bits.restype = Sum
xxh.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

HEADER, DATA, END, MAY_SKIP = 1, 2, 3, 0x80000000


def check(data):
    return struct.pack(">Q", xxh.XXH3_64bits(data, len(data)))


def preamble(version=1, flags=0):
    first = b"virstrm\n" + struct.pack(">II", version, flags)
    return first + check(first)


def record(number, kind, payload):
    covered = struct.pack(">QII", number, kind, len(payload)) + payload
    return struct.pack(">II", kind, len(payload)) + check(covered) + payload


def end(number, data):
    total = xxh.XXH3_128bits(data, len(data))
    return record(number, END,
                  struct.pack(">QQQQ", len(data), number, total.high, total.low))


def image(*records, start=preamble()):
    data = b"".join(payload for kind, payload in records if kind == DATA)
    body = b"".join(record(i, *r) for i, r in enumerate(records))
    return start + body + end(len(records), data)


HELLO = (HEADER, b'{"name":"g1"}'), (DATA, b"hello, "), (DATA, b"world\n")

VECTORS = {
    "hello": image(*HELLO),
    "nothing": image(),
    "skip": image(HELLO[0], (MAY_SKIP | 7, b"a note"), *HELLO[1:]),
    "bad-type": image(HELLO[0], (7, b"a note"), *HELLO[1:]),
    "bad-version": image(*HELLO, start=preamble(version=2)),
    "bad-flags": image(*HELLO, start=preamble(flags=1)),
}

if __name__ == "__main__":
    for name, data in VECTORS.items():
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".image")
        with open(path, "wb") as file:
            file.write(data)
