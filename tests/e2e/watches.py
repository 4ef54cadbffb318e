#!/usr/bin/env python3
"""Watches of many kinds, fast and slow, while objects change at random: each sees
each change of its objects once, in order, as what it is to its selection.

  watches.py KUBECONFIG

One watch, of everything, is believed; what each other one has to see follows
from it.  Prints a line for each check, as lib.sh does, and ends with status 1 if
one failed.  Runs against any cluster; WEFT_SEED runs it again.
"""
import json
import os
import random
import socket
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import raw  # noqa: E402
from raw import Client, Reader, check  # noqa: E402

SEED = int(os.environ.get("WEFT_SEED", time.time_ns() % 1000000))
SECONDS = float(os.environ.get("SECONDS_LONG", 5))
NAMES, COLOURS, SPACES = 30, ("red", "green", "blue"), ("watches-a", "watches-b")


class Watch(threading.Thread):
    """Follows one watch to the object called "end" in the last namespace it covers;
    goes on where it was when the server ends it."""

    def __init__(self, server, name, rv, space=None, query="", select=lambda o: True, table=False, pace=0,
                 receive=0):
        super().__init__(daemon=True)
        self.server, self.name_of_it, self.space, self.select = server, name, space, select
        self.path = "/api/v1/%sconfigmaps?watch=1%s" % ("namespaces/%s/" % space if space else "", query)
        self.rv, self.table, self.pace, self.receive = rv, table, pace, receive
        self.events, self.why, self.begun = [], "", threading.Event()

    def run(self):
        try:
            self.follow()
        except (OSError, EOFError, ValueError, KeyError) as e:
            self.why = repr(e)
        self.begun.set()

    def follow(self):
        s = self.server.tcp()
        if self.receive:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive)
        s = self.server.context.wrap_socket(s)
        s.settimeout(60)
        accept = ["Accept: application/json;as=Table;v=v1;g=meta.k8s.io"] if self.table else []
        s.sendall(self.server.head("GET", self.path + "&resourceVersion=" + self.rv, *accept))
        r = Reader(s)
        r.until(b"\r\n\r\n")
        self.begun.set()
        text = b""
        while True:
            n = int(r.until(b"\r\n"), 16)
            if not n:
                raise EOFError("the watch ended")
            text += r.exactly(n)
            r.until(b"\r\n")
            *lines, text = text.split(b"\n")
            for line in lines:
                if self.take(json.loads(line)):
                    s.close()
                    return
            if self.pace:
                time.sleep(random.random() * self.pace)

    def take(self, event):
        o = event["object"]
        if self.table:
            if len(self.events) == 0 and not o["columnDefinitions"]:
                raise ValueError("the first table has no columns")
            if len(self.events) and o["columnDefinitions"]:
                raise ValueError("columns twice")
            o = o["rows"][0]["object"]
        if event["type"] == "ERROR":
            raise ValueError(json.dumps(o))
        m = o["metadata"]
        self.events.append((event["type"], m["namespace"], m["name"], m["resourceVersion"], m.get("labels", {})))
        return m["name"] == "end" and (not self.space and m["namespace"] == SPACES[-1] or m["namespace"] == self.space)

    def expected(self, believed):
        """What this one has to see, by what the one of everything saw."""
        inside, out = set(), []
        for kind, space, name, rv, labels in believed:
            if self.space and space != self.space:
                continue
            key = (space, name)
            match = kind != "DELETED" and self.select((name, labels))
            if match:
                out.append(("MODIFIED" if key in inside else "ADDED", space, name, rv))
                inside.add(key)
            elif key in inside:
                out.append(("DELETED", space, name, rv))
                inside.discard(key)
        return out


def write(server, seed, until, made):
    rng, c = random.Random(seed), Client(server)
    while time.monotonic() < until:
        path = "/api/v1/namespaces/%s/configmaps" % rng.choice(SPACES)
        name = "o%d" % rng.randrange(NAMES)
        labels = {"colour": rng.choice(COLOURS)} if rng.random() < 0.9 else {}
        body = {"metadata": {"name": name, "labels": labels}, "data": {"x": "y" * rng.randrange(3000)}}
        draw = rng.random()
        if draw < 0.4:
            c.ask("POST", path, body)
        elif draw < 0.8:
            c.ask("PUT", path + "/" + name, body)
        else:
            c.ask("DELETE", path + "/" + name)
        made[0] += 1


def main():
    server, rng, admin = raw.begin(__doc__, SEED, SPACES)
    time.sleep(1)  # until what a new namespace gets is there
    for space in SPACES:
        admin.ask("POST", "/api/v1/namespaces/%s/configmaps" % space, {"metadata": {"name": "o0"}})
    rv = admin.ask("GET", "/api/v1/configmaps?limit=1")[1]["metadata"]["resourceVersion"]
    quote = urllib.parse.quote
    kinds = [
        dict(name="everything"),
        dict(name="one namespace", space=SPACES[0]),
        dict(name="a label", query="&labelSelector=" + quote("colour=red"), select=lambda o: o[1].get("colour") == "red" or o[0] == "end"),
        dict(name="two labels", space=SPACES[1], query="&labelSelector=" + quote("colour in (red,blue)"),
             select=lambda o: o[1].get("colour") in ("red", "blue")),
        dict(name="no label", query="&labelSelector=" + quote("colour!=green"), select=lambda o: o[1].get("colour") != "green"),
        dict(name="a name", space=SPACES[0], query="&fieldSelector=" + quote("metadata.name!=o1"), select=lambda o: o[0] != "o1"),
        dict(name="tables", space=SPACES[1], table=True),
        dict(name="slow", pace=0.01),
        dict(name="slower", space=SPACES[0], pace=0.03),
        dict(name="with little room", pace=0.005, receive=65536),
    ]
    watches = [Watch(server, k["name"], rv, **{a: b for a, b in k.items() if a != "name"}) for k in kinds for _ in range(3)]
    for w in watches:
        w.start()
    for w in watches:
        w.begun.wait(20)
    made, until = [0], time.monotonic() + SECONDS
    writers = [threading.Thread(target=write, args=(server, rng.random(), until, made)) for _ in range(3)]
    for t in writers:
        t.start()
    for k in range(10):  # and some come in the middle
        time.sleep(SECONDS / 12)
        late = dict(rng.choice(kinds))
        now = admin.ask("GET", "/api/v1/configmaps?limit=1")[1]["metadata"]["resourceVersion"]
        w = Watch(server, late.pop("name") + ", late", now, **late)
        w.late = int(now)
        watches.append(w)
        w.start()
    for t in writers:
        t.join()
    for space in SPACES:
        admin.ask("POST", "/api/v1/namespaces/%s/configmaps" % space,
                  {"metadata": {"name": "end", "labels": {"colour": "red"}}})
    for w in watches:
        w.join(60)
    # Of what was there before the watches began only the state matters.
    believed = watches[0]
    seen = [e for e in believed.events if e[1] in SPACES]
    check("everything: %d changes by %d writes, to the end" % (len(seen), made[0]), not believed.why and seen and
          seen[-1][2] == "end", believed.why)
    check("in order, each once", [int(e[3]) for e in seen] == sorted({int(e[3]) for e in seen}))
    before = [("ADDED", space, "o0", "0", {}) for space in SPACES]
    for w in watches[1:]:
        late = getattr(w, "late", 0)
        want = [e for e in w.expected(before + seen) if int(e[3]) > late]
        got = [e[:4] for e in w.events if e[1] in SPACES]
        if got != want or w.why:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            check(w.name_of_it, False, w.why, "got %d, want %d, differ at %d: got %s, want %s" % (
                len(got), len(want), at, got[at:at + 3], want[at:at + 3]))
    check("%d watches saw what they had to" % len(watches), not raw.failed)
    admin = Client(server)
    for space in SPACES:
        admin.ask("DELETE", "/api/v1/namespaces/" + space)
    sys.exit(raw.failed > 0)


if __name__ == "__main__":
    main()
