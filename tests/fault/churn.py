"""A cluster under random requests and random harm, judged by what clients saw.

Writers create, change, scale and delete ConfigMaps, Deployments and pods and note
what was acknowledged.  Watchers follow types from resourceVersion to
resourceVersion, through every broken connection.  Meanwhile processes are killed
and stopped at random: one, several, the store, all, the supervisor with `weft up`
again, and shards come and go.  At every moment a watch shows:

  resourceVersions rise, and a watch that is taken up again repeats nothing;
  a Deployment's ReplicaSets want no more than its replicas and its surge;
  no pod is made that a ReplicaSet was not asked for (as in Kubernetes, a new
  ReplicaSet's pods may come before an old one's have gone).

When the harm has ended:

  every acknowledged write is there, what was refused is not;
  every Deployment has exactly its replicas, ready, of its newest template;
  nothing is left of what was deleted; lists show what the watches saw;
  no process has ended but by our hand.

The seed is printed; --seed repeats the choices, though not the moments.
"""
import argparse, base64, http.client, json, os, random, re, shutil, signal, socket, ssl
import subprocess, sys, tempfile, threading, time

NS = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
TYPES = {"pods": NS + "/pods", "configmaps": NS + "/configmaps",
         "deployments": APPS + "/deployments", "replicasets": APPS + "/replicasets"}
# Everything small, so that memory and files are used again and again.
CONFIG = """
cache: {journalMin: 1024, journalMax: 2048, first: 1Mi}
log: {segment: 1Mi}
supervisor: {stallAfter: 2s}
"""
SURGE = 2
SETTLE = 60  # seconds after the harm


class Trouble(Exception):
    """The answer did not come: the outcome is unknown."""


class Failure(Exception):
    """A promise was broken."""


class Cluster:
    def __init__(self, weft, folder):
        self.weft, self.data, self.port, self.process = weft, folder + "/data", 0, None
        self.stderr = open(folder + "/stderr", "ab")
        self.config = folder + "/config.yaml"
        with open(self.config, "w") as f:
            f.write(CONFIG)

    def up(self):
        self.process = subprocess.Popen(
            [self.weft, "up", "-c", self.config, "--data", self.data, "--nodes", "4",
             "--listen", f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE, stderr=self.stderr)
        line = self.process.stdout.readline().decode()
        found = re.match(r"ready https://[^:]+:(\d+) ", line)
        if not found:
            raise Failure("weft up does not come up: see its log")
        self.port = int(found.group(1))
        text = open(self.data + "/kubeconfig").read()
        part = lambda key: base64.b64decode(re.search(key + r": (\S+)", text).group(1))
        pem = self.data + "/admin.pem"
        with open(pem, "wb") as f:
            f.write(part("client-certificate-data") + part("client-key-data"))
        tls = ssl.create_default_context(cadata=part("certificate-authority-data").decode())
        tls.load_cert_chain(pem)
        self.tls = tls

    def processes(self):
        """{name: pid} of what runs now, the supervisor not counted."""
        out = subprocess.run([self.weft, "status", "--data", self.data], capture_output=True,
                             text=True).stdout
        rows = [line.split() for line in out.splitlines()[1:]]
        return {r[0]: int(r[1]) for r in rows if len(r) > 2 and r[1].isdigit() and int(r[1]) > 1}

    def all_run(self):
        return subprocess.run([self.weft, "status", "--data", self.data],
                              capture_output=True).returncode == 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def connect(self, timeout):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls,
                                           timeout=timeout)


class Client:
    """One connection, used again while it lasts."""

    def __init__(self, cluster):
        self.cluster, self.connection = cluster, None

    def call(self, method, path, body=None, kind="application/json"):
        """(status, answer); Trouble if there is none or it says 5xx."""
        try:
            if not self.connection:
                self.connection = self.cluster.connect(10)
            self.connection.request(method, path, json.dumps(body) if body else None,
                                    {"Content-Type": kind})
            answer = self.connection.getresponse()
            text, status = answer.read(), answer.status
        except (OSError, http.client.HTTPException, ssl.SSLError) as e:
            self.close()
            raise Trouble(str(e))
        if status >= 500 or status == 429:
            raise Trouble(f"{status} {text[:200]!r}")
        return status, json.loads(text)

    def sure(self, method, path, body=None, within=60):
        """The same for reads, until there is an answer."""
        until = time.monotonic() + within
        while True:
            try:
                status, answer = self.call(method, path, body)
                if status in (200, 404):
                    return status, answer
                raise Failure(f"{method} {path}: {status} {answer}")
            except Trouble as e:
                if time.monotonic() > until:
                    raise Failure(f"{method} {path}: no answer for {within} s: {e}")
                time.sleep(0.1)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Shared:
    """What all threads look at."""

    def __init__(self, cluster, seed):
        self.cluster, self.seed = cluster, seed
        self.writing, self.watching, self.failures = True, True, []
        self.lock = threading.Lock()
        self.wanted = {}  # app: most replicas it was asked to have
        self.asked = {}   # uid of a ReplicaSet: [(resourceVersion, replicas, settled)]
        self.gaps = []    # (from, to): resourceVersions of ReplicaSets that were not seen
        self.made = []    # (resourceVersion, uid of its ReplicaSet, pods then, name)
        self.counts = {"requests": 0, "unknown": 0, "events": 0, "relists": 0, "harm": 0}

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def broken(self, text):
        with self.lock:
            if len(self.failures) < 20:
                self.failures.append(text)
        print("BROKEN:", text, flush=True)


def version(o):
    return int(o["metadata"]["resourceVersion"])


# --- Watching -----------------------------------------------------------------

class Watcher(threading.Thread):
    """Follows one type; `seen` is its view of it."""

    def __init__(self, shared, what):
        super().__init__(daemon=True)
        self.shared, self.what, self.path = shared, what, TYPES[what]
        self.seen, self.at, self.last = {}, 0, 0
        self.active = {}  # uid of an owner: names of its pods that count

    def run(self):
        while self.shared.watching:
            try:
                if not self.at:
                    self.list()
                self.watch()
            except (OSError, http.client.HTTPException, ssl.SSLError, Trouble, ValueError):
                time.sleep(0.05)
            except Exception as e:
                self.shared.broken(f"watch of {self.what}: {e!r}")
                return

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
        self.seen.update(now)
        for o in now.values():
            self.note(o)
        self.at = int(answer["metadata"]["resourceVersion"])
        if self.what == "replicasets":
            self.shared.gaps.append((self.last, self.at))

    def watch(self):
        connection = self.shared.cluster.connect(5)
        try:
            connection.request("GET", f"{self.path}?watch=1&allowWatchBookmarks=true"
                                      f"&timeoutSeconds=20&resourceVersion={self.at}")
            answer = connection.getresponse()
            if answer.status == 410:
                self.last, self.at = self.at, 0
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
            self.last, self.at = self.at, 0
            raise Trouble(o.get("message", ""))
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
        if e["type"] == "DELETED":
            self.forget(name)
        else:
            self.note(o)
        self.at = rv

    def forget(self, name):
        self.seen.pop(name, None)
        for names in self.active.values():
            names.discard(name)

    def note(self, o):
        name = o["metadata"]["name"]
        new = name not in self.seen
        self.seen[name] = o
        if self.what == "pods":
            self.note_pod(name, o, new)
        elif self.what == "replicasets":
            self.note_set(o)

    def note_pod(self, name, o, new):
        for ref in o["metadata"].get("ownerReferences", []):
            names = self.active.setdefault(ref["uid"], set())
            gone = "deletionTimestamp" in o["metadata"] or \
                o.get("status", {}).get("phase") in ("Failed", "Succeeded")
            (names.discard if gone else names.add)(name)
            if new and self.at:
                self.shared.made.append((version(o), ref["uid"], len(names), name))

    def note_set(self, o):
        n, status, app = o["spec"]["replicas"], o["status"], o["metadata"]["labels"]["app"]
        settled = status.get("observedGeneration") == o["metadata"]["generation"] and \
            status["replicas"] == n
        self.shared.asked.setdefault(o["metadata"]["uid"], []).append((version(o), n, settled))
        total = sum(r["spec"]["replicas"] for r in self.seen.values()
                    if r["metadata"]["labels"]["app"] == app)
        with self.shared.lock:
            most = self.shared.wanted.get(app, 0) + SURGE
        if total > most:
            self.shared.broken(f"ReplicaSets of {app} want {total} at {version(o)}, at most {most} are allowed")


# --- Writing ------------------------------------------------------------------

class Writer(threading.Thread):
    """Owns some names; knows what has to be there under each."""

    def __init__(self, shared, number):
        super().__init__(daemon=True)
        self.shared, self.number = shared, number
        self.random = random.Random(shared.seed * 1000 + number)
        self.client = Client(shared.cluster)
        self.expected = {}  # (what, name): last acknowledged object
        self.made = 0

    def run(self):
        try:
            while self.shared.writing:
                self.step()
                time.sleep(self.random.random() * 0.05)
        except Failure as e:
            self.shared.broken(str(e))
        except Exception as e:
            self.shared.broken(f"writer {self.number}: {e!r}")

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
        return self.change(kind, name, {"spec": {"template": {"spec": {"containers": [
            {"name": "c", "image": f"nginx:{self.next()}"}]}}}})

    def next(self):
        self.made += 1
        return f"{self.number}.{self.made}"

    def ask(self, replicas, app):
        """Note before it is sent what may come of it."""
        with self.shared.lock:
            self.shared.wanted[app] = max(self.shared.wanted.get(app, 0), replicas)

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

    def look(self, kind, name, before):
        """The outcome is unknown: what is there must be the old or something newer."""
        time.sleep(0.2)
        status, answer = self.client.sure("GET", f"{TYPES[kind]}/{name}")
        # What was under way may still come: wait for the store to be done with it.
        time.sleep(0.5)
        status, answer = self.client.sure("GET", f"{TYPES[kind]}/{name}")
        if status == 404:
            self.expected.pop((kind, name), None)
            return
        if before and answer["metadata"]["uid"] == before["metadata"]["uid"] and \
                version(answer) < version(before):
            raise Failure(f"{kind}/{name}: acknowledged at {version(before)}, now at {version(answer)}")
        self.expected[kind, name] = answer

    def create(self, kind, name):
        o = {"metadata": {"name": name}}
        if kind == "configmaps":
            o["data"] = {"n": self.next()}
            return self.write("POST", kind, name, o)
        app, replicas = f"{name}-{self.next().replace('.', '-')}", self.random.randrange(9)
        self.ask(replicas, app)
        o["spec"] = {
            "replicas": replicas, "selector": {"matchLabels": {"app": app}},
            "strategy": {"rollingUpdate": {"maxSurge": SURGE, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": app}},
                         "spec": {"terminationGracePeriodSeconds": 1,
                                  "containers": [{"name": "c", "image": "nginx:1"}]}}}
        self.write("POST", kind, name, o)

    def change(self, kind, name, patch):
        self.write("PATCH", kind, name, patch, "application/strategic-merge-patch+json")

    def scale(self, name, replicas):
        app = self.expected["deployments", name]["spec"]["selector"]["matchLabels"]["app"]
        self.ask(replicas, app)
        self.change("deployments", name, {"spec": {"replicas": replicas}})

    def delete(self, kind, name):
        self.write("DELETE", kind, name, {"propagationPolicy": "Background"})

    def delete_pod(self):
        try:
            status, answer = self.client.call("GET", TYPES["pods"] + "?limit=20")
            if status == 200 and answer["items"]:
                pod = self.random.choice(answer["items"])["metadata"]["name"]
                self.client.call("DELETE", f"{TYPES['pods']}/{pod}", {})
        except Trouble:
            self.shared.count("unknown")


# --- Harm ---------------------------------------------------------------------

class Harm:
    def __init__(self, shared):
        self.shared, self.cluster = shared, shared.cluster
        self.random = random.Random(shared.seed)
        self.restarts = 0

    def send(self, pid, signal_number):
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            pass

    def one(self):
        names = self.cluster.processes()
        if names:
            name = self.random.choice(sorted(names))
            self.send(names[name], signal.SIGKILL)
            return f"kill {name}"

    def several(self):
        names = self.cluster.processes()
        some = self.random.sample(sorted(names), min(len(names), self.random.randrange(2, 5)))
        for name in some:
            self.send(names[name], signal.SIGKILL)
        return "kill " + " ".join(some)

    def store(self):
        self.send(self.cluster.processes().get("store/0", 0) or 1 << 30, signal.SIGKILL)
        return "kill store/0"

    def store_and_one(self):
        """Stop the store with work in its hands, end someone meanwhile."""
        names = self.cluster.processes()
        if "store/0" not in names:
            return None
        victim = self.random.choice(sorted(set(names) - {"store/0"}))
        self.send(names["store/0"], signal.SIGSTOP)
        self.send(names[victim], signal.SIGKILL)
        time.sleep(self.random.random() * 2)
        self.send(names["store/0"], signal.SIGCONT)
        return f"kill {victim} with store/0 stopped"

    def everything(self):
        for pid in self.cluster.processes().values():
            self.send(pid, signal.SIGKILL)
        return "kill all"

    def pause(self):
        names = self.cluster.processes()
        if not names:
            return None
        name = self.random.choice(sorted(names))
        self.send(names[name], signal.SIGSTOP)
        seconds = self.random.choice([0.3, 1, 3])  # after two it is replaced
        time.sleep(seconds)
        self.send(names[name], signal.SIGCONT)
        return f"stop {name} for {seconds} s"

    def supervisor(self):
        self.cluster.process.kill()
        self.cluster.process.wait()
        self.cluster.up()
        return "kill the supervisor"

    def shards(self):
        kind = self.random.choice(["replicaset", "deployment", "scheduler", "node", "gc", "namespace"])
        n = self.random.randrange(1, 4)
        subprocess.Popen([self.cluster.weft, "scale", kind, str(n), "--data", self.cluster.data],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()
        return f"scale {kind} {n}"

    def go_on(self, seconds):
        ways = [self.one, self.several, self.store, self.store_and_one, self.everything,
                self.pause, self.supervisor, self.shards]
        weights = [6, 3, 2, 2, 1, 3, 2, 3]
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.shared.failures:
            time.sleep(self.random.random() * 1.5)
            what = self.random.choices(ways, weights)[0]()
            if what:
                self.shared.count("harm")
                print(time.strftime("%T"), what, flush=True)


# --- Judging ------------------------------------------------------------------

def objects(client, what):
    return {o["metadata"]["name"]: o for o in client.sure("GET", TYPES[what])[1]["items"]}


def complaints(client, expected):
    """What is not yet, or no more, as it must be."""
    there = {what: objects(client, what) for what in TYPES}
    must = {what: {n: o for (w, n), o in expected.items() if w == what} for what in TYPES}
    for what in ("configmaps", "deployments"):
        have = set(there[what]) - {"kube-root-ca.crt"}
        for name in set(must[what]) - have:
            yield f"{what}/{name} was acknowledged and is not there"
        for name in have - set(must[what]):
            yield f"{what}/{name} is there and should not be"
    for name, o in must["configmaps"].items():
        now = there["configmaps"].get(name)
        if now and (now["data"] != o["data"] or version(now) != version(o)):
            yield f"configmaps/{name}: {now['data']} at {version(now)}, acknowledged {o['data']} at {version(o)}"
    for name, o in must["deployments"].items():
        now = there["deployments"].get(name)
        if now:
            yield from deployment_complaints(o, now, there)
    owners = {o["metadata"]["uid"] for o in list(there["deployments"].values()) +
              list(there["replicasets"].values())}
    for what in ("replicasets", "pods"):
        for name, o in there[what].items():
            for ref in o["metadata"].get("ownerReferences", []):
                if ref["uid"] not in owners:
                    yield f"{what}/{name} has lost its owner"


def deployment_complaints(o, now, there):
    name, n = o["metadata"]["name"], o["spec"]["replicas"]
    image = o["spec"]["template"]["spec"]["containers"][0]["image"]
    if now["spec"]["replicas"] != n or \
            now["spec"]["template"]["spec"]["containers"][0]["image"] != image:
        yield f"deployments/{name} is not what was acknowledged"
    status = now["status"]
    got = [status.get(f, 0) for f in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    if got != [n] * 4 or status.get("observedGeneration") != now["metadata"]["generation"]:
        yield f"deployments/{name} wants {n}: {status}"
    app = now["spec"]["selector"]["matchLabels"]["app"]
    pods = [p for p in there["pods"].values() if p["metadata"]["labels"].get("app") == app]
    images = {p["spec"]["containers"][0]["image"] for p in pods}
    if len(pods) != n or images - {image}:
        yield f"deployments/{name} wants {n} pods of {image}: {len(pods)} of {images}"


def settle(shared, expected):
    client = Client(shared.cluster)
    until = time.monotonic() + SETTLE
    while True:
        left = list(complaints(client, expected))
        if not left or shared.failures:
            return
        if time.monotonic() > until:
            for text in left[:20]:
                shared.broken(text)
            return
        time.sleep(0.5)


def compare(shared, watchers):
    """Watches end where lists are."""
    client = Client(shared.cluster)
    for w in watchers:
        for attempt in range(100):
            there = objects(client, w.what)
            have = {n: version(o) for n, o in list(w.seen.items())}
            if have == {n: version(o) for n, o in there.items()}:
                break
            time.sleep(0.1)
        else:
            differ = [n for n in set(have) | set(there)
                      if n not in there or have.get(n) != version(there[n])]
            shared.broken(f"the watch of {w.what} and the list differ: {differ[:5]}")


def too_many(shared):
    """A pod may be made while its ReplicaSet wants it, or wanted it since it last
    had what it wanted: nobody can know at once that it wants fewer."""
    for at, uid, pods, name in shared.made:
        if any(a <= at <= b for a, b in shared.gaps):
            continue
        most = 0
        for rv, n, settled in shared.asked.get(uid, []):
            if rv > at:
                break
            most = n if settled else max(most, n)
        if pods > most:
            shared.broken(f"pods/{name} made at {at}: {pods} pods, its ReplicaSet wants {most}")


def deaths(shared):
    """Nobody ends but by our hand."""
    for name in ("log.1", "log"):
        try:
            lines = open(f"{shared.cluster.data}/{name}", errors="replace")
        except FileNotFoundError:
            continue
        for line in lines:
            if re.search(r"was killed by signal (?!9\b)|ended with status|assertion failed|"
                         r"Sanitizer|runtime error", line):
                shared.broken(line.strip())


def run(shared, seconds):
    watchers = [Watcher(shared, what) for what in TYPES]
    writers = [Writer(shared, i) for i in range(3)]
    for t in watchers + writers:
        t.start()
    Harm(shared).go_on(seconds)
    shared.writing = False
    for w in writers:
        w.join(120)
        if w.is_alive():
            shared.broken(f"writer {w.number} hangs")
    expected = {k: o for w in writers for k, o in w.expected.items()}
    if not shared.failures:
        settle(shared, expected)
    if not shared.failures:
        compare(shared, watchers)
    if not shared.failures:
        too_many(shared)
    deaths(shared)
    shared.watching = False
    for w in watchers:
        w.join(15)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--weft", default="build/weft")
    options.add_argument("--seconds", type=float, default=45)
    options.add_argument("--seed", type=int, default=int(os.environ.get("WEFT_SEED", 0)) or
                         random.randrange(1, 1 << 31))
    options.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")))
    o = options.parse_args()
    print(f"seed {o.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="weft-churn-")
    cluster = Cluster(o.weft, folder)
    shared = Shared(cluster, o.seed)
    try:
        cluster.up()
        run(shared, o.seconds)
        cluster.stop()
    except Failure as e:
        shared.broken(str(e))
    finally:
        if cluster.process and cluster.process.poll() is None:
            cluster.process.kill()
            cluster.process.wait()
    print(" ".join(f"{k}:{v}" for k, v in shared.counts.items()))
    if shared.failures:
        subprocess.run(["tail", "-n", "40", cluster.data + "/log"])
    if shared.failures or o.keep:
        print("kept:", folder)
    else:
        shutil.rmtree(folder)
    sys.exit(1 if shared.failures else 0)


main()
