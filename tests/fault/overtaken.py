"""Changes that another one overtakes: an API server has read the object, and before the store
is asked, or does what it is asked, the object has gone, or another of its name is there.  Each
gets the answer of an order in which both could have been done one after the other.  So does one
that was done, if nothing is left of its object when the answer is made."""
import signal, subprocess, threading, time
import faults as F
from cluster import NS, Client, Cluster, Failure, Trouble, options, run_on, version, wait_until

HELD_US = 300000  # the change, at a point
STARTS_IN, LONG_US = "1500ms", 2200000  # a pod, counted from a whole second; its deletion
WINDOW = 1024  # changes that the journal goes back over
HELD_S = 60  # an answer, at most, while its object is deleted and that many changes are made
CONFIG = f"supervisor: {{stallAfter: {HELD_S}s}}\ncache: {{journalMin: {WINDOW}, journalMax: {WINDOW}}}\n"
CONFIGMAPS = NS + "/configmaps"
CONTROLLERS = NS + "/replicationcontrollers"  # have a scale, and nobody acts on them
ENDPOINTS = NS + "/endpoints"  # a PUT creates
PODS = NS + "/pods"
SPEC = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "nginx"}]}
EVICTION = "eviction"  # a POST to the pod's subresource


def body(path, name, label, o=None):
    of = {"resourceVersion": str(version(o))} if o else {}
    return {"metadata": {"name": name, "labels": {label: "1"}, **of},
            **({"spec": SPEC} if path == PODS else {})}


def request_of(change, name, first):
    """The arguments of Client.call()."""
    path, method, versioned = change[:3]
    if method == EVICTION:
        return "POST", f"{path}/{name}/eviction", {"metadata": {"name": name}}
    if method == "DELETE":
        return method, f"{path}/{name}"
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    return method, f"{path}/{name}", body(path, name, "change", first if versioned else None), kind


# Path, method, of a version?, where it is held, and the answer when the object has gone, or
# another is there.
BOTH = ["api_made", "api_send"]
CHANGES = {
    "PUT of a version": (CONFIGMAPS, "PUT", True, BOTH, 404, 409),
    "PUT": (CONFIGMAPS, "PUT", False, BOTH, 404, 200),
    "PUT that creates": (ENDPOINTS, "PUT", False, BOTH, 201, 200),
    "PATCH of a version": (CONFIGMAPS, "PATCH", True, BOTH, 404, 409),
    "PATCH": (CONFIGMAPS, "PATCH", False, BOTH, 404, 200),
    "DELETE": (CONFIGMAPS, "DELETE", False, ["api_send"], 404, 200),
    "eviction": (PODS, EVICTION, False, ["api_send"], 404, 201),
}


class Asker(threading.Thread):
    """Sends a request now, on a connection that is there."""

    def __init__(self, c, *request):
        super().__init__()
        self.client, self.request, self.status, self.answer = Client(c), request, 0, {}
        self.client.connection = c.connect(HELD_S)
        self.client.sure("GET", CONFIGMAPS + "?limit=1")
        self.start()

    def run(self):
        try:
            self.status, self.answer = self.client.call(*self.request)
        except Trouble as e:
            self.answer = {"message": str(e)}


def send(c, *request):
    """An Asker whose request is on its way to the store."""
    before = c.faults.hits("api_send")
    asker = Asker(c, *request)
    wait_until(lambda: c.faults.hits("api_send") > before, 5,
               lambda: f"{request} was not sent to the store")
    return asker


def overtake(c, name, change, point, again):
    """The change, held at `point` while the object is deleted (and made `again`): itself and
    the others, all answered."""
    path = change[0]
    first = Client(c).sure("POST", path, body(path, name, "first"), good=(201,))[1]
    before = c.faults.fired(point)
    c.send("store/0", signal.SIGSTOP)
    try:
        others = [send(c, "DELETE", f"{path}/{name}")]
        if again:
            others.append(send(c, "POST", path, body(path, name, "other")))
        c.faults.set(point, F.WAIT, HELD_US)
        asker = Asker(c, *request_of(change, name, first))
        if not c.faults.wait_fired(point, before, 5):
            raise Failure(f"the change did not come to {point}: {asker.status} {asker.answer}")
    finally:
        c.send("store/0", signal.SIGCONT)
    for a in [asker] + others:
        a.join()
    return asker, others


def there_after(method, status):
    """The labels that are there when the change was answered so."""
    if status == 404 or method in ("DELETE", EVICTION):
        return None
    if status == 409:
        return {"other": "1"}
    return {"change": "1", **({"other": "1"} if method == "PATCH" else {})}


def judge(c, name, change, asker, others, want):
    if [a.status for a in others] != [200, 201][:len(others)]:
        raise Failure(f"the others got {[(a.status, a.answer) for a in others]}")
    if asker.status != want:
        raise Failure(f"{asker.status}, not {want}: {asker.answer.get('message')}")
    status, now = Client(c).sure("GET", f"{change[0]}/{name}")
    labels = now["metadata"].get("labels") if status == 200 else None
    if labels != there_after(change[1], want):
        raise Failure(f"{labels} is there, not {there_after(change[1], want)}")


def budget_is_asked(c):
    """A pod that waited when its eviction began, and so needed no budget's leave, runs before
    it is deleted: then it does."""
    path, name = PODS, "begins"
    Client(c).sure("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
                   {"metadata": {"name": name}, "spec": {
                       "minAvailable": 1, "selector": {"matchLabels": {"first": "1"}}}}, good=(201,))
    Client(c).sure("POST", path, body(path, name, "first"), good=(201,))
    c.send("store/0", signal.SIGSTOP)
    try:
        runs = send(c, "PATCH", f"{path}/{name}/status", {"status": {"phase": "Running"}},
                    "application/merge-patch+json")
        asker = Asker(c, *request_of((path, EVICTION, False), name, None))
        time.sleep(HELD_US / 1e6)  # it has seen the pod, and waits for the change before it
    finally:
        c.send("store/0", signal.SIGCONT)
    runs.join()
    asker.join()
    now = Client(c).sure("GET", f"{path}/{name}")[1]
    if runs.status != 200 or not str(asker.answer.get("message")).startswith("429"):
        raise Failure(f"{runs.status}; the eviction: {asker.status} {asker.answer}")
    if "deletionTimestamp" in now["metadata"] or "conditions" in now["status"]:
        raise Failure(f"a pod was evicted that its budget needs: {now}")


def budget_is_asked_late(c):
    """The same, but the pod is marked already, and begins to run before it is deleted."""
    name = "starts"
    Client(c).sure("POST", PODS, {
        "metadata": {"name": name, "labels": {"first": "1"},
                     "annotations": {"weft.dev/start": STARTS_IN}},
        "spec": {"nodeName": "node-0", "containers": SPEC["containers"]}}, good=(201,))
    before = c.faults.fired("api_send")
    c.faults.set("api_send", F.WAIT, LONG_US, skip=1)
    asker = Asker(c, *request_of((PODS, EVICTION, False), name, None))
    asker.join()
    now = Client(c).sure("GET", f"{PODS}/{name}")[1]
    if c.faults.fired("api_send") == before:
        raise Failure(f"the deletion was not held: {asker.status} {asker.answer}")
    if not str(asker.answer.get("message")).startswith("429") or \
            "deletionTimestamp" in now["metadata"]:
        raise Failure(f"the eviction: {asker.status} {asker.answer}; {now}")


def client_elsewhere(c):
    """A connection to an API server that is not held."""
    for _ in range(100):
        client = Client(c)
        client.connection = c.connect(0.5)
        try:
            client.call("GET", CONFIGMAPS + "?limit=1")
            return client
        except Trouble:
            client.close()
    raise Failure("no API server answers")


def let_go(c, collection, name):
    """Delete it, and write until nothing of it is left and another has its place."""
    client, path = client_elsewhere(c), CONFIGMAPS + "/window"
    client.sure("DELETE", f"{collection}/{name}?propagationPolicy=Background", good=(200,))
    client.sure("POST", CONFIGMAPS, {"metadata": {"name": "window"}}, good=(201, 409))
    for i in range(WINDOW + 100):
        client.sure("PATCH", path, {"data": {"n": f"{name} {i}"}}, kind="application/merge-patch+json")
    for i in range(100):
        other = f"{name[:-2]}{i:02}"
        if other != name:
            client.sure("POST", CONFIGMAPS, {"metadata": {"name": other}}, good=(201,))


def answer_of_late(c, collection, name, *request):
    """Status and answer of a write that was done, and whose object has gone from the cache before
    its answer is made."""
    before = c.faults.fired("api_reply")
    c.faults.set("api_reply", F.HOLD)
    asker = Asker(c, *request)
    if not c.faults.wait_fired("api_reply", before, 5):
        raise Failure(f"{request[0]} was not held")
    let_go(c, collection, name)
    if asker.status:
        raise Failure(f"{request[0]} was answered before its object was let go")
    c.faults.clear("api_reply")
    asker.join()
    return asker.status, asker.answer


def kind_of(method):
    return "application/merge-patch+json" if method == "PATCH" else "application/json"


def answered_late(c, name, method):
    path, object = f"{CONFIGMAPS}/{name}", {"metadata": {"name": name}, "data": {"own": name}}
    if method != "POST":
        Client(c).sure("POST", CONFIGMAPS, {"metadata": {"name": name}}, good=(201,))
    status, answer = answer_of_late(c, CONFIGMAPS, name, method,
                                    CONFIGMAPS if method == "POST" else path, object, kind_of(method))
    told = answer.get("metadata", {}).get("name"), answer.get("data", {}).get("own")
    if status != (201 if method == "POST" else 200) or told != (name, name):
        raise Failure(f"{method} of {name}: {status} {answer}")


def scaled_late(c, name, method):
    """The same of its scale."""
    first = Client(c).sure("POST", CONTROLLERS, {
        "metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"a": name}, "template": {
            "metadata": {"labels": {"a": name}}, "spec": {"containers": SPEC["containers"]}}}},
        good=(201,))[1]
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name},
             "spec": {"replicas": 7}}
    status, answer = answer_of_late(c, CONTROLLERS, name, method, f"{CONTROLLERS}/{name}/scale",
                                    scale, kind_of(method))
    told = answer.get("kind"), answer.get("metadata", {}).get("name"), answer.get("spec")
    if status != 200 or told != ("Scale", name, {"replicas": 7}):
        raise Failure(f"{method} of {name}'s scale: {status} {answer}")
    if answer["status"].get("selector") != f"a={name}" or version(answer) <= version(first):
        raise Failure(f"{method} of {name}'s scale, which was {first}: {answer}")


def run(c, tally, o):
    cases = [(what, point, again) for what, change in CHANGES.items() for point in change[3]
             for again in (0, 1)]
    for i, (what, point, again) in enumerate(cases):
        name, change = f"overtaken-{i}", CHANGES[what]
        try:
            judge(c, name, change, *overtake(c, name, change, point, again), change[4 + again])
        except Failure as e:
            raise Failure(f"{what}, held at {point} while its object "
                          f"{'became another' if again else 'went'}: {e}")
        tally.add("change overtaken")
    for case in (budget_is_asked, budget_is_asked_late):
        case(c)
        tally.add("change overtaken")
    subprocess.run([c.weft, "scale", "apiserver=2", "--data", c.data], check=True, capture_output=True)
    for i, method in enumerate(("POST", "PUT", "PATCH")):
        answered_late(c, f"late-{i}-99", method)
        tally.add("object let go before the answer")
    for i, method in enumerate(("PUT", "PATCH")):
        scaled_late(c, f"scaled-{i}-99", method)
        tally.add("object let go before the answer")


def main():
    o = options().parse_args()
    run_on(Cluster(o.weft, 1, CONFIG), o, run, needs_faults=True)


main()
