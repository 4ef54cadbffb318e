"""The store refuses what the scheduler asks for while it makes room for a pod: once it takes
writes again, the pod gets its place, and all that are told something have been told it."""
import argparse, errno, os, time
import faults as F
from cluster import NS, Client, Cluster, Failure, run_on

WITHIN = 30  # seconds; pods that wait for nothing known are looked at every 300
CONFIG = "nodes: {cpu: 4}\nlog: {segment: 1Mi}\n"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def pod(name, cpu, priority=None):
    return {"metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 0, **({"priorityClassName": priority} if priority else {}),
        "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}]}}


def await_pod(c, name, what, holds):
    until = time.monotonic() + WITHIN
    while True:
        status, o = Client(c).sure("GET", f"{NS}/pods/{name}")
        if holds(o if status == 200 else None):
            return
        if time.monotonic() > until:
            raise Failure(f"{name} {what} after {WITHIN} s: {o.get('status')}")
        time.sleep(0.05)


def is_running(o):
    return o and o["status"].get("phase") == "Running"


def is_told(o):
    return o and any(k["type"] == "PodScheduled" and k["reason"] == "Unschedulable"
                     for k in o["status"].get("conditions", []))


def refuse_answer_to(c, o):
    """The creation of a pod is taken, what the scheduler asks for because of it is not."""
    scheduler, store = F.kind_bit("scheduler"), F.kind_bit("store")
    held, refused = c.faults.fired("proc_flush"), c.faults.fired("disk_write")
    c.faults.set("proc_flush", F.WAIT, 200000, kinds=scheduler)
    Client(c).sure("POST", NS + "/pods", o, good=(201,))
    if not c.faults.wait_fired("proc_flush", held, 5):
        raise Failure(f"the scheduler has nothing to ask for {o['metadata']['name']}")
    c.faults.set("disk_write", F.FAIL, errno.ENOSPC, kinds=store, times=F.FOR_EVER)
    if not c.faults.wait_fired("disk_write", refused, 5):
        raise Failure("nothing was refused")
    time.sleep(0.5)
    c.faults.clear("disk_write")


def run(c, tally, o):
    client = Client(c)
    client.sure("POST", CLASSES, {"metadata": {"name": "high"}, "value": 1000}, good=(201,))
    client.sure("POST", NS + "/pods", pod("low", "3"), good=(201,))
    await_pod(c, "low", "does not run", is_running)
    refuse_answer_to(c, pod("high", "3", "high"))
    await_pod(c, "high", "has no place", is_running)
    await_pod(c, "low", "has not gone", lambda o: not o)
    tally.add("eviction refused")
    refuse_answer_to(c, pod("large", "3"))
    await_pod(c, "large", "was told nothing", is_told)
    tally.add("condition refused")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--weft", default="build-faults/weft")
    options.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")))
    o = options.parse_args()
    run_on(Cluster(o.weft, 1, CONFIG, nodes=1), o, run, needs_faults=True)


main()
