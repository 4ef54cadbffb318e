"""Each pod has an address of its own, also when the node process has missed so much that it
works out anew which ones are free while statuses are on their way; and where there are fewer
addresses than pods, the others wait, and are told why."""
import signal, time
from cluster import Client, Cluster, Failure, options, run_on, wait_until
from crowd import APPS, PODS, Crowd
from load import Shared

STOPPED_S = 2.5  # more pods are made meanwhile than the node process can be told of
NODES = 500
FEW, WANTED = 62, 100  # addresses of a /26, pods
FEW_CONFIG = "pods: {cidr: 127.200.0.0/26}\n"


def room(o):
    """Pods that a node takes."""
    return 2 * o.pods // NODES


def missed(c, tally, o):
    crowd = Crowd(Shared(c, 1), o.pods, room(o))
    c.send("node/0", signal.SIGSTOP)
    crowd.create()
    time.sleep(STOPPED_S)
    c.send("node/0", signal.SIGCONT)
    crowd.await_rest(120)
    crowd.count()
    tally.add("node process that missed pods")


def ready(client):
    return client.sure("GET", f"{APPS}/crowd")[1]["status"].get("readyReplicas", 0)


def too_few(c, tally, o):
    client, crowd = Client(c), Crowd(Shared(c, 1), WANTED)
    crowd.create()
    wait_until(lambda: ready(client) == FEW, 30, lambda: f"{ready(client)} of {FEW} pods are ready")
    waiting = [p for p in client.sure("GET", PODS)[1]["items"] if p["status"]["phase"] == "Pending"]
    if len(waiting) != WANTED - FEW or any("podIP" in p["status"] for p in waiting):
        raise Failure(f"{len(waiting)} pods wait: {waiting[:1]}")
    told = lambda: [e for e in client.sure("GET", PODS.replace("pods", "events"))[1]["items"]
                    if e["reason"] == "FailedCreatePodSandBox"]
    wait_until(told, 10, lambda: "no Event says that there is no address")
    crowd.scale(FEW - 2)
    crowd.await_rest(30)
    crowd.count()
    client.sure("DELETE", PODS, good=(200,))
    crowd.await_rest(60)
    crowd.count()
    tally.add("range of addresses used up")


def main():
    o = options()
    o.add_argument("--pods", type=int, default=700000)
    o = o.parse_args()
    big = f"nodes: {{pods: {room(o)}, cpu: '100000', memory: 100Ti}}\n"
    run_on(Cluster(o.weft, 1, big, NODES), o, missed)
    run_on(Cluster(o.weft, 1, FEW_CONFIG), o, too_few)


main()
