"""Pods leave a node that is tainted NoExecute, or is not there at all, while somebody else
writes to them, or the store refuses what is asked of it, or a process ends: they say why
they go, nothing that others wrote is lost, and in the end they go."""
import errno, re, signal, time
import faults as F
from cluster import NS, Client, Cluster, Failure, await_pod, end_store, options, run_on, wait_until

WITHIN = 30
CONFIG = "log: {segment: 1Mi}\nsupervisor: {stallAfter: 30s}\n"  # who is held is not hung
NODE = "/api/v1/nodes/node-0"
TAINT = {"key": "example.com/away", "effect": "NoExecute"}
KEEP = "example.com/keep"
LIFECYCLE, STORE = F.kind_bit("nodelifecycle"), F.kind_bit("store")
QUARANTINE, AGAIN = 40, 20  # seconds that pods of no node are left alone, at first and then
MERGE = "application/merge-patch+json"


def pod(name, node):
    """It stays until it is let go."""
    return {"metadata": {"name": name, "finalizers": [KEEP]}, "spec": {
        "nodeName": node, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "nginx"}]}}


def reason(o, condition):
    return next((k.get("reason") for k in o["status"].get("conditions", [])
                 if k["type"] == condition), None)


def going(why):
    return lambda o: o and "deletionTimestamp" in o["metadata"] and \
        reason(o, "DisruptionTarget") == why


def taint(c, *taints):
    Client(c).sure("PATCH", NODE, {"spec": {"taints": list(taints)}}, good=(200,), kind=MERGE)


def write_to(c, name):
    Client(c).sure("PATCH", f"{NS}/pods/{name}/status", {"status": {"conditions": [
        {"type": "example.com/Other", "status": "True", "reason": "Written"}]}}, good=(200,),
        kind="application/strategic-merge-patch+json")


def lifecycle(c):
    """What nodelifecycle counts, and who it is."""
    for p in (c.status() or {}).get("processes", []):
        if p["process"] == "nodelifecycle" and p["pid"] > 1:
            return {"pid": p["pid"], **p["counters"]}
    return None


def await_lifecycle(c, what, holds):
    wait_until(lambda: (now := lifecycle(c)) and holds(now), WITHIN,
               lambda: f"nodelifecycle {what} after {WITHIN} s: {lifecycle(c)}")


def let_go(c, name):
    Client(c).sure("PATCH", f"{NS}/pods/{name}", {"metadata": {"finalizers": None}}, kind=MERGE)
    await_pod(c, name, "has not gone", lambda o: not o)


class Tainted:
    """A node that its pods may not stay on."""
    why = "DeletionByTaintManager"

    def __init__(self, c):
        self.c = c
        taint(c)
        Client(c).sure("POST", NS + "/pods", pod("p", "node-0"), good=(201,))
        await_pod(c, "p", "does not run", lambda o: o["status"].get("phase") == "Running")

    def begin(self):
        taint(self.c, TAINT)

    def again(self):
        """Nothing more is needed for it."""

    def anew(self):
        """Nor for a process that knows nothing yet."""


class Missing:
    """A node that nobody has heard of; time passes quickly."""
    why = "DeletionByPodGC"
    passed = 0

    def __init__(self, c):
        self.c = c
        before = lifecycle(c)["work_items"]
        Client(c).sure("POST", NS + "/pods", pod("p", "nowhere"), good=(201,))
        await_lifecycle(c, "has not noted the pod", lambda now: now["work_items"] > before)

    def wait(self, seconds):
        Missing.passed += seconds + 1
        self.c.faults.clock(mono_s=Missing.passed)

    def begin(self):
        self.wait(QUARANTINE)

    def again(self):
        self.wait(AGAIN)

    def anew(self):
        time.sleep(0.5)  # it has looked at everything
        self.wait(QUARANTINE)


def held(c, node, do):
    """do() before nodelifecycle's first request about the pod is sent, which is refused then."""
    before = lifecycle(c)["errors"]
    c.while_held(LIFECYCLE, node.begin, do)
    await_lifecycle(c, "was refused nothing", lambda now: now["errors"] > before)


def overtaken(c, node):
    held(c, node, lambda: write_to(c, "p"))
    node.again()
    await_pod(c, "p", "does not say why it goes, and what was written",
              lambda o: going(node.why)(o) and reason(o, "example.com/Other") == "Written")


def refused(c, node):
    held(c, node, lambda: c.faults.set("disk_write", F.FAIL, errno.ENOSPC, kinds=STORE,
                                       times=F.FOR_EVER))
    c.faults.clear("disk_write")
    node.again()
    await_pod(c, "p", "does not go", going(node.why))


def store_ended(c, node):
    before = lifecycle(c)["resyncs"]
    held(c, node, lambda: end_store(c))
    await_lifecycle(c, "did not look at everything", lambda now: now["resyncs"] > before)
    node.anew()
    await_pod(c, "p", "does not go", going(node.why))


def ended(c, node):
    """The process that would have done it."""
    before = lifecycle(c)["pid"]
    c.while_held(LIFECYCLE, node.begin, lambda: c.send(before, signal.SIGKILL))
    await_lifecycle(c, "has no successor",
                    lambda now: now["pid"] != before and now["resyncs"] > 0)
    node.anew()
    await_pod(c, "p", "does not go", going(node.why))


def run(c, tally, o):
    for kind in (Tainted, Missing):
        for harm in (overtaken, refused, store_ended, ended):
            harm(c, kind(c))
            let_go(c, "p")
            tally.add(f"end of a pod: {harm.__name__.replace('_', ' ')}")
    died = [line for line in c.log() if re.search(r"was killed by signal (?!9\b)", line)]
    if died:
        raise Failure(died[0])


def main():
    o = options().parse_args()
    run_on(Cluster(o.weft, 1, CONFIG, nodes=1), o, run, needs_faults=True)


main()
