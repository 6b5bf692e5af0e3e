#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the vectors of this directory from remote/PROTOCOL.md, without the library's code; and
what the peer sends in them as inputs for tests/fuzz/fuzz-greeting.

Each file is a greeting as one side sees it:

    we server [login]        which side is looked at, and whether it asks for, or can offer, a login
    > BYTES                  sent to it
    < BYTES                  it sends this; of what ends in `...` only the type is compared
    ends CODE                what came of it

BYTES are hex digits. The HELLO that our side sends has the values that the test gives it.
"""
import ctypes
import os
import struct

xxh = ctypes.CDLL("libxxhash.so.0")
xxh.XXH3_64bits.restype = ctypes.c_uint64
xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

NUMBER = {"HELLO": 1, "AUTH_START": 2, "AUTH_STEP": 3, "AUTH_DONE": 4, "CALL": 16, "ERROR": 18,
          "PING": 49}
cases = {}


def crc(data):
    """CRC-16/XMODEM"""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x1021 if value & 0x8000 else 0)) & 0xffff
    return value


def head(kind, body):
    start = struct.pack(">IBB", len(body), NUMBER[kind], 0)
    end = struct.pack(">II", 0, xxh.XXH3_64bits(body, len(body)) & 0xffffffff or 1)
    return start + struct.pack(">H", crc(start + end)) + end


def sent(kind, body=b""):
    return ">", kind, body


def got(kind, body=None):
    return "<", kind, body


def case(name, why, us, *lines):
    assert name not in cases, name
    cases[name] = (why, us, lines)


HELLO = b'"software":"tester 9","window":65536'
client_hello = sent("HELLO", b'{"version":1,"driver":"test",' + HELLO + b"}")
server_hello = sent("HELLO", b'{"version":1,"streams":3,' + HELLO + b"}")
our_client = got("HELLO", b'{"version":1,"oldest":1,"software":"tester 1","driver":"test",'
                          b'"window":100000,"streams":0}')
our_server = got("HELLO", b'{"version":1,"oldest":1,"software":"tester 2","window":200000,'
                          b'"streams":7}')
login_hello = sent("HELLO", b'{"version":1,"streams":3,"mechanisms":"SCRAM-SHA-256",' + HELLO + b"}")
start = sent("AUTH_START", b'{"mechanism":"SCRAM-SHA-256","data":"biwsbj1hbGljZSxyPWFiYw=="}')
server, client = "we server", "we client"
refused = got("ERROR"), "ends protocol"

case("hello", "a client is let in", server, our_server, client_hello, got("AUTH_DONE", b"{}"),
     "ends ok")
case("hello-client", "and as it sees it", client, our_client, server_hello, sent("AUTH_DONE", b"{}"),
     "ends ok")
case("hello-newer", "it speaks version 1, too", server, our_server,
     sent("HELLO", b'{"version":7,"oldest":1,"driver":"test",' + HELLO + b"}"), got("AUTH_DONE"),
     "ends ok")
case("hello-too-new", "it does not", server, our_server,
     sent("HELLO", b'{"version":7,"oldest":2,"driver":"test",' + HELLO + b"}"), got("ERROR"),
     "ends incompatible")
case("hello-more", "unknown members are ignored", server, our_server,
     sent("HELLO", b'{"version":1,"driver":"test","x":{"y":[1]},' + HELLO + b"}"),
     got("AUTH_DONE"), "ends ok")
case("hello-no-driver", "a client says what it wants", server, our_server, server_hello, *refused)
case("hello-no-streams", "a server says how many", client, our_client, client_hello,
     "ends protocol")
case("hello-window", "a window of 16 KiB at least", server, our_server,
     sent("HELLO", b'{"version":1,"driver":"test","software":"x","window":16383}'), *refused)
case("hello-twice", "a name is given once", server, our_server,
     sent("HELLO", b'{"version":1,"version":1,"driver":"test",' + HELLO + b"}"), *refused)
case("hello-not-first", "HELLO comes first", server, our_server, sent("PING", bytes(8)), *refused)
case("hello-error", "the server refuses", client, our_client,
     sent("ERROR", b'{"code":"busy","text":"full"}'), "ends busy")
case("auth-not-asked-for", "a server asks for a login, or there is none", server, our_server,
     sent("AUTH_START", b'{"mechanism":"PLAIN"}'), *refused)
case("auth-step", "an answer of the mechanism", server + " login", got("HELLO"), client_hello, start,
     got("AUTH_STEP"), sent("AUTH_STEP", b"nonsense"), got("ERROR"), "ends auth")
case("auth-not-offered", "one of those offered", server + " login", got("HELLO"), client_hello,
     sent("AUTH_START", b'{"mechanism":"PLAIN","data":"AGEAYg=="}'), got("ERROR"), "ends auth")
case("auth-base64", "data is base64", server + " login", got("HELLO"), client_hello,
     sent("AUTH_START", b'{"mechanism":"SCRAM-SHA-256","data":"?"}'), *refused)
case("auth-step-first", "AUTH_START comes first", server + " login", got("HELLO"), client_hello,
     sent("AUTH_STEP", b"x"), *refused)
case("auth-call-first", "no calls before the login", server + " login", got("HELLO"), client_hello,
     sent("CALL", b"{}"), *refused)
case("auth-client", "a client begins with one of the mechanisms", client + " login", our_client,
     login_hello, got("AUTH_START"), sent("ERROR", b'{"code":"auth","text":"no"}'), "ends auth")
case("auth-done-early", "a server that proves nothing", client + " login", our_client, login_hello,
     got("AUTH_START"), sent("AUTH_DONE", b'{"user":"alice"}'), "ends auth")
case("auth-no-means", "a login is asked for, and nothing is there to log in with", client, our_client,
     login_hello, "ends auth")


def line(entry):
    if isinstance(entry, str):
        return entry
    way, kind, body = entry
    if body is None:
        return "%s %02x ..." % (way, NUMBER[kind])
    first = head(kind, body)
    parts = [first[:4], first[4:5], first[5:6], first[6:8], first[8:12], first[12:], body]
    return " ".join([way] + [part.hex() for part in parts]).strip()


here = os.path.dirname(os.path.abspath(__file__))
corpus = os.path.join(here, "../../fuzz/corpus/greeting")
for name, (why, us, lines) in cases.items():
    how = us.startswith(server) | us.endswith("login") << 1 | 7 << 2
    frames = [e[1:] for e in lines if isinstance(e, tuple) and e[0] == ">"]
    with open(os.path.join(corpus, name), "wb") as out:
        out.write(bytes([how]) + b"".join(head(kind, body) + body for kind, body in frames))
    with open(os.path.join(corpus, name + "-bodies"), "wb") as out:
        out.write(bytes([how | 32]) + b"".join(
            struct.pack(">BH", NUMBER[kind], len(body)) + body for kind, body in frames))
    with open(os.path.join(here, name + ".greeting"), "w") as out:
        out.write("# %s\n%s\n%s\n" % (why, us, "\n".join(map(line, lines))))
