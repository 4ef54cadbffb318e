"""What must hold, judged by what clients saw; none of it is asked of weft itself."""
import json, re, time
from cluster import TYPES, Client, version
from load import is_complete

SETTLE = 60  # seconds after the harm


def objects(client, path):
    return {o["metadata"]["name"]: o for o in client.sure("GET", path)[1]["items"]}


# --- The end: everything is as it was acknowledged --------------------------------

def complaints(client, expected):
    """What is not yet, or no more, as it must be."""
    there = {what: objects(client, path) for what, path in TYPES.items()}
    must = {what: {n: o for (w, n), o in expected.items() if w == what} for what in TYPES}
    for what in ("configmaps", "deployments"):
        have = {n for n in there[what] if n != "kube-root-ca.crt" and not n.startswith("shared-")}
        for name in set(must[what]) - have:
            yield f"{what}/{name} was acknowledged and is not there"
        for name in have - set(must[what]):
            yield f"{what}/{name} is there and should not be"
    for name, o in must["configmaps"].items():
        now = there["configmaps"].get(name)
        if now and (now["data"] != o["data"] or version(now) != version(o)):
            yield f"configmaps/{name}: {now['data']} at {version(now)}, acknowledged {o['data']} at {version(o)}"
    for name, o in must["deployments"].items():
        now = there["deployments"].get(name)
        if now:
            yield from deployment_complaints(o, now, there)
    owners = {o["metadata"]["uid"] for o in list(there["deployments"].values()) +
              list(there["replicasets"].values())}
    for what in ("replicasets", "pods"):
        for name, o in there[what].items():
            for ref in o["metadata"].get("ownerReferences", []):
                if ref["uid"] not in owners:
                    yield f"{what}/{name} has lost its owner"


def deployment_complaints(o, now, there):
    name, n = o["metadata"]["name"], o["spec"]["replicas"]
    image = o["spec"]["template"]["spec"]["containers"][0]["image"]
    if now["spec"]["replicas"] != n or \
            now["spec"]["template"]["spec"]["containers"][0]["image"] != image:
        yield f"deployments/{name} is not what was acknowledged"
    if not is_complete(now, n):
        yield f"deployments/{name} wants {n}: {now['status']}"
    app = now["spec"]["selector"]["matchLabels"]["app"]
    pods = [p for p in there["pods"].values() if p["metadata"]["labels"].get("app") == app]
    images = {p["spec"]["containers"][0]["image"] for p in pods}
    if len(pods) != n or images - {image}:
        yield f"deployments/{name} wants {n} pods of {image}: {len(pods)} of {images}"


def settle(shared, expected, seconds=SETTLE):
    """Wait for rest; returns how long it took."""
    client = Client(shared.cluster)
    start = time.monotonic()
    while True:
        left = list(complaints(client, expected))
        if not left or shared.failures:
            return time.monotonic() - start
        if time.monotonic() - start > seconds:
            for text in left[:20]:
                shared.broken(text)
            return seconds
        time.sleep(0.2)


# --- The way there: watches ----------------------------------------------------------

def compare(shared, watchers):
    """Watches end where lists are."""
    client = Client(shared.cluster)
    for w in watchers:
        for attempt in range(100):
            there = objects(client, w.path)
            have = {n: version(o) for n, o in list(w.seen.items())}
            if have == {n: version(o) for n, o in there.items()}:
                break
            time.sleep(0.1)
        else:
            differ = [n for n in set(have) | set(there)
                      if n not in there or have.get(n) != version(there[n])]
            shared.broken(f"the watch of {w.what} and the list differ: {differ[:5]}")


def in_gap(watcher, rv):
    return any(a < rv <= b for a, b in watcher.gaps)


def every_change_once(shared, watchers):
    """Acknowledged writes were told to every watch of their type, and all watches of a type
    were told the same, except for what a 410 announced."""
    for w in watchers:
        told = {rv for rv, kind, name in w.events}
        if len(told) != len(w.events):
            shared.broken(f"a watch of {w.what} was told something twice")
        for what, name, rv in shared.acked:
            if what == w.what and rv not in told and not in_gap(w, rv) and rv <= w.at:
                shared.broken(f"{what}/{name} was acknowledged at {rv}, its watch was not told")
        for other in watchers:
            if other is w or other.what != w.what:
                continue
            for event in w.events:
                if not in_gap(other, event[0]) and event[0] <= other.at and \
                        event not in other.told:
                    shared.broken(f"one watch of {w.what} was told {event}, another was not")


def journal(shared, watchers):
    """What the journal still holds is what the watches were told."""
    for w in watchers:
        if not w.first or not w.events:
            continue
        for rv, again in replay(shared.cluster, w):
            if not in_gap(w, rv) and rv <= w.at and again not in w.told:
                shared.broken(f"the journal of {w.what} says {again}, its watch was not told")


def replay(cluster, w):
    """The journal's events of a type from as far back as it reaches."""
    starts = [rv for rv, kind, name in w.events]
    for start in starts[::max(1, len(starts) // 64)]:
        connection = cluster.connect(10)
        try:
            connection.request("GET", f"{w.path}&watch=1&timeoutSeconds=1&resourceVersion={start}")
            answer = connection.getresponse()
            if answer.status != 200:
                continue
            lines = [json.loads(line) for line in answer.read().splitlines()]
        except OSError:
            continue
        finally:
            connection.close()
        if lines and lines[0]["type"] == "ERROR":
            continue
        for e in lines:
            o = e["object"]
            if e["type"] == "ERROR":  # it moved on meanwhile
                return
            yield version(o), (version(o), e["type"], o["metadata"]["name"])
        return


# --- The way there: workloads ------------------------------------------------------------

def wanted(history, at):
    """The most that a ReplicaSet wanted at this resourceVersion or before it, since it last had
    what it wanted, and since when that is."""
    most, since = 0, min(history[0][0], at) if history else 0
    for rv, n, settled in history:
        if rv > at:
            break
        most = n if settled else max(most, n)
        since = rv if settled else since
    return most, since


def too_many(shared, watchers):
    """A pod may be made while its ReplicaSet wants it, or wanted it since it last
    had what it wanted: nobody can know at once that it wants fewer."""
    sets = [w for w in watchers if w.what == "replicasets" and w.first]
    gaps = [gap for w in sets for gap in w.gaps]
    for at, uid, pods, name in shared.made:
        most, since = wanted(shared.asked.get(uid, []), at)
        if pods > most and not any(a < at and b > since for a, b in gaps):
            shared.broken(f"pods/{name} made at {at}: {pods} pods, its ReplicaSet wants {most}")


# --- The processes ---------------------------------------------------------------------------

def deaths(shared, may_end):
    """Nobody ends but by our hand; with `may_end`, an orderly end for want of something
    that was refused is none of weft's doing."""
    bad = r"was killed by signal (?!9\b)|assertion failed|Sanitizer|runtime error|out of memory"
    if not may_end:
        bad += r"|ended with status"
    for line in shared.cluster.log():
        if re.search(bad, line):
            shared.broken(line.strip())


def judge(shared, watchers, writers, may_end=False):
    """All of it, once writers have ended."""
    expected = {k: o for w in writers for k, o in w.expected.items()}
    took = settle(shared, expected) if not shared.failures else 0
    if not shared.failures:
        compare(shared, watchers)
    for w in watchers:
        w.told = set(w.events)
    if not shared.failures:
        every_change_once(shared, watchers)
    if not shared.failures:
        journal(shared, watchers)
    if not shared.failures:
        too_many(shared, watchers)
    deaths(shared, may_end)
    return took
