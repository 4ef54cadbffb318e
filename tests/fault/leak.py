"""A million pods are created, run and deleted; then the cache's memory (by what it holds), every
process's memory and its descriptors are what they were before, and the whole cache is sound.

The first rounds bring caches and free lists to their size; the comparison is of what comes
after.  What a pod leaves behind would show as bytes for each pod."""
import argparse, os, sys, time
import faults as F
from cluster import APPS, Client, Cluster, Failure, Tally, deployment

# Events go at once, and little history is kept: only what should stay, stays.
CONFIG = """
cache: {journalMin: 1024, journalMax: 1024, first: 1Mi}
log: {segment: 4Mi}
events: {ttl: 2s, perSecond: 20}
"""
WARM = 3           # rounds before the comparison
SLACK = 1 << 20    # bytes of the cache, and of each process, that may differ
REST = 120         # seconds until everything has to be at rest


def scale(c, client, n):
    client.call("PATCH", APPS + "/deployments/churn", {"spec": {"replicas": n}},
                "application/merge-patch+json")
    until = time.monotonic() + REST
    while time.monotonic() < until:
        d = client.sure("GET", APPS + "/deployments/churn")[1]
        pods = client.sure("GET", "/api/v1/namespaces/default/pods?limit=1")[1]
        left = len(pods["items"]) + pods["metadata"].get("remainingItemCount", 0)
        if d["status"].get("readyReplicas", 0) == n and left == n:
            return
        time.sleep(0.05)
    raise Failure(f"{left} pods instead of {n} after {REST} s")


def used(c):
    """Bytes of the cache by what they are for, at rest: the least of some looks, as leases are
    written all the time."""
    time.sleep(4)
    looks = []
    for _ in range(8):
        looks.append(c.status()["cache"]["used"])
        time.sleep(0.5)
    return {key: min(look[key] for look in looks) for key in looks[0]}


def process_state(c):
    """{name: (bytes of its own memory, descriptors)}"""
    out = {}
    for name, pid in c.processes().items():
        text = open(f"/proc/{pid}/status").read()
        anon = int(text.split("RssAnon:")[1].split()[0]) * 1024
        out[name] = anon, len(os.listdir(f"/proc/{pid}/fd"))
    return out


def sound(c):
    """The store checks its whole cache."""
    if not c.faults.supported:
        return
    lines = sum("the cache is sound" in line for line in c.log())
    c.faults.set("store_verify", F.FAIL)
    until = time.monotonic() + REST
    while sum("the cache is sound" in line for line in c.log()) == lines:
        if c.log_says("the cache is not sound") or time.monotonic() > until:
            raise Failure(c.log_says("the cache is not sound") or "the cache was not checked")
        time.sleep(0.1)


def compare(before, after, what, pods):
    for key in after:
        if after[key] - before.get(key, 0) > SLACK:
            raise Failure(f"{what} {key}: {before.get(key, 0)} bytes before {pods} pods, {after[key]} after")


def run(c, tally, o):
    client = Client(c)
    status, answer = client.call("POST", APPS + "/deployments", deployment("churn", "churn", 0))
    if status != 201:
        raise Failure(str(answer))
    rounds = max(1, o.pods // o.replicas)
    start = time.monotonic()
    for i in range(WARM + rounds):
        if i == WARM:
            sound(c)
            memory, processes = used(c), process_state(c)
        scale(c, client, o.replicas)
        scale(c, client, 0)
        if i % 5 == 4:
            print(f"{(i + 1) * o.replicas} pods after {time.monotonic() - start:.0f} s", flush=True)
    pods = rounds * o.replicas
    sound(c)
    after, now = used(c), process_state(c)
    print(f"cache before {memory}\ncache after  {after}", flush=True)
    compare(memory, after, "cache:", pods)
    compare({n: s[0] for n, s in processes.items()}, {n: s[0] for n, s in now.items()}, "memory of", pods)
    for name, (anon, descriptors) in now.items():
        print(f"{name}: {processes[name][0] >> 10} to {anon >> 10} KiB, {processes[name][1]} to "
              f"{descriptors} descriptors", flush=True)
        if descriptors > processes[name][1] + 2:
            raise Failure(f"{name} has {descriptors} descriptors, {processes[name][1]} before")
    tally.add("pods churned without a leak", pods)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--weft", default="build-faults/weft")
    options.add_argument("--pods", type=int, default=1000000)
    options.add_argument("--replicas", type=int, default=25000, help="pods at once")
    options.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")))
    o = options.parse_args()
    c, tally, bad = Cluster(o.weft, config=CONFIG, nodes=300), Tally(), None
    try:
        c.up()
        run(c, tally, o)
        c.stop()
    except Failure as e:
        bad = str(e)
        print("BROKEN:", bad)
    finally:
        c.kill()
        c.close(o.keep)
    if bad:
        sys.exit(1)
    tally.close()


main()
