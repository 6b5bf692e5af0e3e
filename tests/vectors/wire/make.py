#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the vectors of this directory from remote/PROTOCOL.md, without the library's code; and
what the peer sends in them as inputs for tests/fuzz/fuzz-frames.

Each file is a conversation with one side of a connection, from after its greeting on:

    we server window=4096    which side is looked at, and what it granted in its HELLO
    > BYTES                  sent to it
    < BYTES                  it sends this frame
    < TYPE ID ...            it sends a frame of which only this is looked at
    do call up               the application makes a call whose stream has these directions
    do feed 1 BYTES          ... gives all that the stream of call 1 is to send, and its end
    do drain 1               ... reads what comes for call 1, up to its end
    do drop 1                ... reads nothing any more
    do taken 1, do reply 1   ... has taken it all; answers
    do answered 1            ... has seen the answer
    do finish                ... ends the connection
    do end                   the peer ends the transport
    open, ends CODE          the connection is well; or has ended, with this error

BYTES are hex digits; XX*N is N times the byte XX. The bodies of CALLs are those of the tests: the
words in them are the directions of the stream that the server opens.
"""
import ctypes
import os
import re
import struct

xxh = ctypes.CDLL("libxxhash.so.0")
xxh.XXH3_64bits.restype = ctypes.c_uint64
xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

NUMBER = {
    "HELLO": 1, "AUTH_START": 2, "AUTH_STEP": 3, "AUTH_DONE": 4,
    "CALL": 16, "REPLY": 17, "ERROR": 18, "STARTED": 19,
    "DATA": 32, "HOLE": 33, "CREDIT": 34, "END": 35, "TAKEN": 36, "STOP": 37,
    "EVENT": 48, "PING": 49, "PONG": 50, "GOAWAY": 51,
}
STOP = b'{"code":"cancelled","text":"no"}'
cases = {}


def crc(data):
    """CRC-16/XMODEM"""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x1021 if value & 0x8000 else 0)) & 0xffff
    return value


def body_sum(body):
    return xxh.XXH3_64bits(body, len(body)) & 0xffffffff or 1


def head(length, kind, number, flags=0, check=None, total=0):
    start = struct.pack(">IBB", length, NUMBER.get(kind, kind), flags)
    end = struct.pack(">II", number, total)
    return start + struct.pack(">H", crc(start + end) if check is None else check) + end


def text(data):
    """Hex, with runs shortened."""
    out, at = [], 0
    while at < len(data):
        run = 1
        while at + run < len(data) and data[at + run] == data[at]:
            run += 1
        if run > 16:
            out.append(" %02x*%d " % (data[at], run))
        else:
            out.append("%02x" % data[at] * run)
        at += run
    return "".join(out).strip()


def frame(kind, number, body=b"", **more):
    if isinstance(body, int):
        body = struct.pack(">Q", body)
    if isinstance(body, tuple):
        body = struct.pack(">II", *body)
    if kind != "DATA":
        more.setdefault("total", body_sum(body))
    start = head(len(body), kind, number, **more)
    return " ".join(filter(None, [start[:4].hex(), "%02x" % start[4], start[5:8].hex(),
                                  start[8:12].hex(), start[12:].hex(), text(body)]))


def sent(*args, **more):
    return "> " + frame(*args, **more)


def got(kind, number, body=None, **more):
    if body is None:
        return "< %02x %08x ..." % (NUMBER[kind], number)
    return "< " + frame(kind, number, body, **more)


def call(number, what=""):
    return sent("CALL", number, b'{"is":"%s"}' % what.encode())


def case(name, why, *lines):
    assert name not in cases, name
    cases[name] = (why, lines)


def broken(name, why, *lines):
    case(name, why, *lines, got("ERROR", 0), "ends protocol")


server, client = "we server", "we client"
small = "we server window=4096"

# ---- heads ----
broken("head-unknown-type", "a type that there is not", server, "> " + head(0, 99, 0).hex())
broken("head-flags", "a flag", server, "> " + head(8, "PING", 0, flags=1).hex())
broken("head-data-flags", "a flag that DATA does not have", server, call(1, "up"),
       sent("DATA", 1, b"a", flags=2))
broken("head-check", "a wrong check", server, "> " + head(8, "PING", 0, check=1).hex())
broken("head-huge", "a length of 4 GiB, or -1", server, "> " + head(0xffffffff, "DATA", 1).hex())
broken("head-too-long", "one byte more than DATA may have", server,
       "> " + head(256 * 1024 + 1, "DATA", 1).hex())
broken("head-empty-data", "DATA without data", server, call(1, "up"), sent("DATA", 1))
broken("head-short-ping", "a PING of 7 bytes", server, sent("PING", 0, bytes(7)))
broken("head-id-missing", "DATA for the connection", server, sent("DATA", 0, b"x"))
broken("head-id-superfluous", "PING for a call", server, sent("PING", 1, 0))

broken("body-sum", "a body that has not its sum", server,
       sent("PING", 0, 1, total=body_sum(bytes(8))))
case("body-not-summed", "a sum of 0 is none", server, sent("PING", 0, 1, total=0),
     got("PONG", 0, 1), "open")
broken("data-sum", "data that has not its sum", server, call(1, "up"),
       sent("DATA", 1, b"hello", total=1))
case("data-summed", "data that has it", server, call(1, "up"),
     sent("DATA", 1, b"hello", total=body_sum(b"hello")), sent("END", 1, 5), "do drain 1",
     "do reply 1", got("REPLY", 1, b'{"result":{}}'), "open")
case("data-summed-ours", "data from us, on a transport that protects nothing",
     server + " sums=1", call(1, "down"), "do feed 1 68656c6c6f",
     got("DATA", 1, b"hello", total=body_sum(b"hello")), got("END", 1, 5), "open")

# ---- who sends what ----
for kind in "HELLO", "AUTH_START", "AUTH_STEP", "AUTH_DONE":
    broken("late-" + kind.lower().replace("_", "-"), "the greeting is over", server,
           sent(kind, 0, b"{}"))
for kind in "REPLY", "STARTED":
    broken("client-sends-" + kind.lower(), "clients do not answer", server, call(1),
           sent(kind, 1, b"{}"))
broken("client-sends-error", "clients do not answer", server, call(1), sent("ERROR", 1, STOP))
broken("client-sends-event", "only servers do", server, sent("EVENT", 0, b"{}"))
broken("server-sends-call", "only clients call", client, sent("CALL", 1, b"{}"))
broken("server-answers-no-call", "there was no such call", client, sent("REPLY", 1, b"{}"))

# ---- calls ----
case("call", "a call, and its answer", server, call(1), "do reply 1",
     got("REPLY", 1, b'{"result":{}}'), "open")
case("call-ids-may-skip", "ids grow, but not by one each", server, call(1), call(5), call(6), "open")
broken("call-id-again", "an id is used once", server, call(1), call(1))
broken("call-id-less", "ids only grow", server, call(7), call(3))
broken("call-after-goaway", "it had said that there would be none", server,
       sent("GOAWAY", 0, STOP), call(1))

# ---- data up ----
case("up", "an upload, taken with its reply", server, call(1, "up"), sent("DATA", 1, b"hello"),
     sent("END", 1, 5), "do drain 1", "do reply 1", got("REPLY", 1, b'{"result":{}}'), "open")
case("up-empty", "an upload of nothing", server, call(1, "up"), sent("END", 1, 0), "do drain 1",
     "do reply 1", got("REPLY", 1, b'{"result":{}}'), "open")
case("up-window", "as much as there is credit for, and credit when it has been read", small,
     call(1, "up"), sent("DATA", 1, b"a" * 4096), "do drain 1",
     got("CREDIT", 1, (4096, 4096)), "open")
case("up-part", "credit also for a part, when that is all", small, call(1, "up"),
     sent("DATA", 1, b"a"), "do drain 1", got("CREDIT", 1, (1, 1)), "open")
case("up-starved", "data that had to wait for credit, of which all has been read: more credit",
     small, call(1, "up"), "do drain 1", sent("DATA", 1, b"a" * 4096),
     got("CREDIT", 1, (4096, 4096)), sent("DATA", 1, b"a" * 4096, flags=1),
     got("CREDIT", 1, (4096, 16384)), "open")
case("down-starved", "data that had to wait says so", "we server peer=4096", call(1, "down"),
     "do feed 1 61*6000", got("DATA", 1, b"a" * 4096), sent("CREDIT", 1, (4096, 4096)),
     got("DATA", 1, b"a" * 1904, flags=1), got("END", 1, 6000), "open")
case("up-no-credit-after-end", "nobody needs credit after END", small, call(1, "up"),
     sent("DATA", 1, b"a" * 4096), sent("END", 1, 4096), "do drain 1", "open")
broken("up-beyond-credit", "one byte more than there was credit for", small, call(1, "up"),
       sent("DATA", 1, b"a" * 4096), sent("DATA", 1, b"a"))
broken("up-before-call", "there was no such call", server, sent("DATA", 1, b"a"))
broken("up-not-there", "the call sends only down", server, call(1, "down"), sent("DATA", 1, b"a"))
broken("up-data-after-end", "END was the end", server, call(1, "up"), sent("END", 1, 0),
       sent("DATA", 1, b"a"))
broken("up-end-twice", "END was the end", server, call(1, "up"), sent("END", 1, 0),
       sent("END", 1, 0))
broken("up-data-after-stop", "STOP was the end", server, call(1, "up"), sent("STOP", 1, STOP),
       sent("DATA", 1, b"a"))
case("up-count-too-large", "END counts more than has come: the stream fails, not the connection",
     server, call(1, "up"), sent("DATA", 1, b"abc"), sent("END", 1, 4), got("STOP", 1), "open")
case("up-count-too-small", "END counts less than has come", server, call(1, "up"),
     sent("DATA", 1, b"abc"), sent("END", 1, 2), got("STOP", 1), "open")
case("up-dropped", "who does not read any more says STOP, and drops the rest", server,
     call(1, "up"), sent("DATA", 1, b"abc"), "do drop 1", got("STOP", 1), sent("DATA", 1, b"def"),
     sent("END", 1, 6), "open")
broken("up-dropped-beyond-credit", "what is dropped needs credit, too", small, call(1, "up"),
       "do drop 1", got("STOP", 1), sent("DATA", 1, b"a" * 4096), sent("DATA", 1, b"a"))
case("up-refused", "the call was answered without a stream: an eager client could not know", small,
     call(1), "do reply 1", got("REPLY", 1, b'{"result":{}}'), sent("DATA", 1, b"a" * 4096),
     sent("END", 1, 4096), "open")
broken("up-refused-beyond-credit", "but it had no more credit than the greeting gave", small,
       call(1), sent("DATA", 1, b"a" * 4096), sent("DATA", 1, b"a"))

# ---- holes ----
case("hole", "five zeros between two bytes", server, call(1, "up sparse"), sent("DATA", 1, b"a"),
     sent("HOLE", 1, 5), sent("DATA", 1, b"b"), sent("END", 1, 7), "do drain 1", "open")
case("hole-cost", "a hole costs 64 bytes of credit", small, call(1, "up sparse"),
     sent("HOLE", 1, 1 << 20), "do drain 1", got("CREDIT", 1, (64, 64)), "open")
broken("hole-beyond-credit", "4096 bytes are credit for 64 holes", small, call(1, "up sparse"),
       *[sent("HOLE", 1, 1)] * 65)
broken("hole-empty", "no zeros are no hole", server, call(1, "up sparse"), sent("HOLE", 1, 0))
broken("hole-overflow", "more than 2^63-1 bytes in all", server, call(1, "up sparse"),
       sent("DATA", 1, b"a"), sent("HOLE", 1, 2**63 - 1))
broken("hole-not-sparse", "the stream is not sparse", server, call(1, "up"), sent("HOLE", 1, 5))
case("hole-found", "zeros become a hole", server, call(1, "down sparse"),
     "do feed 1 61 00*8192 62", got("DATA", 1, b"a"), got("HOLE", 1, 8192), got("DATA", 1, b"b"),
     got("END", 1, 8194), "open")

# ---- data down ----
case("down", "a download, taken", server, call(1, "down"), "do feed 1 68656c6c6f",
     got("DATA", 1, b"hello"), got("END", 1, 5), sent("CREDIT", 1, (5, 5)), sent("TAKEN", 1),
     "do reply 1", got("REPLY", 1, b'{"result":{}}'), "open")
case("down-window", "no more than there is credit for", "we server peer=4096", call(1, "down"),
     "do feed 1 61*6000", got("DATA", 1, b"a" * 4096), sent("CREDIT", 1, (4096, 1000)),
     got("DATA", 1, b"a" * 1000, flags=1), sent("CREDIT", 1, (0, 5000)),
     got("DATA", 1, b"a" * 904, flags=1),
     got("END", 1, 6000), "open")
broken("credit-for-nothing", "more was read than was sent", server, call(1, "down"),
       sent("CREDIT", 1, (1, 1)))
broken("credit-overflow", "more than a window may be", server, call(1, "down"),
       sent("CREDIT", 1, (0, 0xffffffff)))
broken("credit-says-nothing", "both numbers are 0", server, call(1, "down"),
       sent("CREDIT", 1, (0, 0)))
broken("credit-not-there", "the call sends only up", server, call(1, "up"),
       sent("CREDIT", 1, (0, 1)))
broken("credit-no-call", "there was no such call", server, sent("CREDIT", 1, (0, 1)))
broken("taken-before-end", "the end was not sent", server, call(1, "down"), sent("TAKEN", 1))
broken("taken-twice", "once", server, call(1, "down"), "do feed 1 61", got("DATA", 1, b"a"),
       got("END", 1, 1), sent("TAKEN", 1), sent("TAKEN", 1))
broken("taken-not-there", "the call sends only up", server, call(1, "up"), sent("TAKEN", 1))
case("credit-late", "credit that crossed the end of the call", server, call(1, "down"),
     "do feed 1 61", got("DATA", 1, b"a"), got("END", 1, 1), "do reply 1",
     got("REPLY", 1, b'{"result":{}}'), "do drop 1", sent("CREDIT", 1, (1, 1)), sent("TAKEN", 1),
     "open")

# ---- stop ----
case("stop-up", "the stop of an upload", server, call(1, "up"), sent("STOP", 1, STOP), "open")
case("stop-down", "the stop of a download is answered with one", server, call(1, "down"),
     sent("STOP", 1, STOP), got("STOP", 1), "open")
case("stop-no-stream", "the stop of a call without a stream", server, call(1),
     sent("STOP", 1, STOP), "open")
broken("stop-no-call", "there was no such call", server, sent("STOP", 1, STOP))
broken("stop-twice", "once", server, call(1, "up down"), sent("STOP", 1, STOP), got("STOP", 1),
       sent("STOP", 1, STOP))

# ---- the client's side ----
case("client-download", "a download as the client sees it", client, "do call down",
     got("CALL", 1, b'{"is":"down"}'), sent("STARTED", 1, b"{}"), sent("DATA", 1, b"hello"),
     sent("END", 1, 5), "do drain 1", "do taken 1", got("TAKEN", 1, b""),
     sent("REPLY", 1, b"{}"), "open")
case("client-eager", "data goes out at once", client + " wire=eager", "do call up",
     got("CALL", 1, b'{"is":"up"}'), "do feed 1 6869", got("DATA", 1, b"hi"), got("END", 1, 2),
     sent("REPLY", 1, b"{}"), "open")
case("client-replied", "data goes out after STARTED", client + " wire=replied", "do call up",
     got("CALL", 1, b'{"is":"up"}'), "do feed 1 6869", sent("STARTED", 1, b"{}"),
     got("DATA", 1, b"hi"), got("END", 1, 2), "open")
case("client-replied-empty", "and so does the end", client + " wire=replied", "do call up",
     got("CALL", 1, b'{"is":"up"}'), "do feed 1", sent("STARTED", 1, b"{}"), got("END", 1, 0),
     "open")
case("client-acked", "one frame, and the next when it has been read whole",
     client + " wire=acked peer=4096", "do call up", got("CALL", 1, b'{"is":"up"}'),
     "do feed 1 61*5000", sent("STARTED", 1, b"{}"), got("DATA", 1, b"a" * 4096),
     sent("CREDIT", 1, (2000, 2000)), sent("CREDIT", 1, (0, 9000)),
     sent("CREDIT", 1, (2096, 2096)), got("DATA", 1, b"a" * 904, flags=1), got("END", 1, 5000),
     "open")
case("client-answered-early", "the answer came before the upload was over: STOP, or END, says so",
     client, "do call up", got("CALL", 1, b'{"is":"up"}'), sent("REPLY", 1, b"{}"),
     "do answered 1", got("STOP", 1), "open")
broken("client-data-after-end", "an id that has ended stays so", client, "do call down",
       got("CALL", 1, b'{"is":"down"}'), sent("END", 1, 0), sent("REPLY", 1, b"{}"),
       "do answered 1", "do drain 1", "do drop 1", sent("DATA", 1, b"a"))

# ---- the connection ----
case("ping", "a PONG has the body of its PING", server, sent("PING", 0, 0x0123456789abcdef),
     got("PONG", 0, 0x0123456789abcdef), "open")
broken("pong-unasked", "an answer to nothing", server, sent("PONG", 0, 0))
case("goaway", "the end as it should be: both sides say so", server, sent("GOAWAY", 0, STOP),
     "do end", got("GOAWAY", 0), "ends ok")
case("goaway-ours", "the end from this side", server, "do finish", got("GOAWAY", 0),
     sent("GOAWAY", 0, STOP), "ends ok")
case("goaway-one-sided", "the peer ended, and had not said so", server, "do finish",
     got("GOAWAY", 0), "ends lost")
case("error", "the peer says why", client, sent("ERROR", 0, b'{"code":"busy","text":"full"}'),
     "ends busy")
case("cut", "an end without GOAWAY", server, call(1), "ends lost")
case("cut-head", "an end within a head", server, sent("GOAWAY", 0, STOP), "> 0000", "ends lost")
case("cut-body", "an end within a body", server, "> " + head(100, "CALL", 1).hex(), "ends lost")
case("cut-call", "GOAWAY while a call is not answered", server, call(1, "up"),
     sent("GOAWAY", 0, STOP), "ends lost")

def seed(lines):
    """The first byte is that target's own: which side is looked at, and that it sends, too."""
    data = bytes([0x65 if lines[0].startswith(server) else 0x64])
    for line in lines:
        for byte, count in re.findall(r"([0-9a-f]{2})(?:\*(\d+))?",
                                      line[1:] if line.startswith(">") else ""):
            data += bytes.fromhex(byte) * int(count or 1)
    return data


here = os.path.dirname(os.path.abspath(__file__))
corpus = os.path.join(here, "../../fuzz/corpus/frames")
for name, (why, lines) in cases.items():
    if len(seed(lines)) < 5000:
        with open(os.path.join(corpus, name), "wb") as out:
            out.write(seed(lines))
    with open(os.path.join(here, name + ".wire"), "w") as out:
        out.write("# %s\n%s\n" % (why, "\n".join(lines)))
