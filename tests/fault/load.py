"""What clients do and see: writers, watchers, and clients that share objects."""
import collections, http.client, json, random, socket, ssl, sys, threading, time
from cluster import NS, TYPES, Client, Failure, Trouble, deployment, version

SURGE, UNAVAILABLE = 2, 1
STEADY, STEADY_PODS = "steady", 12  # Deployments that are only ever rolled, and their replicas


class Shared:
    """What all threads look at."""

    def __init__(self, cluster, seed):
        self.cluster, self.seed = cluster, seed
        self.writing, self.watching, self.failures = True, True, []
        self.lock = threading.Lock()
        self.wanted = {}  # app: most replicas it was asked to have
        self.asked = {}   # uid of a ReplicaSet: [(resourceVersion at which it was seen, replicas, settled)]
        self.made = []    # (resourceVersion, uid of its ReplicaSet, pods then, name)
        self.promised = {}  # steady Deployment: resourceVersion at which it was complete
        self.past = collections.deque(maxlen=2000)  # told of their pods and ReplicaSets
        self.acked = []   # (what, name, resourceVersion)
        self.history = []  # operations on shared objects, for history.py
        self.counts = {"requests": 0, "unknown": 0, "events": 0, "relists": 0, "harm": 0}

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def broken(self, text):
        with self.lock:
            first = not self.failures
            if len(self.failures) < 20:
                self.failures.append(text)
        print("BROKEN:", text, flush=True)
        if first:
            self.cluster.keep_journal()

    def end(self, tally, keep):
        """End the test.  What is broken is said once more after what the cluster said: who
        reads the last lines alone has to find it there."""
        if self.failures:
            print("".join(list(self.cluster.log())[-60:]))
            for text in self.failures:
                print("BROKEN:", text)
        else:
            tally.close()
        self.cluster.close(self.failures or keep)
        sys.exit(1 if self.failures else 0)


class Thread(threading.Thread):
    """One whose failure is the test's."""

    def __init__(self, shared):
        super().__init__(daemon=True)
        self.shared = shared

    def run(self):
        try:
            self.work()
        except Failure as e:
            self.shared.broken(str(e))
        except Exception as e:
            self.shared.broken(f"{type(self).__name__}: {e!r}")


def is_complete(deployment, replicas):
    """Has it all its pods, available and of its present template, and says so of what it is now?"""
    status = deployment.get("status", {})
    counts = [status.get(f, 0) for f in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    return counts == [replicas] * 4 and status["observedGeneration"] == deployment["metadata"]["generation"]


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in pod.get("status", {}).get("conditions", []))


def state(o):
    """What matters of a pod or a ReplicaSet, in short."""
    status = o.get("status", {})
    if o["kind"] == "ReplicaSet":
        return {"wanted": o["spec"]["replicas"], "generation": o["metadata"]["generation"], **status}
    return ("going " if "deletionTimestamp" in o["metadata"] else "") + status.get("phase", "") + \
        (" ready" if is_ready(o) else "")


# --- Watching -----------------------------------------------------------------

class Watcher(Thread):
    """Follows one type, or what a selector says of it, from resourceVersion to resourceVersion,
    through every broken connection; `seen` is its view of it, `events` all that it was told.
    Of several on one type the first judges the workloads."""

    def __init__(self, shared, what, first=True, path=None, selector=""):
        super().__init__(shared)
        self.what, self.first = what, first
        self.path = (path or TYPES[what]) + "?" + selector
        self.seen, self.events, self.at, self.last = {}, [], 0, 0
        self.gaps = []    # (from, to]: resourceVersions that were not seen
        self.active = {}  # uid of an owner: names of its pods that count
        self.ready = {}   # app: names of its pods that are available
        self.sizes = []   # (resourceVersion, ReplicaSet, replicas)

    def work(self):
        while self.shared.watching:
            try:
                if not self.at:
                    self.list()
                self.watch()
            except (OSError, http.client.HTTPException, ssl.SSLError, Trouble, ValueError):
                time.sleep(0.05)

    def list(self):
        client = Client(self.shared.cluster)
        status, answer = client.call("GET", self.path)
        client.close()
        if status != 200:
            raise Trouble(str(status))
        self.shared.count("relists")
        now = {o["metadata"]["name"]: o for o in answer["items"]}
        for name, o in now.items():
            old = self.seen.get(name)
            if old and version(o) < version(old):
                self.shared.broken(f"{self.what}/{name} went back from resourceVersion "
                                   f"{version(old)} to {version(o)}")
        for name in list(self.seen):
            if name not in now:
                self.forget(name)
        self.at = int(answer["metadata"]["resourceVersion"])
        for o in now.values():
            self.note(o, listed=True)
        self.gaps.append((self.last, self.at))
        self.check(self.at)

    def lost(self):
        """Told 410: the next thing to do is to list."""
        self.last, self.at = self.at, 0
        raise Trouble("410")

    def watch(self):
        connection = self.shared.cluster.connect(5)
        try:
            connection.request("GET", f"{self.path}&watch=1&allowWatchBookmarks=true"
                                      f"&timeoutSeconds=20&resourceVersion={self.at}")
            answer = connection.getresponse()
            if answer.status == 410:
                self.lost()
            if answer.status != 200:
                raise Trouble(str(answer.status))
            while self.shared.watching:
                try:
                    line = answer.readline()
                except socket.timeout:
                    return
                if not line:
                    return
                self.event(json.loads(line))
        finally:
            connection.close()

    def event(self, e):
        o = e["object"]
        if e["type"] == "ERROR":
            self.lost()
        if e["type"] == "BOOKMARK":
            if version(o) < self.at:
                self.shared.broken(f"{self.what}: a bookmark goes back from {self.at} to {version(o)}")
            self.at = max(self.at, version(o))
            return
        self.shared.count("events")
        name, rv = o["metadata"]["name"], version(o)
        if rv <= self.at:
            self.shared.broken(f"{self.what}/{name}: {e['type']} at {rv} after {self.at}")
        old = self.seen.get(name)
        if e["type"] == "ADDED" and old:
            self.shared.broken(f"{self.what}/{name}: ADDED at {rv}, but it was there at {version(old)}")
        if e["type"] != "ADDED" and not old:
            self.shared.broken(f"{self.what}/{name}: {e['type']} at {rv}, but it was not there")
        self.events.append((rv, e["type"], name))
        if self.first and name.startswith(STEADY):
            self.shared.past.append((rv, e["type"], name, state(o)))
        if e["type"] == "DELETED":
            self.forget(name)
        else:
            self.note(o)
        self.at = rv
        self.check(rv)

    def forget(self, name):
        self.seen.pop(name, None)
        for names in list(self.active.values()) + list(self.ready.values()):
            names.discard(name)

    def note(self, o, listed=False):
        name = o["metadata"]["name"]
        new = name not in self.seen and not listed
        self.seen[name] = o
        if not self.first:
            return
        if self.what == "pods":
            self.note_pod(name, o, new)
        elif self.what == "replicasets":
            self.note_set(o, self.at if listed else version(o))

    def note_pod(self, name, o, new):
        status = o.get("status", {})
        gone = "deletionTimestamp" in o["metadata"] or status.get("phase") in ("Failed", "Succeeded")
        for ref in o["metadata"].get("ownerReferences", []):
            names = self.active.setdefault(ref["uid"], set())
            (names.discard if gone else names.add)(name)
            if new:
                self.shared.made.append((version(o), ref["uid"], len(names), name))
        app = o["metadata"]["labels"].get("app")
        names = self.ready.setdefault(app, set())
        (names.add if is_ready(o) and not gone else names.discard)(name)

    def check(self, rv):
        """What must hold at every resourceVersion."""
        if not self.first:
            return
        if self.what == "pods":
            self.check_promises(rv)
        elif self.what == "replicasets":
            self.check_sets(rv)

    def check_promises(self, rv):
        for app, since in list(self.shared.promised.items()):
            ready = len(self.ready.get(app, ()))
            if rv > since and ready < STEADY_PODS - UNAVAILABLE:
                self.shared.broken(f"{app} has {ready} available pods at {rv}, "
                                   f"{STEADY_PODS - UNAVAILABLE} are promised; {self.told(app)}")

    def told(self, app):
        """What was told of it until now."""
        past = [str(e) for e in list(self.shared.past) if e[2].startswith(app + "-")]
        return "\n".join([f"not told of {self.gaps[-3:]}, told of"] + past[-60:])

    def check_sets(self, rv):
        asked = {}
        for name, r in self.seen.items():
            if r["spec"]["replicas"]:
                asked.setdefault(r["metadata"]["labels"]["app"], {})[name] = r["spec"]["replicas"]
        for app, sets in asked.items():
            with self.shared.lock:
                most = self.shared.wanted.get(app, 0) + SURGE
            if sum(sets.values()) > most:
                self.shared.broken(f"ReplicaSets of {app} want {sets} at {rv}, at most {most} "
                                   f"are allowed: {self.recent(app)}")

    def recent(self, app):
        return [e for e in self.sizes if e[1].startswith(app)][-24:]

    def note_set(self, o, at):
        n, status = o["spec"]["replicas"], o["status"]
        settled = status.get("observedGeneration") == o["metadata"]["generation"] and \
            status["replicas"] == n
        self.shared.asked.setdefault(o["metadata"]["uid"], []).append((at, n, settled))
        self.sizes.append((version(o), o["metadata"]["name"], n))


# --- Writing ------------------------------------------------------------------

class Writer(Thread):
    """Owns some names; knows what has to be there under each."""

    def __init__(self, shared, number):
        super().__init__(shared)
        self.number = number
        self.random = random.Random(shared.seed * 1000 + number)
        self.client = Client(shared.cluster)
        self.expected = {}  # (what, name): last acknowledged object
        self.made = 0

    def work(self):
        while self.shared.writing:
            self.step()
            time.sleep(self.random.random() * 0.05)

    def step(self):
        kind = self.random.choices(["configmaps", "deployments", "pods"], [5, 4, 1])[0]
        if kind == "pods":
            return self.delete_pod()
        name = f"w{self.number}-{self.random.randrange(4)}"
        if (kind, name) not in self.expected:
            return self.create(kind, name)
        if self.random.random() < 0.15:
            return self.delete(kind, name)
        if kind == "configmaps":
            return self.change(kind, name, {"data": {"n": self.next()}})
        if self.random.random() < 0.6:
            return self.scale(name, self.random.randrange(9))
        return self.roll(name)

    def next(self):
        self.made += 1
        return f"{self.number}.{self.made}"

    def write(self, method, kind, name, body, patch="application/json"):
        """Send a write; whatever comes of it, `expected` is right afterwards."""
        self.shared.count("requests")
        path = TYPES[kind] + ("" if method == "POST" else "/" + name)
        before = self.expected.get((kind, name))
        try:
            status, answer = self.client.call(method, path, body, patch)
        except Trouble:
            self.shared.count("unknown")
            return self.look(kind, name, before)
        if status == 409 and method == "PATCH":
            return  # too many others wrote meanwhile, which it says: not done
        if status >= 400:
            raise Failure(f"{method} {path} at {before and version(before)}: {status} "
                          f"{answer.get('message')}")
        if method == "DELETE":
            self.expected.pop((kind, name))
            return
        if before and version(answer) < version(before):
            raise Failure(f"{method} {path}: resourceVersion {version(answer)} after {version(before)}")
        self.expected[kind, name] = answer
        self.shared.acked.append((kind, name, version(answer)))

    def look(self, kind, name, before):
        """The outcome is unknown: what is there must be the old or something newer."""
        self.settle()
        status, answer = self.client.sure("GET", f"{TYPES[kind]}/{name}")
        if status == 404:
            self.expected.pop((kind, name), None)
            return
        if before and answer["metadata"]["uid"] == before["metadata"]["uid"] and \
                version(answer) < version(before):
            raise Failure(f"{kind}/{name}: acknowledged at {version(before)}, now at {version(answer)}")
        self.expected[kind, name] = answer

    def settle(self):
        """What was under way may still come, from a log that is not replayed yet: until the
        store has taken a write that was sent after it."""
        time.sleep(0.2)
        name = f"settled-{self.number}-{self.next()}"
        self.client.sure("POST", TYPES["configmaps"], {"metadata": {"name": name}}, good=(201, 409))
        self.client.sure("DELETE", f"{TYPES['configmaps']}/{name}")
        time.sleep(0.5)

    def create(self, kind, name):
        if kind == "configmaps":
            return self.write("POST", kind, name,
                              {"metadata": {"name": name}, "data": {"n": self.next()}})
        app, replicas = f"{name}-{self.next().replace('.', '-')}", self.random.randrange(9)
        self.ask(replicas, app)
        self.write("POST", kind, name, deployment(name, app, replicas, surge=SURGE,
                                                  unavailable=UNAVAILABLE))

    def ask(self, replicas, app):
        with self.shared.lock:
            self.shared.wanted[app] = max(replicas, self.shared.wanted.get(app, 0))

    def change(self, kind, name, patch):
        self.write("PATCH", kind, name, patch, "application/strategic-merge-patch+json")

    def roll(self, name):
        self.change("deployments", name, {"spec": {"template": {"spec": {"containers": [
            {"name": "c", "image": f"nginx:{self.next()}"}]}}}})

    def scale(self, name, replicas):
        app = self.expected["deployments", name]["spec"]["selector"]["matchLabels"]["app"]
        self.ask(replicas, app)
        self.change("deployments", name, {"spec": {"replicas": replicas}})

    def delete(self, kind, name):
        self.write("DELETE", kind, name, {"propagationPolicy": "Background"})

    def delete_pod(self):
        try:
            status, answer = self.client.call("GET", TYPES["pods"] + "?limit=20")
            pods = [p["metadata"]["name"] for p in answer.get("items", [])
                    if not p["metadata"]["labels"].get("app", "").startswith(STEADY)]
            if status == 200 and pods:
                self.client.call("DELETE", f"{TYPES['pods']}/{self.random.choice(pods)}", {})
        except Trouble:
            self.shared.count("unknown")


class Roller(Writer):
    """Rolls one Deployment from image to image, and does nothing else to it, once it has been
    complete.  Not before: what is not available when a Deployment decides may be given up, and
    be available when it goes."""

    def __init__(self, shared, number):
        super().__init__(shared, 10 + number)
        self.name_of_it = f"{STEADY}{number}"

    def step(self):
        name, replicas = self.name_of_it, STEADY_PODS
        if name in self.shared.promised:
            self.roll(name)
        elif ("deployments", name) in self.expected:
            self.await_complete(name)
        else:
            self.ask(replicas, name)
            self.write("POST", "deployments", name,
                       deployment(name, name, replicas, surge=SURGE, unavailable=UNAVAILABLE))
        time.sleep(self.random.random())

    def await_complete(self, name):
        now = self.client.sure("GET", f"{TYPES['deployments']}/{name}")[1]
        if is_complete(now, STEADY_PODS):
            self.shared.promised[name] = version(now)


# --- Sharing --------------------------------------------------------------------

class Sharer(Thread):
    """One of several clients that read and write the same few ConfigMaps; notes each
    operation with its beginning, its end and its outcome."""

    NAMES = ["shared-0", "shared-1", "shared-2"]

    def __init__(self, shared, number):
        super().__init__(shared)
        self.number = number
        self.random = random.Random(shared.seed * 1000 + 500 + number)
        self.client = Client(shared.cluster)
        self.known = {}  # name: resourceVersion seen last
        self.made = 0

    def work(self):
        while self.shared.writing:
            self.step()
            time.sleep(self.random.random() * 0.03)

    def step(self):
        name = self.random.choice(self.NAMES)
        op = self.random.choices(["get", "create", "put", "patch", "delete"], [8, 2, 4, 3, 1])[0]
        self.made += 1
        value = f"{self.number}.{self.made}"
        body = {"metadata": {"name": name}, "data": {"v": value}}
        path, rv = f"{NS}/configmaps/{name}", self.known.get(name, 0)
        if op == "create":
            request = ("POST", NS + "/configmaps", body)
        elif op == "put":
            body["metadata"]["resourceVersion"] = str(rv or 1)
            request = ("PUT", path, body)
        elif op == "patch":
            request = ("PATCH", path, {"data": {"v": value}}, "application/merge-patch+json")
        else:
            request = ({"get": "GET", "delete": "DELETE"}[op], path)
        self.note(name, op, rv if op == "put" else 0, value, request)

    def note(self, name, op, rv, value, request):
        begin, end = time.monotonic_ns(), 0  # 0: it may come at any time, or never
        status, answer = 0, {}
        try:
            status, answer = self.client.call(*request)
            end = time.monotonic_ns()
            # A patch that others overtook again and again has not been done.
            if op == "patch" and status == 409:
                return
            if status not in (200, 201, 404, 409):
                raise Failure(f"{op} of {name}: {status} {answer}")
        except Trouble as e:
            if e.refused:
                return time.sleep(0.1)
            self.shared.count("unknown")
            time.sleep(0.2)
        out = {"key": name, "client": self.number, "op": op, "rv": rv, "value": value,
               "begin": begin, "end": end, "status": status, "outRv": 0, "outValue": ""}
        if status in (200, 201) and op != "delete":
            if "v" not in answer.get("data", {}):
                raise Failure(f"{op} of {name}: {status} {answer}")
            out["outRv"], out["outValue"] = version(answer), answer["data"]["v"]
            self.known[name] = version(answer)
        self.shared.history.append(out)
