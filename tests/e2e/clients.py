#!/usr/bin/env python3
"""Hostile, slow and dying clients against an API server.

  clients.py KUBECONFIG DATA-DIRECTORY WEFT

Meanwhile a normal client reads and writes, and its latency is noted.  Prints a
line for each check, as lib.sh does, and ends with status 1 if one failed.
"""
import base64
import http.client
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
WATCHES = 1000
SEED = int(os.environ.get("WEFT_SEED", time.time_ns() % 1000000))
failed = 0


def check(name, good, *said):
    global failed
    print(("  ok    " if good else "  FAIL  ") + name, *said, flush=True)
    failed += not good


class Server:
    """Where it is, and how a client comes in."""

    def __init__(self, kubeconfig, data, weft):
        text = open(kubeconfig).read()
        self.data, self.weft = data, weft
        self.host, port = re.search(r"server: https://(.*):(\d+)", text).groups()
        self.port = int(port)
        self.context = ssl._create_unverified_context()
        with tempfile.NamedTemporaryFile() as pem:
            for key in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(re.search(key + ": (.*)", text)[1]))
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def tcp(self, timeout=10):
        s = socket.create_connection((self.host, self.port), timeout=timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def tls(self, timeout=10):
        return self.context.wrap_socket(self.tcp(timeout))

    def http(self, timeout=10):
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout,
                                           context=self.context)

    def ask(self, method, path, body=None, conn=None):
        c = conn or self.http()
        c.request(method, path, json.dumps(body) if body else None,
                  {"Content-Type": "application/json"})
        answer = c.getresponse()
        text = answer.read()
        if not conn:
            c.close()
        return answer.status, text

    def processes(self):
        """pids of the API servers."""
        out = subprocess.run([self.weft, "status", "--data", self.data], capture_output=True,
                             text=True).stdout
        return [int(line.split()[1]) for line in out.splitlines()
                if line.startswith("apiserver/") and int(line.split()[1]) > 1]


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def memory(pid):
    """Bytes that are the process's own."""
    text = open("/proc/%d/smaps_rollup" % pid).read()
    return 1024 * sum(int(n) for n in re.findall(r"Private_\w+: +(\d+)", text))


def cpu(pid):
    """Seconds of CPU so far."""
    fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- The normal client ------------------------------------------------------------------


def normal(server, stop, out):
    """Reads, now and then writes; answers its latencies in ms and its errors."""
    took, errors, conn, n = [], [], server.http(), 0
    while not stop.is_set():
        start = time.monotonic()
        try:
            if n % 10:
                status, _ = server.ask("GET", CONFIGMAPS + "/normal", conn=conn)
            else:
                status, _ = server.ask("PUT", CONFIGMAPS + "/normal", {
                    "metadata": {"name": "normal"}, "data": {"n": str(n)}}, conn=conn)
            if status != 200:
                errors.append(status)
        except (OSError, http.client.HTTPException) as e:
            errors.append(repr(e))
            conn.close()
            conn = server.http()
        took.append((time.monotonic() - start) * 1000)
        n += 1
        time.sleep(0.01)
    out.put((took, errors))


class Meanwhile:
    """with Meanwhile(server, NAME): ... - checks that a normal client was not disturbed."""

    baseline = 0

    def __init__(self, server, name, errors_allowed=0):
        self.server, self.name, self.allowed = server, name, errors_allowed

    def __enter__(self):
        self.stop, self.out = multiprocessing.Event(), multiprocessing.Queue()
        self.child = multiprocessing.Process(target=normal,
                                             args=(self.server, self.stop, self.out))
        self.child.start()

    def __exit__(self, *why):
        self.stop.set()
        took, errors = self.out.get(timeout=30)
        self.child.join()
        took.sort()
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        limit = max(300, 10 * Meanwhile.baseline)
        if not Meanwhile.baseline:
            Meanwhile.baseline = p99
        check("%s: a normal client is served" % self.name, len(errors) <= self.allowed, *errors[:3])
        check("%s: its latency stays low" % self.name, p99 < limit,
              "p50 %.1f ms, p99 %.1f ms, longest %.1f ms" % (p50, p99, took[-1]))


# --- What others do ---------------------------------------------------------------------


def open_watch(server):
    s = server.tls(timeout=30)
    s.sendall(("GET %s?watch=1&resourceVersion=%s&fieldSelector=metadata.name%%3Dwatched "
               "HTTP/1.1\r\nHost: x\r\n\r\n" % (CONFIGMAPS, server.rv)).encode())
    return s


def read_until(s, mark, seconds=20):
    got, end = b"", time.monotonic() + seconds
    while mark not in got and time.monotonic() < end:
        piece = s.recv(65536)
        if not piece:
            break
        got += piece
    return got


def idle_watches(server):
    server.rv = json.loads(server.ask("GET", CONFIGMAPS + "?limit=1")[1])["metadata"]["resourceVersion"]
    watches = [open_watch(server) for _ in range(WATCHES)]
    with Meanwhile(server, "%d idle watches" % WATCHES):
        time.sleep(2)
    start = time.monotonic()
    server.ask("POST", CONFIGMAPS, {"metadata": {"name": "watched"}})
    seen = sum(b'"ADDED"' in read_until(w, b'"ADDED"') for w in watches)
    check("each of them sees a write", seen == WATCHES,
          "%d in %.0f ms" % (seen, (time.monotonic() - start) * 1000))
    for i, w in enumerate(watches):
        if i % 2:  # half of them go without a word
            w.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        w.close()
    server.ask("DELETE", CONFIGMAPS + "/watched")


def slow_readers(server):
    conn = server.http()
    for i in range(300):
        server.ask("POST", CONFIGMAPS, {"metadata": {"name": "big%d" % i, "labels": {"big": "1"}},
                                        "data": {"x": "y" * 20000}}, conn=conn)
    whole = len(server.ask("GET", CONFIGMAPS + "?labelSelector=big")[1])
    pid, before, readers = server.processes()[0], memory(server.processes()[0]), []
    with Meanwhile(server, "slow readers of a list of %d bytes" % whole):
        for _ in range(60):
            s = server.tcp()
            if readers:  # the first one is to read all in the end
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s = server.context.wrap_socket(s)
            s.sendall(("GET %s?labelSelector=big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                       % CONFIGMAPS).encode())
            readers.append(s)
        for s in readers:
            s.recv(64)
        time.sleep(2)
        grown = memory(pid) - before
        check("lists are not kept in memory for them", grown < 60 * whole / 4,
              "%d KiB for each" % (grown / 60 / 1024))
    text = b"".join(iter(lambda: readers[0].recv(65536), b""))
    check("a slow reader gets all in the end", text.rstrip().endswith(b"]}") or
          text.endswith(b"0\r\n\r\n"))
    for s in readers:
        s.close()
    server.ask("DELETE", CONFIGMAPS + "?labelSelector=big")


def half_sent(server):
    request = ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               "Content-Length: 1000\r\n\r\n{\"metadata\":" % CONFIGMAPS).encode()
    held = []
    with Meanwhile(server, "half-sent requests"):
        for i in range(300):
            s = server.tcp() if i % 3 == 0 else server.tls()
            s.sendall([b"\x16\x03\x01", b"GET /api HTTP/1.1\r\nHo", request][i % 3])
            held.append(s)
        time.sleep(1)
    for s in held:
        s.close()


def malformed(server):
    random.seed(SEED)
    head = b"Host: x\r\n"
    odd = [
        b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"get /api HTTP/1.1\r\n\r\n",
        b"GET /api HTTP/1.1\r\nno colon\r\n\r\n", b"GET /api\x00 HTTP/1.1\r\n" + head + b"\r\n",
        b"GET http://[::1 HTTP/1.1\r\n" + head + b"\r\n", b"GET * HTTP/1.1\r\n" + head + b"\r\n",
        b"POST /api HTTP/1.1\r\n" + head + b"Content-Length: -5\r\n\r\n",
        b"POST /api HTTP/1.1\r\n" + head + b"Content-Length: 99999999999999999999\r\n\r\n",
        b"POST /api HTTP/1.1\r\n" + head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST /api HTTP/1.1\r\n" + head + b"Transfer-Encoding: nonsense\r\n\r\n",
        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /api HTTP/1.1\r\n" + head + b"X: " + b"y" * 100000 + b"\r\n\r\n",
        b"GET /api HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /api/v1?watch=" + b"%" * 500 + b" HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /api HTTP/1.1\r\n" + head + b"Accept: " + b";,=" * 3000 + b"\r\n\r\n",
        b"GET /api HTTP/1.1\r\n" + head + b"Authorization: Bearer " + b"." * 20000 + b"\r\n\r\n",
    ]
    odd += [bytes(random.randrange(256) for _ in range(random.randrange(1, 2000)))
            for _ in range(60)]
    lingering = []
    with Meanwhile(server, "malformed HTTP (seed %d)" % SEED):
        for text in odd:
            for s in (server.tls(), server.tcp()):
                s.settimeout(0.05)
                try:
                    s.sendall(text)
                    answer = s.recv(4096)
                except OSError:
                    answer = b""
                if re.match(rb"HTTP/1.1 5(?!0[15])", answer):  # 501: a transfer encoding
                    check("no failure of the server's own", False, text[:60], answer[:100])
                lingering.append(s)
    for s in lingering:
        s.close()


def too_large(server):
    big = {"metadata": {"name": "large"}, "data": {"x": "y" * 4000000}}
    with Meanwhile(server, "bodies too large"):
        codes = {server.ask("POST", CONFIGMAPS, big)[0] for _ in range(10)}
        check("are refused with 413", codes == {413}, codes)
        s = server.tls()  # one without an end
        s.sendall(("POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   % CONFIGMAPS).encode())
        try:
            for _ in range(300):
                s.sendall(b"10000\r\n" + b"y" * 65536 + b"\r\n")
        except OSError:
            pass
        s.close()


def dying(server):
    body = json.dumps({"metadata": {"generateName": "dying-"}}).encode()
    post = ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d"
            "\r\n\r\n" % (CONFIGMAPS, len(body))).encode()
    kinds = [
        lambda s: s.sendall(post + body[:10]),
        lambda s: s.sendall(post + body),
        lambda s: (s.sendall(b"GET /openapi/v2 HTTP/1.1\r\nHost: x\r\n\r\n"), s.recv(100)),
        lambda s: (s.sendall(b"GET " + CONFIGMAPS.encode() + b"?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
                   s.recv(100)),
        lambda s: s.sendall((b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n") * 200),  # pipelined
        lambda s: None,
    ]
    with Meanwhile(server, "connections that die"):
        for i in range(300):
            s = server.tls()
            kinds[i % len(kinds)](s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    made = [i["metadata"]["name"] for i in json.loads(server.ask("GET", CONFIGMAPS)[1])["items"]]
    check("what was sent whole was made, once", sum(n.startswith("dying-") for n in made) <= 50)
    for name in made:
        if name.startswith("dying-"):
            server.ask("DELETE", CONFIGMAPS + "/" + name)


def no_descriptors(server):
    pid = server.processes()[0]
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = max(int(n) for n in os.listdir("/proc/%d/fd" % pid))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 40, hard))
    held = []
    with Meanwhile(server, "no descriptors left"):
        for _ in range(120):
            held.append(server.tcp())
        used = cpu(pid)
        time.sleep(2)
        used = cpu(pid) - used
    check("without spinning", used < 1, "%.2f s of CPU in 2 s" % used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    for s in held:
        s.close()
    time.sleep(0.2)
    check("new clients are served when there are some again",
          server.ask("GET", CONFIGMAPS + "/normal")[0] == 200)


def several(server):
    subprocess.run([server.weft, "scale", "--data", server.data, "apiserver=3"], check=True,
                   capture_output=True)
    end = time.monotonic() + 10
    while len(server.processes()) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    pids = server.processes()
    check("three API servers", len(pids) == 3)
    time.sleep(0.5)
    server.rv = json.loads(server.ask("GET", CONFIGMAPS + "?limit=1")[1])["metadata"]["resourceVersion"]
    watches = [open_watch(server) for _ in range(90)]
    time.sleep(0.5)
    with Meanwhile(server, "one of three killed", errors_allowed=1):
        time.sleep(0.5)
        os.kill(pids[1], signal.SIGKILL)
        time.sleep(1.5)
    server.ask("POST", CONFIGMAPS, {"metadata": {"name": "watched"}})
    seen = 0
    for w in watches:
        try:
            seen += b'"ADDED"' in read_until(w, b'"ADDED"', 5)
        except OSError:
            pass
        w.close()
    check("watches of the others go on", seen >= 30, "%d of 90" % seen)
    end = time.monotonic() + 10
    while len(server.processes()) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    now = server.processes()
    check("a successor is there", len(now) == 3 and pids[1] not in now)
    codes = {server.ask("GET", CONFIGMAPS + "/normal")[0] for _ in range(30)}
    check("all serve", codes == {200})
    subprocess.run([server.weft, "scale", "--data", server.data, "apiserver=1"], check=True,
                   capture_output=True)
    codes = {server.ask("GET", CONFIGMAPS + "/normal")[0] for _ in range(200)}
    check("nobody meets one that goes", codes == {200})
    server.ask("DELETE", CONFIGMAPS + "/watched")


def settled(pid, wanted):
    """Descriptors of the process when it has had time to close some."""
    end = time.monotonic() + 10
    while descriptors(pid) > wanted and time.monotonic() < end:
        time.sleep(0.1)
    return descriptors(pid)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    server = Server(*sys.argv[1:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.ask("POST", CONFIGMAPS, {"metadata": {"name": "normal"}})
    with Meanwhile(server, "nobody else"):
        time.sleep(2)
    pid = server.processes()[0]
    attacks = [idle_watches, slow_readers, half_sent, malformed, too_large, dying, no_descriptors]
    only = os.environ.get("ONLY")
    for attack in attacks:
        if only and attack.__name__ not in only.split(","):
            continue
        fds = descriptors(pid)
        attack(server)
        left = settled(pid, fds)
        check("no descriptor is left behind", left <= fds, "%d, were %d" % (left, fds))
    if not only:
        idle_watches(server)  # until malloc's arenas are as large as this needs
        before = memory(pid)
        for attack in (idle_watches, half_sent, malformed, dying):
            attack(server)
        grown = memory(pid) - before
        check("one more round needs no more memory", grown < 8 << 20, "%d KiB" % (grown >> 10))
    check("the same process has served all", server.processes() == [pid])
    if not only or "several" in only:
        several(server)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
