#!/usr/bin/env python3
"""HTTP itself, byte by byte: what clients and their libraries may send, and what
they must get.

  raw.py KUBECONFIG

Prints a line for each check, as lib.sh does, and ends with status 1 if one
failed.  Runs against any cluster, also one of kube-apiserver.
"""
import base64
import json
import os
import random
import re
import socket
import ssl
import sys
import tempfile
import time
import warnings

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
failed = 0
warnings.simplefilter("ignore", DeprecationWarning)  # of old TLS, which is tried here


def check(name, good, *said):
    global failed
    print(("  ok    " if good else "  FAIL  ") + name, *(() if good else said), flush=True)
    failed += not good


class Server:
    def __init__(self, kubeconfig):
        text = open(kubeconfig).read()
        self.host, port = re.search(r"server: [\"']?https://(.*?):(\d+)", text).groups()
        self.port = int(port)
        self.context = ssl._create_unverified_context()
        self.context.set_alpn_protocols(["http/1.1"])
        token = re.search(r"token: ([\w.-]+)", text)
        self.auth = "Authorization: Bearer %s\r\n" % token[1] if token else ""
        if token:
            return
        with tempfile.NamedTemporaryFile() as pem:
            for key in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(re.search(key + ": (.*)", text)[1]))
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def tcp(self):
        s = socket.create_connection((self.host, self.port), timeout=10)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def open(self):
        return self.context.wrap_socket(self.tcp())

    def head(self, method, path, *lines, version="1.1"):
        return ("%s %s HTTP/%s\r\nHost: x\r\n%s%s\r\n" % (
            method, path, version, self.auth, "".join(l + "\r\n" for l in lines))).encode()


class Reader:
    """Reads answers from a connection, one after the other."""

    def __init__(self, s):
        self.s, self.got = s, b""

    def more(self):
        piece = self.s.recv(65536)
        self.got += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.got:
            if not self.more():
                raise EOFError
        at = self.got.index(mark) + len(mark)
        out, self.got = self.got[:at], self.got[at:]
        return out

    def exactly(self, n):
        while len(self.got) < n:
            if not self.more():
                raise EOFError
        out, self.got = self.got[:n], self.got[n:]
        return out

    def to_the_end(self):
        try:
            while self.more():
                pass
        except ConnectionResetError:
            return b"reset"
        out, self.got = self.got, b""
        return out

    def answer(self, body=True):
        """(code, headers in lower case, body)"""
        head = self.until(b"\r\n\r\n").decode().split("\r\n")
        code = int(head[0].split()[1])
        lines = dict(l.lower().split(": ", 1) for l in head[1:] if l)
        if not body or code == 100:
            return code, lines, b""
        if lines.get("transfer-encoding") == "chunked":
            return code, lines, self.chunks()
        return code, lines, self.exactly(int(lines.get("content-length", 0)))

    def chunks(self):
        out = b""
        while True:
            n = int(self.until(b"\r\n").split(b";")[0], 16)
            out += self.exactly(n)
            if self.until(b"\r\n") != b"\r\n":
                raise ValueError("no end of a chunk")
            if not n:
                return out

    def closed(self, seconds=3):
        """True: the server has closed the connection."""
        self.s.settimeout(seconds)
        try:
            return not self.s.recv(1)
        except ConnectionResetError:
            return True
        except OSError:
            return False


class Client:
    """Requests on one connection, of JSON."""

    def __init__(self, server):
        self.server, self.s = server, server.open()
        self.r = Reader(self.s)

    def ask(self, method, path, body=None, *lines):
        """(code, answer)"""
        text = json.dumps(body).encode() if body is not None else b""
        if text:
            lines += "Content-Length: %d" % len(text), "Content-Type: application/json"
        self.s.sendall(self.server.head(method, path, *lines) + text)
        code, _, answer = self.r.answer()
        return code, json.loads(answer)


def begin(doc, seed, spaces):
    """(server, random numbers, a client) of a test whose one argument is a KUBECONFIG, with
    these namespaces there."""
    if len(sys.argv) != 2:
        sys.exit(doc)
    print("  seed %d" % seed)
    server = Server(sys.argv[1])
    client = Client(server)
    for space in spaces:
        client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
    return server, random.Random(seed), client


def configmap(name, size=10):
    return json.dumps({"metadata": {"name": name}, "data": {"x": "y" * size}}).encode()


def keeps_alive(server):
    s = server.open()
    r = Reader(s)
    for i in range(3):
        s.sendall(server.head("GET", "/version"))
        code, lines, body = r.answer()
        check("request %d on one connection" % i, code == 200 and b"gitVersion" in body, code, body)
    check("an answer says its length and its time", "content-length" in lines and "date" in lines, lines)
    s.sendall(server.head("GET", "/version", "Connection: close"))
    code, lines, _ = r.answer()
    check("one that asks for the end gets it", code == 200 and lines.get("connection") == "close" and r.closed(), lines)


def pipelined(server):
    s = server.open()
    r = Reader(s)
    paths = ["/version", "/healthz", "/api", "/nope"] * 50
    s.sendall(b"".join(server.head("GET", p) for p in paths))
    codes = [r.answer()[0] for _ in paths]
    check("200 requests at once are answered in turn", codes == [200, 200, 200, 404] * 50, codes)


def byte_by_byte(server):
    s = server.open()
    body = configmap("http-bytes")
    text = server.head("POST", CONFIGMAPS, "Content-Type: application/json", "Content-Length: %d" % len(body)) + body
    for i in range(len(text)):
        s.sendall(text[i:i + 1])
    code, _, answer = Reader(s).answer()
    check("a request in single bytes", code == 201, code, answer)


def in_chunks(server):
    s = server.open()
    body = configmap("http-chunks", 100000)
    s.sendall(server.head("POST", CONFIGMAPS, "Content-Type: application/json", "Transfer-Encoding: chunked"))
    at, n = 0, 1
    while at < len(body):
        piece = body[at:at + n]
        s.sendall(b"%x;a=b\r\n%s\r\n" % (len(piece), piece))
        at, n = at + len(piece), n * 2 + 1
    s.sendall(b"0\r\nTrailer: x\r\n\r\n" + server.head("GET", CONFIGMAPS + "/http-chunks"))
    r = Reader(s)
    made, got = r.answer(), r.answer()
    check("a body in chunks", made[0] == 201, made)
    check("and what comes behind it", got[0] == 200 and json.loads(got[2])["data"]["x"] == "y" * 100000, got[0])


# What follows a body that two readers could see differently: one of them would take
# it for a request of somebody else.  (what, header lines, body, codes): codes that end
# with 0 mean that the connection has been closed.  {n} is the length of the object.
def framings(body):
    n = len(body)
    chunk = b"%x\r\n%s\r\n" % (n, body)
    whole = chunk + b"0\r\n\r\n"
    # A malformed body is the client's fault: 400.  kube-apiserver says 500.
    te, cl = "Transfer-Encoding: chunked", "Content-Length: %d" % n
    # kube-apiserver goes on behind a request with both, we do not.
    yield "length and chunks", ["Content-Length: 4", te], whole, [201, 0], [201, 200]
    yield "chunks and length", [te, cl], whole, [201, 0], [201, 200]
    yield "chunks and a wrong length", [te, "Content-Length: x"], whole, [400, 0]
    yield "chunks and two lengths", [te, "Content-Length: 3", "Content-Length: 4"], whole, [400, 0]
    yield "the same length twice", [cl, cl], body, [201, 200]
    yield "two lengths", [cl, "Content-Length: %d" % (n + 1)], body, [400, 0]
    for wrong in "%d, %d" % (n, n), "+%d" % n, "0x%x" % n, "-1", "", "%d\0" % n:
        yield "length %r" % wrong, ["Content-Length: " + wrong], body, [400, 0]
    for wrong in "gzip, chunked", "chunked, identity", "identity", "xchunked", "chunked;q=1", "":
        yield "encoding %r" % wrong, ["Transfer-Encoding: " + wrong], whole, [501, 0]
    yield "chunked twice", [te, te], whole, [501, 0]
    yield "a blank before the colon", ["Transfer-Encoding : chunked"], whole, [400, 0]
    yield "a vertical tab before chunked", ["Transfer-Encoding: \x0bchunked"], whole, [400, 0]
    for name, wrong in (
            ("an end without CR", chunk.replace(b"\r\n", b"\n", 1)),
            ("an extension's end without CR", chunk.replace(b"\r\n", b";a\n", 1)),
            ("a CR in its line", chunk.replace(b"\r\n", b";a\rb\r\n", 1)),
            ("two CR", chunk.replace(b"\r\n", b"\r\r\n", 1)),
            ("a blank before", b" " + chunk), ("0x", b"0x" + chunk), ("+", b"+" + chunk), ("-", b"-" + chunk),
            ("none", b"\r\n" + body), ("an extension alone", b";a\r\n" + body), ("17 digits", b"0" * 15 + chunk)):
        yield "a chunk's size: " + name, [te], wrong + b"0\r\n\r\n", [400, 0], [500, 0]
    for name, end in ("LF", b"\n"), ("CR CR LF", b"\r\r\n"), ("nothing", b""), ("other bytes", b"xx"):
        yield "data that ends with " + name, [te], chunk[:-2] + end + b"0\r\n\r\n", [400, 0], [500, 0]
    yield "a trailer", [te], chunk + b"0\r\nContent-Length: 5\r\n\r\n", [201, 200]
    yield "a trailer that is a request", [te], chunk + b"0\r\nGET /version HTTP/1.1\r\n\r\n", [400, 0], [500, 0]
    yield "a trailer with a CR", [te], chunk + b"0\r\nA: b\rc\r\n\r\n", [400, 0], [500, 0]


def outcome(server, data):
    """Codes of all answers, and 0 if the connection was closed then."""
    r, codes = Reader(server.open()), []
    r.s.settimeout(0.5)
    try:
        r.s.sendall(data)
        while r.more():
            pass
        codes = [0]
    except TimeoutError:
        pass
    except OSError:
        codes = [0]
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d+) ", r.got)] + codes


def framed(server):
    body = configmap("http-framed")
    for name, lines, sent, *good in framings(body):
        got = outcome(server, server.head("POST", CONFIGMAPS + "?dryRun=All", "Content-Type: application/json", *lines)
                      + sent + server.head("GET", "/version"))
        check("%s: %s" % (name, got), got in good, good)


# Heads alone: (request line, header lines, codes).
HEADS = (
    ("GET http://elsewhere/version HTTP/1.1", [], [200, 200]),
    ("GET https://x/version?a=b HTTP/1.1", [], [200, 200]),
    ("GET http://a b/version HTTP/1.1", [], [400, 0]),
    ("GET /version HTTP/1.2", [], [200, 200]),
    ("GET /version HTTP/2.0", [], [505, 0]),
    ("GET /version HTTP/1.0", [], [200, 0]),
    ("GET /version HTTP/1.1", ["Connection: close"], [200, 0]),
    ("GET /version HTTP/1.1", ["Connection: Upgrade", "Upgrade: h2c"], [200, 200]),
    ("GET /version HTTP/1.1", ["Expect: 100-continue"], [200, 200]),
    ("GET /version HTTP/1.1", ["Expect: the best"], [417, 0]),
    ("GET /version HTTP/1.1", ["A: b\0c"], [400, 0]),
    ("GET /version HTTP/1.1", ["A: b\rc"], [400, 0]),
    ("GET /version HTTP/1.1", ["A\t: b"], [400, 0]),
    ("GET /version HTTP/1.1", ["Host: y"], [400, 0]),
    ("GET /version HTTP/1.1", ["A: b"] * 10000, [200, 200]),
    ("GET /version HTTP/1.1", ["A: b"] * 200000, [431, 0]),
    ("GET /version HTTP/1.1", ["A: " + "b" * 900000], [200, 200]),
    ("GET /version HTTP/1.1", ["A: " + "b" * 1200000], [431, 0]),
    ("GET /version?" + "b" * 900000 + " HTTP/1.1", [], [200, 200]),
    ("GET /version?" + "b" * 1200000 + " HTTP/1.1", [], [431, 0]),
    ("HEAD /version HTTP/1.1", [], [405, 200]),
)


def heads(server):
    for line, lines, good in HEADS:
        text = "%s\r\nHost: x\r\n%s%s\r\n" % (line, server.auth, "".join(l + "\r\n" for l in lines))
        got = outcome(server, text.encode() + server.head("GET", "/version"))
        check("%.40s %.30r: %s" % (line, ", ".join(lines), got), got == good, good)


def asks_first(server):
    s = server.open()
    body = configmap("http-expect")
    s.sendall(server.head("POST", CONFIGMAPS, "Content-Type: application/json", "Expect: 100-continue",
                          "Content-Length: %d" % len(body)))
    r = Reader(s)
    code, _, _ = r.answer()
    check("one that asks is told to go on", code == 100, code)
    s.sendall(body)
    code, _, answer = r.answer()
    check("and then served", code == 201, code, answer)


def head_only(server):
    s = server.open()
    r = Reader(s)
    s.sendall(server.head("HEAD", "/healthz") + server.head("GET", "/version"))
    first = r.answer(body=False)
    code, _, body = r.answer()
    check("HEAD has no body", first[0] in (200, 405) and code == 200 and b"gitVersion" in body, first, body)


def old_clients(server):
    s = server.open()
    s.sendall(server.head("GET", "/version", version="1.0"))
    answer = Reader(s).to_the_end()
    check("HTTP/1.0: the connection ends with the answer",
          answer.startswith(b"HTTP/1.0 200") and b"gitVersion" in answer, answer[:200])
    s = server.open()
    s.sendall(server.head("GET", CONFIGMAPS + "?watch=1&timeoutSeconds=1&sendInitialEvents=true&"
                          "resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", version="1.0"))
    answer = Reader(s).to_the_end()
    events = [json.loads(l)["type"] for l in answer.split(b"\r\n\r\n", 1)[1].splitlines()]
    check("and a stream has no chunks", b"chunked" not in answer.lower() and "BOOKMARK" in events, events)


def half_closed(server):
    s = server.tcp()
    s = server.context.wrap_socket(s)
    s.sendall(server.head("GET", CONFIGMAPS))
    socket.socket.shutdown(s, socket.SHUT_WR)  # under TLS: as a client that sends no more
    try:
        code, _, body = Reader(s).answer()
    except (OSError, EOFError) as e:
        code, body = repr(e), b""
    # kube-apiserver takes it for a client that has gone, and says so.
    check("who sends no more gets an answer", code == 504 or (code == 200 and b"items" in body), code)


def streams(server):
    s = server.open()
    r = Reader(s)
    began = time.monotonic()
    s.sendall(server.head("GET", CONFIGMAPS + "?watch=1&timeoutSeconds=1") + server.head("GET", "/version"))
    code, lines, body = r.answer()
    took = time.monotonic() - began
    check("a watch ends after its time", code == 200 and 0.8 < took < 10, code, took)
    check("as chunks with an end", lines.get("transfer-encoding") == "chunked" and b"http-bytes" in body, lines)
    check("and the connection goes on", r.answer()[0] == 200)


def large_answer(server):
    s = server.open()
    r = Reader(s)
    for i in range(12):
        body = configmap("http-large-%d" % i, 300000)
        s.sendall(server.head("POST", CONFIGMAPS, "Content-Type: application/json", "Content-Length: %d" % len(body)) + body)
        code = r.answer()[0]
        if code != 201:
            check("making large objects", False, code)
    s.sendall(server.head("GET", CONFIGMAPS) + server.head("GET", CONFIGMAPS + "/http-large-3"))
    time.sleep(0.3)  # until the socket is full
    lists, one = json.loads(r.answer()[2])["items"], json.loads(r.answer()[2])
    check("a list of 3.6 MB", sum(i["metadata"]["name"].startswith("http-large") for i in lists) == 12)
    check("an object of 300 KB behind it", one["data"]["x"] == "y" * 300000)


def contended(server):
    body = configmap("http-contended")
    conns = [server.open() for _ in range(50)]
    conns[0].sendall(server.head("POST", CONFIGMAPS, "Content-Type: application/json", "Content-Length: %d" % len(body)) + body)
    readers = [Reader(s) for s in conns]
    readers[0].answer()
    for i, s in enumerate(conns):
        for k in range(4):
            patch = json.dumps({"data": {"k-%d-%d" % (i, k): "1"}}).encode()
            s.sendall(server.head("PATCH", CONFIGMAPS + "/http-contended", "Content-Type: application/merge-patch+json",
                                  "Content-Length: %d" % len(patch)) + patch)
        if i % 5 == 4:
            s.close()  # who has asked and gone disturbs nobody
    codes = [r.answer()[0] for i, r in enumerate(readers) for _ in range(4) if i % 5 != 4]
    check("200 patches of one object at once", set(codes) == {200}, codes)
    conns[0].sendall(server.head("GET", CONFIGMAPS + "/http-contended"))
    data = json.loads(readers[0].answer()[2])["data"]
    check("and all of them are in it", all("k-%d-%d" % (i, k) in data for i in range(50) for k in range(4) if i % 5 != 4), len(data))


def not_tls(server):
    s = server.tcp()
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = Reader(s).to_the_end()
    check("without TLS it is said what is wrong", answer ==
          b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", answer)


def ciphers(server):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl._create_unverified_context()
        context.minimum_version = context.maximum_version = version
        s = context.wrap_socket(server.tcp())
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        check("%s, %s" % (s.version(), s.cipher()[0]), Reader(s).answer()[0] == 200)
    context = ssl._create_unverified_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        s = context.wrap_socket(server.tcp())
        check("nothing older", False, s.version())
    except OSError:
        check("nothing older", True)


def run(server, looks):
    """Each of them, or those that ONLY names."""
    only = os.environ.get("ONLY")
    for look in looks:
        if only and look.__name__ not in only.split(","):
            continue
        try:
            look(server)
        except (EOFError, OSError, ValueError, KeyError) as e:
            check(look.__name__, False, repr(e))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    server = Server(sys.argv[1])
    try:
        run(server, (keeps_alive, pipelined, byte_by_byte, in_chunks, framed, heads, asks_first, head_only, old_clients,
                     half_closed, streams, large_answer, contended, not_tls,
                     ciphers))
    finally:
        s = server.open()
        r = Reader(s)
        for name in ["http-bytes", "http-chunks", "http-expect", "http-contended"] + ["http-large-%d" % i for i in range(12)]:
            s.sendall(server.head("DELETE", CONFIGMAPS + "/" + name))
            r.answer()
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
