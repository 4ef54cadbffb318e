"""Each pod has an address of its own, also when the node process has missed so much that it
works out anew which ones are free while statuses are on their way; and where there are fewer
addresses than pods, the others wait, and are told why.  No address is lost: not when a pod goes
and nothing of it is left when the node process comes to it, nor when a client changes statuses.
One that is killed again and again gives no address that any pod has, though it has not looked
at all of them.  Nodes have addresses of their own, too, and keep them, however many processes play them."""
import random, signal, subprocess, time
from cluster import NS, Client, Cluster, Failure, await_pod, get_pod, options, run_on, wait_until
from crowd import APPS, PODS, Crowd
from load import Shared

STOPPED_S = 2.5  # more pods are made meanwhile than the node process can be told of
NODES = 500
FEW, WANTED = 62, 100  # addresses of a /26, pods
FEW_CONFIG = "pods: {cidr: 127.200.0.0/26}\n"
WINDOW = 1024  # changes that the journal goes back over
WINDOW_CONFIG = FEW_CONFIG + f"""supervisor: {{stallAfter: 20s}}
cache: {{journalMin: {WINDOW}, journalMax: {WINDOW}}}
"""
HOSTS, MORE_HOSTS = 10000, 300  # nodes; those made while the number of processes changes
PLAYED, KILLS = 300, 7  # pods on three nodes, and how often in a row their process is killed
FREE_S = 30  # until addresses that nobody shows any more are found
MERGE = "application/merge-patch+json"


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


def uids(client):
    return {p["metadata"]["uid"] for p in client.sure("GET", PODS)[1]["items"]}


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
    old = uids(client)
    client.sure("DELETE", PODS, good=(200,))
    wait_until(lambda: not old & uids(client), 30, lambda: "pods stay that were deleted")
    crowd.await_rest(60)
    crowd.count()
    tally.add("range of addresses used up")


def numbers(client):
    """The addresses of all pods that show one."""
    pods = client.sure("GET", PODS)[1]["items"]
    texts = [p["status"]["podIP"] for p in pods if p["status"].get("podIP")]
    if len(set(texts)) != len(texts):
        raise Failure(f"{len(texts)} pods have {len(set(texts))} addresses")
    return [tuple(map(int, text.split("."))) for text in texts]


def kill_node(c, before):
    """And its successor, as soon as there is one that is not `before`."""
    pid = lambda: c.processes().get("node/0", before)
    wait_until(lambda: pid() != before, 10, lambda: "the node process does not come back")
    found = pid()
    c.send(found, signal.SIGKILL)
    return found


def killed(c, tally, o):
    """At first one that rests: its successor begins above all that was given so far."""
    crowd = Crowd(Shared(c, 1), PLAYED)
    crowd.make()
    highest = max(numbers(crowd.client))
    crowd.scale(PLAYED // 3)
    crowd.await_rest(30)
    pid = kill_node(c, 0)
    crowd.scale(PLAYED)
    crowd.await_rest(30)
    new = [n for n in numbers(crowd.client) if n > highest]
    if len(new) != PLAYED - PLAYED // 3:
        raise Failure(f"{len(new)} addresses are above {highest}")
    for i in range(KILLS):
        pid = kill_node(c, pid)
        crowd.scale((PLAYED // 4, PLAYED)[i % 2])
        time.sleep(random.random() / 4)
        numbers(crowd.client)
    crowd.scale(PLAYED)
    crowd.await_rest(30)
    crowd.count()
    tally.add("node process killed again and again")


class Bare:
    """Pods of their own on node-0."""

    def __init__(self, c):
        self.client, self.path = Client(c), f"{NS}/pods"
        # Without it pods are refused, and a cluster that is ready is still making it.
        account = f"{NS}/serviceaccounts/default"
        wait_until(lambda: self.client.sure("GET", account)[0] == 200, 10, lambda: "there is no ServiceAccount")

    def make(self, names):
        for name in names:
            self.client.sure("POST", self.path, {"metadata": {"name": name}, "spec": {
                "nodeName": "node-0", "containers": [{"name": "c", "image": "nginx"}]}}, good=(201,))

    def addresses(self):
        pods = self.client.sure("GET", self.path)[1]["items"]
        return {p["metadata"]["name"]: p["status"]["podIP"] for p in pods if p["status"].get("podIP")}

    def await_addresses(self, n, seconds):
        """Of n pods, each its own."""
        wait_until(lambda: len(self.addresses()) == n, seconds,
                   lambda: f"{len(self.addresses())} of {n} pods have an address")
        if len(set(self.addresses().values())) != n:
            raise Failure(f"an address is used twice: {self.addresses()}")

    def end(self):
        """All at once, without asking the node."""
        self.client.sure("DELETE", self.path + "?gracePeriodSeconds=0", good=(200,))
        wait_until(lambda: not self.client.sure("GET", self.path)[1]["items"], 10,
                   lambda: "pods stay")


def let_go(client):
    """Write until nothing is left of what was deleted before."""
    path = NS + "/configmaps/window"
    client.sure("POST", NS + "/configmaps", {"metadata": {"name": "window"}}, good=(201, 409))
    for i in range(WINDOW + 100):
        client.sure("PATCH", path, {"data": {"n": str(i)}}, kind=MERGE)


def unseen(c, tally, o):
    """Pods go, and others get their places in the cache, before the node process knows."""
    pods = Bare(c)
    pods.make(f"first-{i}" for i in range(FEW))
    pods.await_addresses(FEW, 10)
    c.send("node/0", signal.SIGSTOP)
    pods.end()
    let_go(pods.client)
    pods.make(f"second-{i}" for i in range(FEW // 2))
    c.send("node/0", signal.SIGCONT)
    pods.make(f"third-{i}" for i in range(FEW // 2))
    pods.await_addresses(FEW, FREE_S)
    pods.end()
    tally.add("pods that went unseen")


def change_status(pods, change):
    """The pod's address, when it has one after this change of its status."""
    pods.client.sure("PATCH", pods.path + "/one/status", {"status": change}, kind=MERGE)
    own = lambda: pods.addresses().get("one")
    wait_until(own, FREE_S, lambda: f"a pod has no address after {change}")
    return own()


def taken_away(c, tally, o):
    """A client takes a pod's address out of its status, more often than there are some; one that
    it writes into it stays."""
    pods = Bare(c)
    pods.make(["one"])
    pods.await_addresses(1, 10)
    for i in range(FEW + 10):
        change_status(pods, {"podIP": None, "podIPs": None, **({"hostIP": None} if i % 2 else {})})
    if change_status(pods, {"podIP": "10.1.2.3"}) != "10.1.2.3":
        raise Failure(f"the pod has another address: {pods.addresses()}")
    pods.make(f"other-{i}" for i in range(FEW))
    pods.await_addresses(FEW + 1, FREE_S)
    pods.end()
    tally.add("address taken away")


def hosts(c):
    """{node: InternalIP}"""
    nodes = Client(c).sure("GET", "/api/v1/nodes")[1]["items"]
    return {n["metadata"]["name"]: a["address"] for n in nodes
            for a in n["status"].get("addresses", []) if a["type"] == "InternalIP"}


def judge_hosts(c, n, before):
    """Each has its own, those of `before` the same.  All of them."""
    wait_until(lambda: len(hosts(c)) == n, 60, lambda: f"{len(hosts(c))} of {n} nodes have an address")
    now = hosts(c)
    if len(set(now.values())) != n:
        raise Failure(f"{n} nodes have {len(set(now.values()))} addresses")
    changed = [name for name in before if now[name] != before[name]]
    if changed:
        raise Failure(f"{len(changed)} nodes have another address now, {changed[0]}: {before[changed[0]]}, "
                      f"then {now[changed[0]]}")
    return now


def nodes(c, tally, o):
    """Nodes of the configuration, and others that come while processes do; then all start anew."""
    now, client = judge_hosts(c, HOSTS, {}), Client(c)
    for i in range(MORE_HOSTS):
        if i % 100 == 50:
            subprocess.run([c.weft, "scale", f"node={2 + i // 100 % 2}", "--data", c.data], check=True,
                           capture_output=True)
        client.sure("POST", "/api/v1/nodes", {"metadata": {"name": f"more-{i}"}}, good=(201, 409))
    now = judge_hosts(c, HOSTS + MORE_HOSTS, now)
    client.sure("POST", f"{NS}/pods", {"metadata": {"name": "p"}, "spec": {
        "nodeName": "more-1", "containers": [{"name": "c", "image": "nginx"}]}}, good=(201,))
    await_pod(c, "p", "does not run", lambda p: p["status"]["phase"] == "Running")
    if get_pod(c, "p")["status"]["hostIP"] != now["more-1"]:
        raise Failure(f"node more-1 is {now['more-1']}, and its pod {get_pod(c, 'p')['status']}")
    c.stop()
    c.up()
    judge_hosts(c, HOSTS + MORE_HOSTS, now)
    tally.add("nodes that got addresses")


def main():
    o = options()
    o.add_argument("--pods", type=int, default=700000)
    o = o.parse_args()
    big = f"nodes: {{pods: {room(o)}, cpu: '100000', memory: 100Ti}}\n"
    for run, *cluster in ((missed, big, NODES), (killed, "", 3), (too_few, FEW_CONFIG), (unseen, WINDOW_CONFIG),
                          (taken_away, FEW_CONFIG), (nodes, "", HOSTS)):
        run_on(Cluster(o.weft, 1, *cluster), o, run)


main()
