#!/usr/bin/env python3
"""HTTP/2, frame by frame: what clients and their libraries may send, and what they
must get.

  http2.py KUBECONFIG

Prints a line for each check, as lib.sh does, and ends with status 1 if one
failed.  Runs against any cluster, also one of kube-apiserver.
"""
import ctypes
import json
import os
import ssl
import struct
import sys
import threading
import time

import raw
from raw import CONFIGMAPS, Server, check, configmap

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
STREAMS, WINDOW_SIZE, FRAME_SIZE, LIST_SIZE = 3, 4, 5, 6
PROTOCOL, FLOW, SIZE, CANCEL, COMPRESSION = 1, 3, 6, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Inflater:
    """Header blocks, by nghttp2."""

    class Field(ctypes.Structure):
        _fields_ = [("name", ctypes.POINTER(ctypes.c_char)), ("value", ctypes.POINTER(ctypes.c_char)),
                    ("name_n", ctypes.c_size_t), ("value_n", ctypes.c_size_t), ("flags", ctypes.c_uint8)]

    lib = ctypes.CDLL("libnghttp2.so.14")

    def __init__(self):
        self.it = ctypes.c_void_p()
        self.lib.nghttp2_hd_inflate_new(ctypes.byref(self.it))
        self.lib.nghttp2_hd_inflate_hd.restype = ctypes.c_ssize_t

    def fields(self, block):
        out, flags, field = [], ctypes.c_int(), self.Field()
        while True:
            n = self.lib.nghttp2_hd_inflate_hd(self.it, ctypes.byref(field), ctypes.byref(flags), block,
                                               ctypes.c_size_t(len(block)), 1)
            if n < 0:
                raise ValueError("header block: %d" % n)
            block = block[n:]
            if flags.value & 2:
                out.append((field.name[:field.name_n].decode(), field.value[:field.value_n].decode()))
            if flags.value & 1:
                self.lib.nghttp2_hd_inflate_end_headers(self.it)
                return out


def integer(n, bits):
    most = (1 << bits) - 1
    if n < most:
        return bytes([n])
    out, n = bytes([most]), n - most
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def block(fields):
    """Literals that are not indexed, nothing compressed."""
    return b"".join(b"\0" + integer(len(k), 7) + k.encode() + integer(len(v), 7) + v.encode() for k, v in fields)


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def setting(key, value):
    return struct.pack(">HI", key, value)


class Stream:
    def __init__(self):
        self.code, self.lines, self.body, self.pieces, self.ended, self.reset = None, {}, b"", 0, False, None
        self.codes, self.room = [], 65535  # room: bytes that the server still takes


class Client:
    """A connection; what comes on it is sorted by stream."""

    def __init__(self, server, settings=(), preface=PREFACE, window=1 << 30):
        self.server = server
        server.context.set_alpn_protocols(["h2"])
        try:
            self.s = server.open()
        finally:
            server.context.set_alpn_protocols(["http/1.1"])
        self.inflater, self.got, self.streams, self.settings = Inflater(), b"", {}, {}
        self.next, self.goaway, self.pongs, self.window, self.order = 1, None, 0, 65535, []
        self.credit = True  # give back what was received
        hello = preface + frame(SETTINGS, 0, 0, b"".join(setting(*s) for s in settings))
        if window:
            hello += frame(WINDOW, 0, 0, struct.pack(">I", window))
        self.s.sendall(hello)

    def send(self, *frames):
        self.s.sendall(b"".join(frames))

    def fields(self, method, path, *more):
        given = any(k == "authorization" for k, _ in more)
        auth = "" if given else self.server.auth[len("Authorization: "):].strip()
        return [(":method", method), (":scheme", "https"), (":path", path), (":authority", "x"),
                *([("authorization", auth)] if auth else []), *more]

    def open(self, id):
        self.streams[id] = Stream()
        self.streams[id].room = self.settings.get(WINDOW_SIZE, 65535)
        return self.streams[id]

    def head(self, method, path, *more, end=True, id=None):
        """A HEADERS frame of a new stream, and its number."""
        if id is None:
            id, self.next = self.next, self.next + 2
        self.open(id)
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), id, block(self.fields(method, path, *more))), id

    def ask(self, method, path, *more, body=None):
        data, id = self.head(method, path, *more, end=body is None)
        for at in range(0, len(body or b""), 16384):
            data += frame(DATA, END_STREAM if at + 16384 >= len(body) else 0, id, body[at:at + 16384])
        self.send(data)
        return id

    def upload(self, id, body, last=True):
        """A body, as the server makes room for it; ends early if it has answered."""
        self.until(lambda: WINDOW_SIZE in self.settings)
        q = self.streams[id]
        while body and self.until(lambda: q.ended or (q.room > 0 and self.window > 0)) and not q.ended:
            n = min(16384, q.room, self.window, len(body))
            q.room, self.window = q.room - n, self.window - n
            self.send(frame(DATA, END_STREAM if last and n == len(body) else 0, id, body[:n]))
            body = body[n:]

    def take(self, kind, flags, id, body):
        q = self.streams.get(id)
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(body), 6):
                key, value = struct.unpack_from(">HI", body, at)
                if key == WINDOW_SIZE:
                    for other in self.streams.values():
                        other.room += value - self.settings.get(key, 65535)
                self.settings[key] = value
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == WINDOW and (q or not id):
            n = struct.unpack(">I", body)[0]
            if id:
                q.room += n
            else:
                self.window += n
        elif kind == GOAWAY:
            self.goaway = struct.unpack_from(">II", body)
        elif kind == HEADERS:
            lines = dict(self.inflater.fields(body))
            if q:
                q.code, q.lines = int(lines.get(":status", 0)), lines
                q.codes.append(q.code)
        elif kind == DATA and q:
            q.body += body
            q.pieces += 1
            self.order.append(id)
            if self.credit and body and not flags & END_STREAM:
                self.send(frame(WINDOW, 0, id, struct.pack(">I", len(body))))
        elif kind == RST and q:
            q.reset = struct.unpack(">I", body)[0]
        if q and (kind in (DATA, HEADERS) and flags & END_STREAM or kind == RST):
            q.ended = True

    def more(self, seconds):
        """A frame; False: none came, None: the server has closed the connection."""
        until = time.monotonic() + seconds
        while True:
            n = int.from_bytes(self.got[:3], "big") + 9 if len(self.got) >= 9 else 9
            if len(self.got) >= n:
                head, body, self.got = self.got[:9], self.got[9:n], self.got[n:]
                kind, flags, id = struct.unpack(">BBI", head[3:])
                self.take(kind, flags, id & 0x7fffffff, body)
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.s.settimeout(left)
            try:
                piece = self.s.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                return None
            if not piece:
                return None
            self.got += piece

    def until(self, done, seconds=10):
        end = time.monotonic() + seconds
        while not done():
            if not self.more(max(0, end - time.monotonic())):
                return done()
        return True

    def answer(self, id, seconds=10):
        self.until(lambda: self.streams[id].ended, seconds)
        return self.streams[id]

    def get(self, path):
        return self.answer(self.ask("GET", path))

    def works(self):
        return self.get("/version").code == 200

    def closed(self, seconds=3):
        """The GOAWAY's code, or -1 if there was none; None: the connection stays."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.more(end - time.monotonic()) is None:
                    return self.goaway[1] if self.goaway else -1
            except OSError:
                return self.goaway[1] if self.goaway else -1
        return self.goaway[1] if self.goaway else None


def spoken(server):
    def chosen(offer):
        context = ssl._create_unverified_context()
        if offer:
            context.set_alpn_protocols(offer)
        try:
            return context.wrap_socket(server.tcp()).selected_alpn_protocol()
        except OSError as e:
            return "refused" if "application protocol" in str(e) else repr(e)

    check("HTTP/2 where it is offered", chosen(["http/1.1", "h2"]) == "h2", chosen(["http/1.1", "h2"]))
    check("HTTP/1.1 where that is", chosen(["http/1.1"]) == "http/1.1")
    check("nothing said is HTTP/1.1", chosen([]) is None)
    check("anything else is refused", chosen(["gopher"]) == "refused", chosen(["gopher"]))


def settings(server):
    c = Client(server)
    check("a request", c.works())
    check("the server's settings: %s, window %d" % (c.settings, c.window), c.settings.get(STREAMS, 0) >= 100
          and c.settings.get(LIST_SIZE, 1 << 20) >= 1 << 20)
    c.send(frame(PING, 0, 0, b"12345678"))
    check("a ping is answered", c.until(lambda: c.pongs == 1))


def many(server):
    c = Client(server)
    c.works()
    paths = ["/version", "/healthz", "/api", "/nope"] * 25
    data, ids = b"", []
    for path in paths:
        piece, id = c.head("GET", path)
        data, ids = data + piece, ids + [id]
    c.send(data)
    codes = [c.answer(id).code for id in ids]
    check("100 requests at once", codes == [200, 200, 200, 404] * 25, codes)
    bodies = {p: {c.streams[i].body for i, q in zip(ids, paths) if q == p} for p in paths}
    check("each has its own answer", all(len(b) == 1 for b in bodies.values()), bodies)


def more_than_allowed(server):
    c = Client(server)
    c.works()
    most = c.settings[STREAMS]
    data, ids = b"", []
    for _ in range(most + 20):
        piece, id = c.head("POST", CONFIGMAPS + "?dryRun=All", ("content-type", "application/json"), end=False)
        data, ids = data + piece, ids + [id]
    c.send(data)
    c.until(lambda: all(c.streams[i].ended for i in ids[most:]) or c.goaway)
    resets = [c.streams[i].reset for i in ids[most:]]
    # kube-apiserver ends these streams, nghttp2 the connection.
    check("more streams than allowed are refused", resets == [PROTOCOL] * 20 or c.closed() == PROTOCOL, resets)
    c = Client(server)
    c.works()
    ids = [c.ask("POST", CONFIGMAPS + "?dryRun=All", ("content-type", "application/json"), body=configmap("http2-many"))
           for _ in range(most)]
    codes = [c.answer(i).code for i in ids]
    check("as many as allowed are not", codes == [201] * most, codes)


def bodies(server):
    kind = ("content-type", "application/json")
    c = Client(server)

    def post(name, frames_of, size=10, path=CONFIGMAPS + "?dryRun=All", more=()):
        body = configmap("http2-body", size)
        data, id = c.head("POST", path, kind, *more, end=False)
        c.send(data, *frames_of(id, body))
        q = c.answer(id)
        check(name, q.code == 201 and json.loads(q.body)["data"]["x"] == "y" * size, q.code, q.reset, q.body[:300])

    end = lambda id: frame(DATA, END_STREAM, id)
    post("a body in single bytes", lambda id, b: [frame(DATA, 0, id, b[i:i + 1]) for i in range(len(b))] + [end(id)])
    post("a padded body", lambda id, b: [frame(DATA, PADDED | END_STREAM, id, b"\x20" + b + bytes(32))])
    post("a body and a trailer", lambda id, b: [frame(DATA, 0, id, b), frame(
        HEADERS, END_HEADERS | END_STREAM, id, block([("x-sum", "1")]))])
    post("frames of unknown kinds in between", lambda id, b: [
        frame(DATA, 0, id, b[:5]), frame(99, 255, id, b"?"), frame(PRIORITY, 0, id, struct.pack(">IB", 0, 3)),
        frame(99, 0, 0, b""), frame(DATA, END_STREAM, id, b[5:])])
    data, id = c.head("POST", CONFIGMAPS + "?dryRun=All", kind, end=False)
    c.send(data)
    c.upload(id, configmap("http2-body", 1000000))
    q = c.answer(id)
    check("a body of 1 MB", q.code == 201 and q.body.count(b"y") >= 1000000, q.code, q.reset, c.goaway)


def heads(server):
    c = Client(server)
    kind = ("content-type", "application/json")
    whole = block(c.fields("GET", "/version", ("x-long", "y" * 20000)))
    id, c.next = c.next, c.next + 2
    c.open(id)
    c.send(frame(HEADERS, END_STREAM, id, whole[:7]), frame(CONTINUATION, 0, id, whole[7:10000]),
           frame(CONTINUATION, END_HEADERS, id, whole[10000:]))
    check("a head in three frames", c.answer(id).code == 200, c.goaway)
    id, c.next = c.next, c.next + 2
    c.open(id)
    c.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED | WITH_PRIORITY, id,
                 b"\x05" + struct.pack(">IB", 0, 200) + block(c.fields("GET", "/version")) + bytes(5)))
    check("padded, with a priority", c.answer(id).code == 200, c.goaway)

    q = c.answer(c.ask("GET", "/api/v1/nodes", ("impersonate-user", " a ")))
    check("blanks around a value are part of it", q.code == 403 and b'User \\" a \\" cannot' in q.body, q.code, q.reset)
    token = server.auth.split()[-1] if server.auth else json.loads(c.answer(c.ask(
        "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", kind, body=b'{"spec":{}}')).body)["status"]["token"]
    for around in "Bearer %s ", " bearer %s\t", "Bearer %s x":
        q = c.answer(c.ask("GET", "/version", ("authorization", around % token)))
        check("a token in %r" % around, q.code == 200, q.code, q.reset, q.body)
    for wrong in "b\0c", "b\nc", "b\1":
        q = c.answer(c.ask("GET", "/api/v1/nodes", ("impersonate-user", wrong)))
        check("a value %r: %s" % (wrong, q.reset), q.reset == PROTOCOL, q.code)

    q = c.answer(c.ask("HEAD", "/version"))
    check("HEAD has no body", q.code in (200, 405) and not q.body, q.code, q.body)
    data, id = c.head("POST", CONFIGMAPS + "?dryRun=All", kind, ("expect", "100-continue"), ("content-length", "9999999"), end=False)
    c.send(data)
    c.until(lambda: c.streams[id].codes or c.streams[id].ended, 2)
    check("a body too big that asks first", c.streams[id].codes[:1] == [413] or c.streams[id].codes == [100], c.streams[id].codes)
    c.send(frame(RST, 0, id, struct.pack(">I", CANCEL)))
    body = configmap("http2-expect")
    for lines in [("expect", "100-continue"), ("content-length", str(len(body)))], [("expect", "100-Continue")]:
        data, id = c.head("POST", CONFIGMAPS + "?dryRun=All", kind, *lines, end=False)
        c.send(data)
        c.until(lambda: c.streams[id].codes, 2)
        c.send(frame(DATA, END_STREAM, id, body))
        q = c.answer(id)
        check("who asks first is told to go on (%s)" % lines, q.codes == [100, 201], q.codes)
    q = c.answer(c.ask("GET", "/version", ("expect", "100-continue")))
    check("but not without a body", q.codes == [200], q.codes)

    for name, fields in (
            ("no path", [f for f in c.fields("GET", "/version") if f[0] != ":path"]),
            ("no method", [f for f in c.fields("GET", "/version") if f[0] != ":method"]),
            ("two paths", c.fields("GET", "/version", (":path", "/api"))),
            ("an unknown pseudo field", c.fields("GET", "/version", (":x", "y"))),
            ("a name in capitals", c.fields("GET", "/version", ("X-Y", "z"))),
            ("Connection", c.fields("GET", "/version", ("connection", "close"))),
            ("a path with %zz", c.fields("GET", "/a%zz")),
            ("a path without /", c.fields("GET", "version")),
            ("an empty path", c.fields("GET", ""))):
        id, c.next = c.next, c.next + 2
        c.open(id)
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, id, block(fields)))
        q = c.answer(id, 3)
        # Some of these kube-apiserver answers with 400 instead.
        check("%s: %s %s" % (name, q.code, q.reset), q.reset == PROTOCOL or q.code == 400, c.goaway)
    q = c.answer(c.ask("POST", CONFIGMAPS + "?dryRun=All", kind, ("content-length", "5"), body=configmap("http2-short")), 3)
    check("more than the length that was announced: %s %s" % (q.code, q.reset), q.reset == PROTOCOL or q.code == 400, c.goaway)
    check("none of it hurts the connection", c.works(), c.goaway)


def warnings(server):
    c = Client(server)
    body = json.dumps({"metadata": {"name": "http2-warn"}, **{"%d" % i + "x" * 9000: 1 for i in range(10)}}).encode()
    data, id = c.head("POST", CONFIGMAPS + "?dryRun=All&fieldValidation=Warn", ("content-type", "application/json"), end=False)
    c.send(data)
    c.upload(id, body)
    q = c.answer(id)
    check("ten warnings of 9000 characters are cut", q.code == 201 and 250 < len(q.lines["warning"]) < 300, q.code, q.reset,
          len(q.lines.get("warning", "")))


def too_big(server):
    c = Client(server)
    kind = ("content-type", "application/json")
    data, id = c.head("POST", CONFIGMAPS, kind, end=False)
    c.send(data)
    c.upload(id, configmap("http2-big", 4 << 20))
    q = c.answer(id)
    check("a body of 4 MiB: %s" % q.code, q.code == 413 and b"limit is 3145728" in q.body, q.code, q.reset, q.body[:200])
    check("and the connection goes on", c.works(), c.goaway)
    c = Client(server)
    c.works()
    whole = block(c.fields("GET", "/version", *[("x-%d" % i, "y" * 1000) for i in range(1500)]))
    id, c.next = c.next, c.next + 2
    c.open(id)
    pieces = [whole[i:i + 16384] for i in range(0, len(whole), 16384)]
    try:
        c.send(frame(HEADERS, END_STREAM, id, pieces[0]), *[frame(CONTINUATION, 0, id, p) for p in pieces[1:-1]],
               frame(CONTINUATION, END_HEADERS, id, pieces[-1]))
        q = c.answer(id, 3)
    except OSError:
        q = c.streams[id]
    # nghttp2 ends a connection behind the eighth piece of a head.
    check("a head of 1.5 MB: %s, %s" % (q.code, c.goaway), q.code == 431 or c.closed() is not None)


def windows(server):
    c = Client(server, [(WINDOW_SIZE, 0)])
    c.works()
    c.credit = False
    id = c.ask("GET", "/openapi/v2")
    c.until(lambda: c.streams[id].code, 20)
    q = c.streams[id]
    check("no window: a head alone", q.code == 200 and not q.body, q.code, len(q.body))
    for n in (1, 10, 1000, 20000):
        before = len(q.body)
        c.send(frame(WINDOW, 0, id, struct.pack(">I", n)))
        c.until(lambda: len(q.body) >= before + n, 5)
        while c.more(0.05):
            pass
        check("a window of %d: as many bytes" % n, len(q.body) == before + n, len(q.body) - before)
    c.send(frame(SETTINGS, 0, 0, setting(WINDOW_SIZE, 5000)))
    before = len(q.body)
    c.until(lambda: len(q.body) >= before + 5000, 5)
    check("settings open it as well", len(q.body) == before + 5000, len(q.body) - before)
    small = c.answer(c.ask("GET", "/healthz"))
    check("others go on meanwhile", small.code == 200)
    c.send(frame(WINDOW, 0, id, struct.pack(">I", 1 << 24)))
    c.answer(id, 20)
    check("the rest is whole", q.ended and json.loads(q.body)["swagger"] == "2.0", len(q.body))
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)))
    check("a window that overflows ends the connection", c.closed() in (FLOW, -1), c.goaway)


def interleaved(server):
    c = Client(server)
    c.works()
    large = [c.ask("GET", "/openapi/v2") for _ in range(4)]
    c.until(lambda: any(c.streams[i].pieces for i in large), 20)
    small = c.ask("GET", "/version")
    c.answer(small)
    check("a small answer comes between large ones", not all(c.streams[i].ended for i in large))
    texts = {c.answer(i, 30).body for i in large}
    check("large answers side by side are whole", len(texts) == 1 and json.loads(texts.pop())["swagger"] == "2.0")


def events(stream):
    return [json.loads(line) for line in stream.body.split(b"\n")[:-1]]


def watches(server):
    c, writer = Client(server), Client(server)
    name, kind = "http2-watched", ("content-type", "application/merge-patch+json")
    writer.answer(writer.ask("POST", CONFIGMAPS, ("content-type", "application/json"), body=configmap(name)))
    rv = json.loads(writer.get(CONFIGMAPS + "/" + name).body)["metadata"]["resourceVersion"]
    path = CONFIGMAPS + "?watch=1&fieldSelector=metadata.name%%3D%s&resourceVersion=%s" % (name, rv)
    ids = [c.ask("GET", path) for _ in range(50)]
    c.until(lambda: all(c.streams[i].code for i in ids))
    check("50 watches on one connection", all(c.streams[i].code == 200 for i in ids))
    for n in range(20):
        writer.answer(writer.ask("PATCH", CONFIGMAPS + "/" + name, kind, body=b'{"data":{"n":"%d"}}' % n))
        if n == 10:
            check("requests go on beside them", c.works())
    c.until(lambda: all(c.streams[i].body.count(b"\n") >= 20 for i in ids))
    seen = [[e["object"]["data"]["n"] for e in events(c.streams[i])] for i in ids]
    check("each sees each change once, in order", all(s == [str(n) for n in range(20)] for s in seen), seen[0])
    for i in ids[:25]:
        c.send(frame(RST, 0, i, struct.pack(">I", CANCEL)))
    writer.answer(writer.ask("PATCH", CONFIGMAPS + "/" + name, kind, body=b'{"data":{"n":"20"}}'))
    c.until(lambda: all(c.streams[i].body.count(b"\n") >= 21 for i in ids[25:]))
    check("who is reset gets no more", all(c.streams[i].body.count(b"\n") == 20 for i in ids[:25]))
    check("the others do", all(c.streams[i].body.count(b"\n") == 21 for i in ids[25:]))
    q = c.answer(c.ask("GET", path + "&timeoutSeconds=1"))
    check("a watch that is over ends its stream", q.ended and q.reset is None)
    slow = Client(server, [(WINDOW_SIZE, 100)])
    slow.credit = False
    id = slow.ask("GET", path)
    slow.until(lambda: slow.streams[id].code)
    for n in range(21, 200):
        writer.answer(writer.ask("PATCH", CONFIGMAPS + "/" + name, kind, body=b'{"data":{"n":"%d"}}' % n))
    slow.send(frame(WINDOW, 0, id, struct.pack(">I", 1 << 24)))
    q = slow.streams[id]
    slow.until(lambda: q.body.count(b"\n") >= 200 or q.ended)
    seen = [e["object"]["data"]["n"] for e in events(q)]
    # kube-apiserver may end the watch of one who is too far behind.
    check("who reads late sees the same: %d" % len(seen), seen == [str(n) for n in range(len(seen))]
          and (len(seen) == 200 or q.ended), q.ended, seen[:3], seen[-3:])


def filtered(server):
    """Who wants little of much: there may be nothing to send for a while, and yet more to do."""
    c = Client(server)
    c.works()
    kind, few, most = ("content-type", "application/json"), 30, 4500  # more than is looked at in one go

    def fill(label, n, size):
        for at in range(0, n, 50):
            ids = [c.ask("POST", CONFIGMAPS, kind, body=json.dumps({
                "metadata": {"name": "http2-%s-%d" % (label, i), "labels": {"http2": label}}, "data": {"x": "y" * size}}).encode())
                for i in range(at, min(at + 50, n))]
            if any(c.answer(i).code != 201 for i in ids):
                check("making many objects", False)

    fill("few", few, 20000)
    fill("most", most, 1)
    q = c.answer(c.ask("GET", CONFIGMAPS + "?labelSelector=http2%3Dfew"))
    check("a list that ends in much to pass over", q.ended and len(json.loads(q.body)["items"]) == few, len(q.body))
    c = Client(server)
    c.works()  # nothing else moves on the connection
    id = c.ask("GET", CONFIGMAPS + "?watch=1&labelSelector=http2%3Dnone&sendInitialEvents=true&"
               "resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
    q = c.streams[id]
    check("a watch that begins with it", c.until(lambda: b"initial-events-end" in q.body), q.code, q.body)
    id = c.ask("DELETE", CONFIGMAPS + "?labelSelector=http2")
    check("they can be taken away", c.answer(id, 60).code == 200, c.streams[id].code)


def violations(server):
    """What breaks the rules of the whole connection, and the codes that end it (-1: none,
    None: it is passed over)."""
    for name, codes, make in (
            ("another preface", (PROTOCOL, -1), None),
            ("a frame too large", (SIZE,), lambda c: frame(DATA, 0, 1, bytes(300000))),
            ("HEADERS on an even stream", (PROTOCOL,), lambda c: c.head("GET", "/version", id=2)[0]),
            ("HEADERS on an earlier stream", (PROTOCOL, None), lambda c: c.head("GET", "/version", id=9)[0] + c.head("GET", "/version", id=5)[0]),
            ("DATA on an idle stream", (PROTOCOL,), lambda c: frame(DATA, 0, 7, b"x")),
            ("DATA on no stream", (PROTOCOL,), lambda c: frame(DATA, 0, 0, b"x")),
            ("RST_STREAM of an idle stream", (PROTOCOL,), lambda c: frame(RST, 0, 7, bytes(4))),
            ("PING with 7 bytes", (SIZE,), lambda c: frame(PING, 0, 0, bytes(7))),
            ("SETTINGS with 5 bytes", (SIZE,), lambda c: frame(SETTINGS, 0, 0, bytes(5))),
            ("SETTINGS of a stream", (PROTOCOL,), lambda c: frame(SETTINGS, 0, 1)),
            ("a window of 2^31", (FLOW,), lambda c: frame(SETTINGS, 0, 0, setting(WINDOW_SIZE, 1 << 31))),
            ("frames of 100 bytes", (PROTOCOL,), lambda c: frame(SETTINGS, 0, 0, setting(FRAME_SIZE, 100))),
            ("a window opened by 0", (PROTOCOL,), lambda c: frame(WINDOW, 0, 0, bytes(4))),
            ("CONTINUATION of nothing", (PROTOCOL,), lambda c: frame(CONTINUATION, END_HEADERS, 1, b"")),
            ("a head cut by another frame", (PROTOCOL,), lambda c: frame(HEADERS, 0, 1, b"\0") + frame(PING, 0, 0, bytes(8))),
            ("a head that cannot be opened", (COMPRESSION,), lambda c: frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff")),
            ("PUSH_PROMISE", (PROTOCOL,), lambda c: frame(PUSH, END_HEADERS, 1, bytes(4)))):
        try:
            c = Client(server, preface=PREFACE if make else b"GET / HTTP/1.1\r\n\r\n")
            c.send(make(c) if make else b"")
            code = c.closed()
        except OSError:
            code = -1
        check("%s: %s" % (name, code), code in codes)


def floods(server):
    other = Client(server)
    served = other.works()
    for name, make in (
            ("100,000 pings", lambda c, i: frame(PING, 0, 0, bytes(8)) * 100),
            ("100,000 settings", lambda c, i: frame(SETTINGS, 0, 0, setting(STREAMS, 5)) * 100),
            ("heads that never end", lambda c, i: (frame(HEADERS, 0, 1, b"") if not i else b"") + frame(CONTINUATION, 0, 1, b"") * 100),
            ("100,000 priorities", lambda c, i: frame(PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 0, 1)) * 100),
            ("empty data", lambda c, i: (c.head("POST", CONFIGMAPS, end=False, id=1)[0] if not i else b"") + frame(DATA, 0, 1) * 100),
            ("requests that are reset at once", lambda c, i: b"".join(
                c.head("GET", "/version")[0] + frame(RST, 0, c.next - 2, struct.pack(">I", CANCEL)) for _ in range(10)))):
        c = Client(server)
        c.s.settimeout(1)
        ended = "not ended"
        try:
            for i in range(1000):
                c.s.sendall(make(c, i))
        except OSError:
            ended = "ended"
        served = other.works() and Client(server).works()
        check("%s (%s): others are served" % (name, ended), served)


def taken_back(server):
    """Changes of one object, some of which nobody wants any more when they are made."""
    kind, path = ("content-type", "application/merge-patch+json"), CONFIGMAPS + "/http2-taken"
    writer = Client(server)
    writer.answer(writer.ask("POST", CONFIGMAPS, ("content-type", "application/json"), body=configmap("http2-taken")))
    conns = [Client(server) for _ in range(10)]
    kept = []
    for round in range(5):
        for n, c in enumerate(conns):
            c.works()
            ids = [c.ask("PATCH", path, kind, body=b'{"data":{"k-%d-%d-%d":"1"}}' % (round, n, k)) for k in range(6)]
            watch = c.ask("GET", CONFIGMAPS + "?watch=1")
            c.send(*[frame(RST, 0, i, struct.pack(">I", CANCEL)) for i in ids[::2] + [watch]])
            kept += [(c, i, "k-%d-%d-%d" % (round, n, k)) for k, i in enumerate(ids) if k % 2]
            if round == 4 and n % 3 == 2:
                c.s.close()  # with all that it has asked
                kept = [k for k in kept if k[0] is not c]
    codes = [c.answer(i, 30).code for c, i, _ in kept]
    check("changes beside others that are taken back", set(codes) == {200}, codes)
    data = json.loads(writer.get(path).body)["data"]
    check("and all of them were made", all(k in data for _, _, k in kept), len(data))
    writer.answer(writer.ask("DELETE", path))


def inflated(server):
    """Heads that are a thousand times what was sent: a byte stands for a long field."""
    other = Client(server)
    value = "v" * 3900
    long = b"\x40" + integer(3, 7) + b"x-a" + integer(len(value), 7) + value.encode()
    open = [Client(server) for _ in range(4)]
    sent = 0
    for c in open:
        c.works()
        for i in range(99):
            id, c.next = c.next, c.next + 2
            c.open(id)
            data = frame(HEADERS, END_HEADERS, id, block([(":method", "POST"), (":scheme", "https"), (":path", "/version"), (
                ":authority", "x")]) + (b"\xbe" if i else long) + b"\xbe" * 255)
            c.send(data)
            sent += len(data)
    check("400 heads of 1 MB in %d bytes: others are served" % sent, other.works() and Client(server).works())
    first = open[0].streams[3]
    open[0].until(lambda: first.codes, 2)
    check("the first is taken", 431 not in first.codes, first.codes)


def gone(server):
    """Clients that go, or fall silent, in the middle of something."""
    kind = ("content-type", "application/json")
    half = Client(server)
    half.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, bytes(100))[:50])
    silent = Client(server, window=0)
    silent.works()
    for _ in range(50):
        silent.ask("GET", "/openapi/v2")
    for i in range(20):
        c = Client(server)
        c.ask("POST", CONFIGMAPS, kind, body=configmap("http2-gone-%d" % i))
        if i % 2:
            c.ask("GET", CONFIGMAPS + "?watch=1")
        c.s.close()
    c = Client(server)
    check("others are served", c.works())
    time.sleep(0.3)
    for i in range(20):
        c.answer(c.ask("DELETE", CONFIGMAPS + "/http2-gone-%d" % i))
    check("and what was sent can be taken away", c.works())


def ending(server):
    """While the server is told to end (by somebody else)."""
    c, busy = Client(server), Client(server)
    c.works()
    id = c.ask("GET", CONFIGMAPS + "?watch=1")
    c.until(lambda: c.streams[id].code)
    print("connected", flush=True)
    ids, kind, end = [], ("content-type", "application/json"), time.monotonic() + 10
    while not busy.goaway and time.monotonic() < end:
        if sum(not busy.streams[i].ended for i in ids[-20:]) < 20:
            ids.append(busy.ask("POST", CONFIGMAPS + "?dryRun=All", kind, body=configmap("http2-end")))
        busy.more(0.0001)
    check("a server that ends says so", busy.goaway and busy.goaway[1] == 0, busy.goaway)
    taken = [i for i in ids if busy.goaway and i <= busy.goaway[0]]
    busy.until(lambda: all(busy.streams[i].ended for i in taken))
    codes = [busy.streams[i].code for i in taken]
    check("%d requests of %d that it took are answered" % (len(taken), len(ids)), codes and set(codes) == {201}, codes[-20:])
    c.until(lambda: c.goaway, 10)
    check("a watch is told, too", c.goaway == (id, 0), c.goaway)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    server = Server(sys.argv[1])
    if os.environ.get("ONLY") == "ending":
        ending(server)
        sys.exit(raw.failed > 0)
    raw.run(server, (spoken, settings, many, more_than_allowed, bodies, heads, warnings, too_big, windows, interleaved, watches, filtered,
                     violations, floods, taken_back, inflated, gone))
    c = Client(server)
    c.answer(c.ask("DELETE", CONFIGMAPS + "/http2-watched"))
    sys.exit(raw.failed > 0)


if __name__ == "__main__":
    main()
