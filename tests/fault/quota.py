"""A namespace that is too small for what is wanted in it: its quota of pods holds,
whatever ends when, by what clients saw."""
import random, time
from cluster import Client, Failure, Trouble, deployment, version
from load import Thread, Watcher

PODS = 7          # as many as the quota allows
WANTED = 12       # as many as its Deployment wants at most
ALL = "/api/v1/namespaces"
TIGHT = ALL + "/tight"
QUOTA = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": str(PODS), "requests.cpu": "1"}}}
APP = "/apis/apps/v1/namespaces/tight/deployments"


def with_cpu(spec):
    spec["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    return spec


def prepare(cluster):
    """The namespace, its quota and its Deployment."""
    client, app = Client(cluster), deployment("wide", "wide", WANTED)
    with_cpu(app["spec"]["template"]["spec"])
    for path, o in ((ALL, {"metadata": {"name": "tight"}}), (TIGHT + "/resourcequotas", QUOTA),
                    (APP, app)):
        status, answer = client.call("POST", path, o)
        if status != 201:
            raise Failure(f"POST {path}: {status} {answer}")
    client.close()


def seconds(text):
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def counts(pod, now=None):
    """Does a pod count?  One that is being deleted does for as long again as its grace;
    without a time it is left out."""
    meta = pod["metadata"]
    if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
        return False
    if "deletionTimestamp" not in meta:
        return True
    return now is not None and \
        seconds(meta["deletionTimestamp"]) + meta["deletionGracePeriodSeconds"] > now


class Counter(Watcher):
    """Counts the pods at each that is made, by the time that it was made at."""

    def __init__(self, shared):
        super().__init__(shared, "pods", False, TIGHT + "/pods")
        self.most, self.limit = 0, PODS

    def note(self, o, listed=False):
        name = o["metadata"]["name"]
        if name not in self.seen and not listed:
            now = seconds(o["metadata"]["creationTimestamp"])
            self.judge(1 + sum(counts(p, now) for p in self.seen.values()), version(o))
        self.seen[name] = o

    def check(self, rv):
        self.judge(sum(counts(p) for p in self.seen.values()), rv)

    def judge(self, n, rv):
        self.most = max(self.most, n)
        if n > self.limit:
            self.shared.broken(f"{n} pods count at {rv}, the quota allows {self.limit}: " + ", ".join(
                f"{name} {p['metadata'].get('deletionTimestamp', '')}" for name, p in self.seen.items()))


class Presser(Thread):
    """Makes and deletes pods beside the Deployment, and scales that."""

    def __init__(self, shared, number):
        super().__init__(shared)
        self.random = random.Random(shared.seed * 1000 + 700 + number)
        self.number, self.made, self.refused = number, 0, 0
        self.client = Client(shared.cluster)

    def work(self):
        while self.shared.writing:
            try:
                self.random.choice([self.create, self.create, self.delete, self.scale])()
            except Trouble:
                self.shared.count("unknown")
            time.sleep(self.random.random() * 0.1)

    def create(self):
        self.made += 1
        status, answer = self.client.call("POST", TIGHT + "/pods", {
            "metadata": {"name": f"p{self.number}-{self.made}"},
            "spec": with_cpu({"terminationGracePeriodSeconds": 1,
                              "containers": [{"name": "c", "image": "nginx"}]})})
        if status == 403 and "exceeded quota: few, requested: pods=1" in answer["message"]:
            self.refused += 1
        elif status not in (201, 409):  # the one before may have been made unheard
            raise Failure(f"a pod in a tight namespace: {status} {answer}")

    def delete(self):
        status, answer = self.client.call("GET", TIGHT + "/pods?limit=20")
        if status == 200 and answer["items"]:
            name = self.random.choice(answer["items"])["metadata"]["name"]
            grace = self.random.choice([0, 1, 2])
            self.client.call("DELETE", f"{TIGHT}/pods/{name}", {"gracePeriodSeconds": grace})

    def scale(self):
        self.client.call("PATCH", f"{APP}/wide",
                         {"spec": {"replicas": self.random.randrange(WANTED + 1)}},
                         "application/merge-patch+json")


# --- The end -------------------------------------------------------------------------

def await_pods(shared, client, pods, limit):
    """The Deployment comes to have `pods` ready ones; the quota knows it."""
    until = time.monotonic() + 90
    while True:
        now = client.sure("GET", f"{APP}/wide")[1]["status"].get("readyReplicas", 0)
        quota = client.sure("GET", TIGHT + "/resourcequotas/few")[1]["status"]
        if now == pods and quota == {
                "hard": {"pods": str(limit), "requests.cpu": "2"},
                "used": {"pods": str(pods), "requests.cpu": f"{pods * 100}m"}}:
            return
        if shared.failures:
            return
        if time.monotonic() > until:
            shared.broken(f"{now} pods of a quota of {limit} are ready, {quota}")
            return
        time.sleep(0.2)


def patch(shared, client, path, body):
    """A write that must come through, now that nothing is harmed."""
    for attempt in range(100):
        try:
            status, answer = client.call("PATCH", path, body, "application/merge-patch+json")
        except Trouble:
            time.sleep(0.2)
            continue
        if status == 200:
            return
        raise Failure(f"PATCH {path}: {status} {answer}")
    shared.broken(f"PATCH {path} is never answered")


def rest(shared, counter, pressers):
    """At rest the namespace is full; when the quota is raised, work goes on."""
    client, start = Client(shared.cluster), time.monotonic()
    for p in client.sure("GET", TIGHT + "/pods")[1]["items"]:
        if not p["metadata"].get("ownerReferences"):
            client.sure("DELETE", f"{TIGHT}/pods/{p['metadata']['name']}", {"gracePeriodSeconds": 0})
    patch(shared, client, TIGHT + "/resourcequotas/few", {"spec": {"hard": {"requests.cpu": "2"}}})
    patch(shared, client, f"{APP}/wide", {"spec": {"replicas": WANTED}})
    await_pods(shared, client, PODS, PODS)
    if counter.most < PODS:
        shared.broken(f"the quota was never used up: {counter.most} of {PODS}")
    if not sum(p.refused for p in pressers):
        shared.broken("the quota has never refused anything")
    counter.limit = WANTED
    patch(shared, client, TIGHT + "/resourcequotas/few", {"spec": {"hard": {"pods": str(WANTED)}}})
    await_pods(shared, client, WANTED, WANTED)
    print(f"quota: {sum(p.refused for p in pressers)} refusals, raised and full after "
          f"{time.monotonic() - start:.1f} s", flush=True)
