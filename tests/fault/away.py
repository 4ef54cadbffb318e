"""All of weft is away for longer than a node's grace period: stopped, as with the machine that
it runs on, or behind a clock that is set.  Nobody's silence in that time counts: no node is
taken for lost, no pod for not ready."""
import signal, time
from cluster import APPS, NS, Client, Cluster, Failure, deployment, options, run_on, wait_until

GRACE = 3  # seconds
CONFIG = f"""
supervisor: {{stallAfter: 3s}}
nodes: {{grace: {GRACE}s}}
"""
LATE = 0.8  # seconds that nodes need longer than those who judge them
JUDGES = ["nodelifecycle/0", "node/0"]
REPLICAS = 40


def ready(o):
    return next((c["status"], c["lastTransitionTime"]) for c in o["status"]["conditions"]
                if c["type"] == "Ready")


def look(c):
    """{what: (status, since when)} of all nodes and pods."""
    client = Client(c)
    return {o["metadata"]["name"]: ready(o) for path in ("/api/v1/nodes", NS + "/pods")
            for o in client.sure("GET", path)[1]["items"]}


def wait_ready(c):
    client = Client(c)
    client.sure("POST", APPS + "/deployments", deployment("away", "away", REPLICAS), good=(201,))
    wait_until(lambda: client.sure("GET", APPS + "/deployments/away")[1].get("status", {}).get(
        "readyReplicas") == REPLICAS, 60, lambda: f"{REPLICAS} pods are not ready after 60 s")


def stop_all(c):
    """The supervisor first: it would end those that stand still.  The nodes come back last."""
    pids = c.processes()
    others = [c.process.pid] + [pid for name, pid in pids.items() if name != "node/0"]
    for pid in others + [pids["node/0"]]:
        c.send(pid, signal.SIGSTOP)
    time.sleep(3 * GRACE)
    for pid in reversed(others):
        c.send(pid, signal.SIGCONT)
    time.sleep(LATE)
    c.send(pids["node/0"], signal.SIGCONT)


def set_clock(c):
    """The monotonic one, by which grace periods are measured, and not back again."""
    c.send("node/0", signal.SIGSTOP)
    c.faults.clock(mono_s=3600)
    time.sleep(LATE)
    c.send("node/0", signal.SIGCONT)


def run(c, tally, o):
    wait_ready(c)
    for away in (stop_all, stop_all, set_clock):
        before, pids = look(c), c.processes()
        away(c)
        time.sleep(2 * GRACE)
        c.wait_all_run()
        changed = {n: s for n, s in look(c).items() if before.get(n) != s}
        if changed:
            raise Failure(f"{away.__name__}: {len(changed)} of {len(before)} changed: "
                          f"{list(changed.items())[:4]}")
        if {n: c.processes().get(n) for n in JUDGES} != {n: pids.get(n) for n in JUDGES}:
            raise Failure(f"{away.__name__}: who judges was replaced: nothing is shown")
        tally.add(f"away: {away.__name__}")


def main():
    o = options().parse_args()
    run_on(Cluster(o.weft, 1, CONFIG), o, run, needs_faults=True)


main()
