"""A Deployment of a great many pods that is scaled, rolled and robbed of pods while harm is
done.  Some of its nodes are watched, change by change; at the end every pod is counted: each
once, of the newest template, ready, on a node that has room for it."""
import random, time
from cluster import Client, Failure, Trouble, deployment
from load import Thread, Watcher, is_complete

NAME = "crowd"
PODS = f"/api/v1/namespaces/{NAME}/pods"
SETS = f"/apis/apps/v1/namespaces/{NAME}/replicasets"
APPS = f"/apis/apps/v1/namespaces/{NAME}/deployments"
PER_NODE = 110  # pods that a node takes by default
PAGE = 5000
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
MERGE = "application/merge-patch+json"
CONFIG = "log: {segment: 4Mi}\n"  # files are used again and again


def nodes_for(pods):
    """How many nodes that is, with some to spare."""
    return pods // PER_NODE + pods // PER_NODE // 8 + 4


class Crowd(Thread):
    def __init__(self, shared, pods, per_node=PER_NODE):
        super().__init__(shared)
        self.per_node = per_node
        self.number, self.pods, self.replicas, self.image = 0, pods, pods, 1
        self.random = random.Random(shared.seed * 1000 + 900)
        self.client = Client(shared.cluster)
        self.steps = {"scaled": 0, "rolled": 0, "pods deleted": 0}

    # --- Changing it ---

    def make(self, seconds=120):
        self.create()
        self.await_rest(seconds)

    def create(self):
        """The namespace and its Deployment."""
        app = deployment(NAME, NAME, self.replicas, "nginx:1", "25%", "25%")
        self.client.sure("POST", "/api/v1/namespaces", {"metadata": {"name": NAME}}, good=(201, 409))
        self.client.sure("POST", APPS, app, good=(201, 409))

    def set(self, spec):
        """A merge patch, which may be sent twice; 409: others wrote too often."""
        while self.client.sure("PATCH", f"{APPS}/{NAME}", {"spec": spec}, good=(200, 409), kind=MERGE)[0] != 200:
            pass

    def scale(self, replicas):
        self.replicas = replicas
        self.set({"replicas": replicas})
        self.steps["scaled"] += 1

    def roll(self):
        self.image += 1
        self.set({"template": {"spec": {"containers": [{"name": "c", "image": f"nginx:{self.image}"}]}}})
        self.steps["rolled"] += 1

    def rob(self):
        """Some pods are deleted."""
        try:
            status, page = self.client.call("GET", PODS + "?limit=100")
            for pod in page.get("items", [])[:20] if status == 200 else []:
                self.client.call("DELETE", f"{PODS}/{pod['metadata']['name']}", {})
                self.steps["pods deleted"] += 1
        except Trouble:
            self.shared.count("unknown")

    def work(self):
        while self.shared.writing:
            step = self.random.choice("srrd")
            if step == "s":
                self.scale(self.random.randrange(self.pods // 10, self.pods + 1))
            elif step == "r":
                self.roll()
            else:
                self.rob()
            time.sleep(self.random.random() * 4)

    # --- The end ---

    def rest(self, seconds=240):
        """All pods again, of a new template, each of them counted; returns how long it took
        until they were there."""
        start = time.monotonic()
        self.roll()
        self.scale(self.pods)
        self.await_rest(seconds)
        took = time.monotonic() - start
        self.count()
        return took

    def there(self):
        """How many pods there are, those that are being deleted among them."""
        page = self.client.sure("GET", PODS + "?limit=1")[1]
        return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)

    def await_rest(self, seconds):
        until = time.monotonic() + seconds
        while True:
            d = self.client.sure("GET", f"{APPS}/{NAME}")[1]
            if is_complete(d, self.replicas) and self.there() == self.replicas:
                return
            if time.monotonic() > until:
                raise Failure(f"{self.replicas} pods are wanted, after {seconds} s there are: {d['status']}")
            time.sleep(0.1)

    def newest(self):
        """The uid of the ReplicaSet that has all the pods."""
        sets = [s for s in self.client.sure("GET", SETS)[1]["items"] if s["spec"]["replicas"]]
        if [s["spec"]["replicas"] for s in sets] != [self.replicas] or \
                sets[0]["spec"]["template"]["spec"]["containers"][0]["image"] != f"nginx:{self.image}":
            raise Failure(f"{self.replicas} of nginx:{self.image} are wanted, there are: {sets}")
        return sets[0]["metadata"]["uid"]

    def rows(self):
        """(metadata, {column: cell}) of each pod, page by page, all at one resourceVersion."""
        path, versions = f"{PODS}?limit={PAGE}", set()
        more = ""
        while True:
            page = self.client.sure("GET", path + more, accept=TABLE)[1]
            columns = columns if more else [c["name"] for c in page["columnDefinitions"]]
            versions.add(page["metadata"]["resourceVersion"])
            if len(versions) > 1:
                raise Failure(f"pages of one list are at {versions}")
            for row in page["rows"]:
                yield row["object"]["metadata"], dict(zip(columns, row["cells"]))
            if not page["metadata"].get("continue"):
                return
            more = f"&continue={page['metadata']['continue']}"

    def count(self):
        owner, names, uids, addresses, on_node = self.newest(), set(), set(), set(), {}
        for meta, cells in self.rows():
            names.add(meta["name"])
            uids.add(meta["uid"])
            addresses.add(cells["IP"])
            on_node[cells["Node"]] = on_node.get(cells["Node"], 0) + 1
            if (cells["Ready"], cells["Status"]) != ("1/1", "Running") or "deletionTimestamp" in meta:
                raise Failure(f"pods/{meta['name']} at rest: {cells}")
            if [ref["uid"] for ref in meta["ownerReferences"]] != [owner]:
                raise Failure(f"pods/{meta['name']} is not the newest ReplicaSet's: {meta}")
        for what, n in (("names", len(names)), ("uids", len(uids)), ("addresses", len(addresses)),
                        ("pods", sum(on_node.values()))):
            if n != self.replicas:
                raise Failure(f"{n} {what} of {self.replicas} pods")
        if max(on_node.values()) > self.per_node:
            raise Failure(f"a node has {max(on_node.values())} pods, it takes {self.per_node}")


class NodeWatcher(Watcher):
    """Follows the crowd's pods on one node."""

    def __init__(self, shared, node):
        super().__init__(shared, f"pods of node-{node}", False, PODS, f"fieldSelector=spec.nodeName%3Dnode-{node}")
