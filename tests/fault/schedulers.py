"""Several schedulers and a client that binds pods by itself never break each other's rules.

In each round four schedulers get Deployments whose pods compete for the same nodes: for CPU,
for nodes that hold one of them at most (anti-affinity), for zones that hold equally many
(topology spread).  Meanwhile clients bind pods with the same labels through the API, to nodes
at random.  A watch saw every bind in the store's order; each one that a scheduler made has to
be right where it stands in that order.  What clients bind may break rules: nobody checks it in
Kubernetes either.

The seed is printed; --seed repeats the choices, though not the moments.
"""
import json, random, sys, threading, time
from cluster import APPS, NS, Client, Cluster, Failure, options

NODES, ZONES, CPU, WITHIN = 12, 3, 4000, 60
CONFIG = """
supervisor: {stallAfter: 5s}
processes: {scheduler: 4, replicaset: 2}
nodes: {cpu: 4, pods: 30}
"""
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def pod_spec(app, rule, cpu):
    selector = {"matchLabels": {"app": app}}
    spec = {"containers": [{"name": "c", "image": "nginx",
                            "resources": {"requests": {"cpu": f"{cpu}m"}}}]}
    if rule == "apart":
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": selector, "topologyKey": HOST}]}}
    if rule == "spread":
        spec["topologySpreadConstraints"] = [
            {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
             "labelSelector": selector}]
    return spec


def deployment(app, rule, replicas, cpu):
    return {"metadata": {"name": app}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": {"labels": {"app": app, "rule": rule}},
                     "spec": pod_spec(app, rule, cpu)}}}


# --- What happened ------------------------------------------------------------------------

class Watch(threading.Thread):
    """Every change of pods, in order, from an empty cluster on."""

    def __init__(self, cluster, since):
        super().__init__(daemon=True)
        self.cluster, self.since, self.events, self.broken = cluster, since, [], None

    def run(self):
        try:
            connection = self.cluster.connect(600)
            connection.request("GET", f"{NS}/pods?watch=1&resourceVersion={self.since}")
            for line in connection.getresponse():
                self.events.append(json.loads(line))
        except Exception as e:
            self.broken = repr(e)

    def pods(self):
        """Those that are there, by name, as far as it has seen."""
        there = {}
        for e in list(self.events):
            there[e["object"]["metadata"]["name"]] = e
        return [e["object"] for e in there.values() if e["type"] != "DELETED"]


class Judge:
    """Goes through the events and knows who was where at each bind."""

    def __init__(self, zones):
        self.zones, self.there = zones, {}  # node's zone; pod's name: (node, CPU, app, rule)
        self.by_schedulers = self.by_clients = 0

    def see(self, event):
        pod, name = event["object"], event["object"]["metadata"]["name"]
        node = pod["spec"].get("nodeName")
        if event["type"] == "DELETED":
            self.there.pop(name, None)
        elif event["type"] == "ERROR":
            raise Failure(f"the watch was told {pod}")
        elif node and name not in self.there:
            self.bound(pod, name, node)

    def bound(self, pod, name, node):
        labels = pod["metadata"]["labels"]
        cpu = int(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].rstrip("m"))
        if pod["spec"]["schedulerName"] == "default-scheduler":
            self.check(name, node, cpu, labels["app"], labels["rule"])
            self.by_schedulers += 1
        else:
            self.by_clients += 1
        self.there[name] = (node, cpu, labels["app"], labels["rule"])

    def check(self, name, node, cpu, app, rule):
        on_node = [p for p in self.there.values() if p[0] == node]
        alike = [p for p in self.there.values() if p[2] == app]
        if sum(p[1] for p in on_node) + cpu > CPU:
            raise Failure(f"{name} overfills {node}")
        if rule == "apart" and any(p[0] == node for p in alike):
            raise Failure(f"{name} is not the only {app} on {node}")
        if rule == "spread":
            in_zone = {z: 0 for z in self.zones.values()}
            for p in alike:
                in_zone[self.zones[p[0]]] += 1
            if in_zone[self.zones[node]] + 1 - min(in_zone.values()) > 1:
                raise Failure(f"{name} on {node}: {app} has {in_zone} in the zones")


# --- Load ---------------------------------------------------------------------------------

class Binder(threading.Thread):
    """A client that is its own scheduler, and a bad one."""

    def __init__(self, cluster, number, choices):
        super().__init__(daemon=True)
        self.client, self.number, self.random = Client(cluster), number, choices
        self.apps, self.busy, self.made = [], True, 0

    def run(self):
        while self.busy:
            if not self.apps:
                time.sleep(0.005)
                continue
            app, rule = self.random.choice(self.apps)
            self.made += 1
            name = f"own-{self.number}-{self.made}"
            spec = pod_spec(app, "", self.random.choice([100, 500]))
            spec["schedulerName"] = "own"
            self.client.call("POST", NS + "/pods", {
                "metadata": {"name": name, "labels": {"app": app, "rule": rule, "own": "yes"}},
                "spec": spec})
            self.client.call("POST", f"{NS}/pods/{name}/binding", {
                "metadata": {"name": name},
                "target": {"kind": "Node", "name": f"node-{self.random.randrange(NODES)}"}})
            time.sleep(self.random.random() * 0.05)


def until(what, condition):
    end = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"not within {WITHIN} s: {what}")
        time.sleep(0.05)


def quiet(watch):
    """Nothing was bound for a while: all that can go somewhere has."""
    seen = len(watch.events)
    time.sleep(0.5)
    return len(watch.events) == seen


def one_round(client, number, watch, binders, choices):
    apps = []
    for rule in ("full", "apart", "spread", "apart", "spread"):
        app = f"{rule}-{number}-{len(apps)}"
        apps.append((app, rule))
        cpu = choices.choice([100, 300, 700]) if rule == "full" else 100
        client.call("POST", APPS + "/deployments",
                    deployment(app, rule, choices.randrange(10, 60), cpu))
    for b in binders:
        b.apps = apps
    time.sleep(choices.uniform(0.2, 1))
    for b in binders:
        b.apps = []
    until("pods are bound", lambda: quiet(watch))
    for app, _ in apps:
        client.call("DELETE", f"{APPS}/deployments/{app}?propagationPolicy=Background")
    client.call("DELETE", NS + "/pods?labelSelector=own%3Dyes")
    until("all is gone", lambda: not watch.pods())


def run(cluster, seconds, choices):
    client, zones = Client(cluster), {}
    for i in range(NODES):
        zones[f"node-{i}"] = f"z{i % ZONES}"
        client.call("PATCH", f"/api/v1/nodes/node-{i}",
                    {"metadata": {"labels": {ZONE: f"z{i % ZONES}"}}}, "application/merge-patch+json")
    watch = Watch(cluster, client.call("GET", NS + "/pods")[1]["metadata"]["resourceVersion"])
    binders = [Binder(cluster, n, random.Random(choices.random())) for n in range(3)]
    for t in [watch] + binders:
        t.start()
    judge, judged, rounds, end = Judge(zones), 0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        one_round(client, rounds, watch, binders, choices)
        rounds += 1
        for event in watch.events[judged:]:
            judge.see(event)
            judged += 1
        if watch.broken:
            raise Failure(f"the watch ended: {watch.broken}")
    print(f"{rounds} rounds: {judge.by_schedulers} binds by schedulers, {judge.by_clients} by clients")
    if judge.by_schedulers < 20 * rounds or judge.by_clients < rounds:
        raise Failure("hardly anything was bound")


def main():
    o = options(seeded=True, weft="build/weft")
    o.add_argument("--seconds", type=float, default=20)
    o = o.parse_args()
    print(f"seed {o.seed}", flush=True)
    cluster, failed = Cluster(o.weft, o.seed, CONFIG, NODES), False
    try:
        cluster.up()
        cluster.wait_all_run()
        run(cluster, o.seconds, random.Random(o.seed))
    except Failure as e:
        print("BROKEN:", e)
        failed = True
    finally:
        cluster.stop()
        cluster.close(o.keep or failed)
    sys.exit(failed)


main()
