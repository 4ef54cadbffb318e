"""While the scheduler makes room for a pod, the store refuses what it asks for, or ends, or
somebody else writes to the pod that is to go: the pod gets its place all the same, whoever is
told something is told it, and nothing that others wrote is lost."""
import errno, time
import faults as F
from cluster import NS, Client, Cluster, Failure, await_pod, end_store, options, run_on

# Pods that wait for nothing known are looked at every 300 s, longer than a test waits.
CONFIG = "nodes: {cpu: 4}\nlog: {segment: 1Mi}\n"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
SCHEDULER, STORE = F.kind_bit("scheduler"), F.kind_bit("store")
LEAVES_IN = "1s"


def pod(name, priority=None):
    """Two of them do not fit on the node."""
    return {"metadata": {"name": name, "annotations": {"weft.dev/stop": LEAVES_IN}}, "spec": {
        **({"priorityClassName": priority} if priority else {}),
        "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "3"}}}]}}


def conditions(o):
    return {k["type"]: k.get("reason") for k in o["status"].get("conditions", [])}


def is_running(o):
    return o and o["status"].get("phase") == "Running"


def create_and(c, o, do):
    """Create a pod; what the scheduler asks for because of it waits until do() is done."""
    c.while_held(SCHEDULER, lambda: Client(c).sure("POST", NS + "/pods", o, good=(201,)),
                 lambda: do(c))


def refuse(c):
    c.faults.set("disk_write", F.FAIL, errno.ENOSPC, kinds=STORE, times=F.FOR_EVER)


def relent(c, before):
    """After what was asked for has been refused."""
    if not c.faults.wait_fired("disk_write", before, 5):
        raise Failure("nothing was refused")
    time.sleep(0.5)
    c.faults.clear("disk_write")


def write_to_victim(c):
    Client(c).sure("PATCH", f"{NS}/pods/low/status", {"status": {"conditions": [
        {"type": "example.com/Other", "status": "True", "reason": "Written"}]}}, good=(200,),
        kind="application/strategic-merge-patch+json")


def eviction_refused(c):
    before = c.faults.fired("disk_write")
    create_and(c, pod("high", "high"), refuse)
    relent(c, before)


def mark_overtaken(c):
    create_and(c, pod("high", "high"), write_to_victim)
    await_pod(c, "low", "does not say why it goes, and what was written",
              lambda o: o and conditions(o).get("DisruptionTarget") == "PreemptionByScheduler" and
              conditions(o).get("example.com/Other") == "Written")


def store_ended(c):
    create_and(c, pod("high", "high"), end_store)


def condition_refused(c):
    before = c.faults.fired("disk_write")
    create_and(c, pod("large"), refuse)
    relent(c, before)
    await_pod(c, "large", "was told nothing",
              lambda o: o and conditions(o).get("PodScheduled") == "Unschedulable")


def make_room(c, tally, harm):
    """`low` runs, and goes for `high`."""
    client = Client(c)
    client.sure("POST", NS + "/pods", pod("low"), good=(201,))
    await_pod(c, "low", "does not run", is_running)
    harm(c)
    await_pod(c, "high", "has no place", is_running)
    await_pod(c, "low", "has not gone", lambda o: not o)
    client.sure("DELETE", f"{NS}/pods/high", {"gracePeriodSeconds": 0}, good=(200,))
    await_pod(c, "high", "has not gone", lambda o: not o)
    tally.add(harm.__name__.replace("_", " "))


def run(c, tally, o):
    client = Client(c)
    client.sure("POST", CLASSES, {"metadata": {"name": "high"}, "value": 1000}, good=(201,))
    for harm in (eviction_refused, mark_overtaken, store_ended):
        make_room(c, tally, harm)
    client.sure("POST", NS + "/pods", pod("low"), good=(201,))
    await_pod(c, "low", "does not run", is_running)
    condition_refused(c)
    tally.add("condition refused")
    died = c.log_says("scheduler", "was killed by signal")
    if died:
        raise Failure(died)


def main():
    o = options().parse_args()
    run_on(Cluster(o.weft, 1, CONFIG, nodes=1), o, run, needs_faults=True)


main()
