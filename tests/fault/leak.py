"""A million pods are created, run and deleted; then the cache's memory (by what it holds), every
process's memory and its descriptors are what they were before, and the whole cache is sound.

The first rounds bring caches and free lists to their size; the comparison is of what comes
after.  What a pod leaves behind shows as bytes for each pod, each time: a buffer that a busy
moment made larger shows once, so what has grown is given another chance, two at most."""
import os, time
import faults as F
from cluster import APPS, Client, Cluster, Failure, deployment, options, run_on

# Events go at once, and little history is kept: only what should stay, stays.
CONFIG = """
cache: {journalMin: 1024, journalMax: 1024, first: 1Mi}
log: {segment: 4Mi}
events: {ttl: 2s, perSecond: 20}
"""
WARM = 3           # rounds before the comparison
STAY = 8           # seconds, once, for which pods live: the checkpoint writes them all
CHANCES = 3
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


def churn(c, client, rounds, replicas, stay=0):
    for _ in range(rounds):
        scale(c, client, replicas)
        time.sleep(stay)
        scale(c, client, 0)


def state(c):
    """{what: bytes} of the cache and of each process, and {process: descriptors}"""
    sound(c)
    cache, processes = used(c), process_state(c)
    print("cache", cache, flush=True)
    memory = {f"cache: {key}": n for key, n in cache.items()}
    memory.update({f"memory of {name}": s[0] for name, s in processes.items()})
    return memory, {name: s[1] for name, s in processes.items()}


def grown(before, after, slack):
    """[(what, before, after)] of what takes more than it did"""
    return [(key, before.get(key, 0), n) for key, n in after.items() if n > before.get(key, 0) + slack]


def run(c, tally, o):
    client = Client(c)
    status, answer = client.call("POST", APPS + "/deployments", deployment("churn", "churn", 0))
    if status != 201:
        raise Failure(str(answer))
    rounds = max(1, o.pods // o.replicas)
    start = time.monotonic()
    churn(c, client, WARM, o.replicas)
    churn(c, client, 1, o.replicas, STAY)
    before = state(c)
    for chance in range(CHANCES):
        churn(c, client, rounds, o.replicas)
        after = state(c)
        print(f"{rounds * o.replicas} pods after {time.monotonic() - start:.0f} s", flush=True)
        more = grown(before[0], after[0], SLACK) + grown(before[1], after[1], 2)
        if not more:
            break
        print("more than before:", *more, flush=True)
        before = after
    else:
        raise Failure(f"each {rounds * o.replicas} pods leave something behind: {more}")
    for name, descriptors in after[1].items():
        print(f"{name}: {after[0]['memory of ' + name] >> 10} KiB, {descriptors} descriptors", flush=True)
    tally.add("pods churned without a leak", (chance + 1) * rounds * o.replicas)


def main():
    o = options()
    o.add_argument("--pods", type=int, default=1000000)
    o.add_argument("--replicas", type=int, default=25000, help="pods at once")
    o = o.parse_args()
    run_on(Cluster(o.weft, config=CONFIG, nodes=300), o, run)


main()
