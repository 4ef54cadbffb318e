"""Shards come and go in the middle of everything, and nobody is served by two or by none.

Many Deployments roll from image to image and from size to size all the time.  Meanwhile,
for each kind of process in turn:

  stopped    a shard is stopped, its objects go to others, and it goes on: at once, or
             after it was given up and replaced
  starting   the new shard is killed before it is ready, and one of the old ones with it
  fenced     between the two steps of a change (the store is stopped there) shards are
             killed, or the store, or the supervisor, or another number is asked for
  apiserver  API servers come and go while clients write and watch

It is judged from outside, by what clients saw, and by the journal:

  no ReplicaSet ever has more pods than it was asked for since it last had as many
  every rollout ends, with exactly the pods asked for, all of the newest template
  whatever was acknowledged is there; an answer says what that client wrote
  each watch saw each change of its objects once, in order: those that the journal tells
  what one object caused under one epoch (`weft journal`, and the store's log for where an
  epoch begins) was written by one process alone

The seed is printed; --seed repeats the choices, though not the moments.
"""
import argparse, base64, http.client, json, os, random, re, shutil, signal, ssl
import subprocess, sys, tempfile, threading, time

APPS, CORE = "/apis/apps/v1/namespaces/default", "/api/v1/namespaces/default"
PATHS = {"pods": CORE + "/pods", "configmaps": CORE + "/configmaps",
         "replicasets": APPS + "/replicasets", "deployments": APPS + "/deployments"}
CONFIG = """
cache: {journalMin: 4000000, journalMax: 4000000}
supervisor: {stallAfter: 3s}
events: {perSecond: 20, burst: 50}
nodes: {count: 8, pods: 500}
processes: {replicaset: 2, deployment: 2, scheduler: 2, node: 2, gc: 2}
"""
KINDS = ["replicaset", "deployment", "scheduler", "node", "gc", "namespace", "nodelifecycle"]
APPS_N, REPLICAS, WITHIN = 24, 8, 60
NETWORK = (OSError, http.client.HTTPException, ssl.SSLError)


class Failure(Exception):
    """A promise was broken."""


# --- A cluster --------------------------------------------------------------------

class Cluster:
    def __init__(self, weft, folder):
        self.weft, self.folder, self.data = weft, folder, folder + "/data"
        self.port, self.process, self.journal = 0, None, None
        with open(folder + "/config.yaml", "w") as f:
            f.write(CONFIG)

    def up(self):
        self.process = subprocess.Popen(
            [self.weft, "up", "-c", self.folder + "/config.yaml", "--data", self.data, "--listen",
             f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE,
            stderr=open(self.folder + "/stderr", "ab"))
        found = re.match(r"ready https://[^:]+:(\d+) ", self.process.stdout.readline().decode())
        if not found:
            raise Failure("weft up does not come up")
        self.port = int(found.group(1))
        text = open(self.data + "/kubeconfig").read()
        part = lambda key: base64.b64decode(re.search(key + r": (\S+)", text).group(1))
        with open(self.folder + "/admin.pem", "wb") as f:
            f.write(part("client-certificate-data") + part("client-key-data"))
        tls = ssl.create_default_context(cadata=part("certificate-authority-data").decode())
        tls.load_cert_chain(self.folder + "/admin.pem")
        self.tls = tls  # whole: others use it at once
        self.journal = subprocess.Popen(
            [self.weft, "journal", "-f", "--data", self.data],
            stdout=open(self.folder + "/journal", "ab"))

    def kill_supervisor(self):
        self.process.kill()
        self.process.wait()
        self.journal.wait()
        self.up()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.journal.wait(10)

    def status(self):
        out = subprocess.run([self.weft, "status", "--data", self.data, "--json"],
                             capture_output=True, text=True)
        return json.loads(out.stdout) if out.stdout else {"processes": [], "scaling": {}}

    def pid(self, kind, shard):
        for p in self.status()["processes"]:
            if (p["process"], p["shard"]) == (kind, shard) and p["pid"] > 1:
                return p["pid"]
        return None

    def pids(self, kind):
        return [p["pid"] for p in self.status()["processes"] if p["process"] == kind and p["pid"] > 1]

    def scale(self, kind, n):
        return subprocess.Popen([self.weft, "scale", kind, str(n), "--data", self.data],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def scaled(self, kind, n):
        asking = self.scale(kind, n)
        said = asking.communicate(timeout=60)[1]
        if asking.returncode:
            raise Failure(f"weft scale {kind}={n}: {said.strip()}")

    def count(self, kind):
        return self.status()["scaling"][kind]["processes"]

    def until(self, what, condition, within=WITHIN):
        end = time.monotonic() + within
        while not condition():
            if time.monotonic() > end:
                raise Failure(f"not within {within} s: {what}")
            time.sleep(0.01)

    def all_run(self):
        states = [p["state"] for p in self.status()["processes"]]
        return len(states) > 9 and set(states) == {"running"}

    def connect(self, timeout=15):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=timeout)


def send(pid, sig):
    try:
        if pid:
            os.kill(pid, sig)
    except ProcessLookupError:
        pass


class Client:
    def __init__(self, cluster):
        self.cluster, self.connection = cluster, None

    def once(self, method, path, body=None, kind="application/json"):
        """(status, answer); None if it is unknown what came of it."""
        try:
            self.connection = self.connection or self.cluster.connect()
            self.connection.request(method, path, json.dumps(body) if body else None,
                                    {"Content-Type": kind})
            answer = self.connection.getresponse()
            text, status = answer.read(), answer.status
        except NETWORK:
            self.connection = None
            return None
        return None if status >= 500 or status == 429 else (status, json.loads(text))

    def sure(self, method, path, body=None, kind="application/json"):
        """The same for what may be done twice, until there is an answer."""
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            answer = self.once(method, path, body, kind)
            if answer and answer[0] != 409:
                return answer
            time.sleep(0.05)
        raise Failure(f"{method} {path}: no answer for {WITHIN} s")


class Shared:
    def __init__(self, cluster, seed):
        self.cluster, self.seed, self.failures = cluster, seed, []
        self.busy, self.watching, self.lock = True, True, threading.Lock()
        self.requests = self.unknown = 0
        self.rolling = threading.Event()  # Deployments are changed
        self.rolling.set()

    def broken(self, text):
        print("BROKEN:", text, flush=True)
        with self.lock:
            self.failures.append(text)


# --- Watches -------------------------------------------------------------------------

class Watch(threading.Thread):
    """Notes every change of one type, over all broken connections."""

    def __init__(self, shared, what):
        super().__init__(daemon=True)
        self.shared, self.what, self.at, self.first = shared, what, 0, 0
        self.events = []  # (resourceVersion, type, object's name, what is to be known of it)
        self.losses = []  # (from, to): not seen, as the store was another one by then
        self.connections = 0

    def run(self):
        while self.shared.watching:
            try:
                if not self.at:
                    self.list()
                self.follow()
            except NETWORK + (ValueError,):
                time.sleep(0.02)
            except Exception as e:
                return self.shared.broken(f"watch of {self.what}: {e!r}")

    def list(self):
        status, answer = Client(self.shared.cluster).sure("GET", PATHS[self.what])
        if status != 200:
            raise Failure(f"{status} {answer}")
        before, self.at = self.last_seen(), int(answer["metadata"]["resourceVersion"])
        if self.first:
            self.losses.append((before, self.at))
        self.first = self.first or self.at
        self.events.append((self.at, "RELIST", None, None))
        for o in answer["items"]:
            self.events.append((self.at, "LISTED", o["metadata"]["name"], self.facts(o)))

    def last_seen(self):
        return self.events[-1][0] if self.events else self.first

    def follow(self):
        connection = self.shared.cluster.connect(5)
        try:
            connection.request("GET", f"{PATHS[self.what]}?watch=1&allowWatchBookmarks=true"
                                      f"&timeoutSeconds=30&resourceVersion={self.at}")
            answer = connection.getresponse()
            self.connections += 1
            if answer.status == 410:
                self.at = 0
            while answer.status == 200 and self.shared.watching:
                line = answer.readline()
                if not line:
                    return
                self.event(json.loads(line))
            time.sleep(0.02)
        finally:
            connection.close()

    def event(self, e):
        o, kind = e["object"], e["type"]
        if kind == "ERROR":
            self.at = 0
            return
        rv = int(o["metadata"]["resourceVersion"])
        if kind != "BOOKMARK":
            if rv <= self.last_seen():
                self.shared.broken(f"watch of {self.what}: {rv} after {self.last_seen()}")
            self.events.append((rv, kind, o["metadata"]["name"], self.facts(o)))
        self.at = max(self.at, rv)

    def facts(self, o):
        meta, status = o["metadata"], o.get("status", {})
        if self.what == "pods":
            gone = "deletionTimestamp" in meta or status.get("phase") in ("Failed", "Succeeded")
            return [r["uid"] for r in meta.get("ownerReferences", [])], gone
        if self.what == "replicasets":
            n = o["spec"]["replicas"]
            return meta["uid"], n, status.get("observedGeneration") == meta["generation"] and \
                status["replicas"] == n
        return None


def note_wanted(most, kind, uid, n, settled):
    """Of one that is only listed nobody knows how many it wanted before, unless it has them."""
    if settled or kind == "ADDED":
        most[uid] = n
    elif uid in most:
        most[uid] = max(most[uid], n)


def too_many_pods(shared, pods, sets):
    """A pod may be made while its ReplicaSet wants it, or has wanted it since it last had what
    it wanted: nobody can know at once that it wants fewer."""
    stream = sorted([(e[0], 0, e) for e in sets.events] + [(e[0], 1, e) for e in pods.events],
                    key=lambda x: (x[0], x[1]))
    most, now, seen = {}, {}, set()
    lost = sets.losses + pods.losses
    for rv, of_pod, (_, kind, name, facts) in stream:
        if kind == "RELIST":
            (now if of_pod else most).clear()  # what came and went meanwhile is not known
        elif not of_pod:
            note_wanted(most, kind, *facts)
        for uid in facts[0] if of_pod and facts else []:
            names = now.setdefault(uid, set())
            (names.discard if facts[1] or kind == "DELETED" else names.add)(name)
            if kind == "ADDED" and name not in seen and len(names) > most.get(uid, 1 << 30) and \
                    not any(a <= rv <= b for a, b in lost):
                shared.broken(f"pods/{name} made at {rv}: {len(names)} pods, "
                              f"its ReplicaSet wants {most[uid]}")
        seen.add(name)


# --- Work ----------------------------------------------------------------------------

class Roller(threading.Thread):
    """Rolls its Deployments on and on."""

    def __init__(self, shared, number, of):
        super().__init__(daemon=True)
        self.shared, self.client = shared, Client(shared.cluster)
        self.random = random.Random(shared.seed * 100 + number)
        self.apps = [f"app{i}" for i in range(number, APPS_N, of)]
        self.wanted, self.made = {}, 0

    def template(self, app):
        self.made += 1
        return {"metadata": {"labels": {"app": app}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": f"nginx:{self.made}"}]}}

    def run(self):
        try:
            for app in self.apps:
                o = {"metadata": {"name": app}, "spec": {
                    "replicas": REPLICAS, "selector": {"matchLabels": {"app": app}},
                    "template": self.template(app)}}
                self.wanted[app] = (REPLICAS, f"nginx:{self.made}")
                self.client.sure("POST", PATHS["deployments"], o)
            while self.shared.busy:
                self.shared.rolling.wait()
                self.change(self.random.choice(self.apps))
                time.sleep(self.random.random() * 0.1)
        except Exception as e:
            self.shared.broken(f"deployments: {e!r}")

    def change(self, app):
        n = self.random.randrange(REPLICAS // 2, REPLICAS * 2)
        patch = {"spec": {"replicas": n, "template": self.template(app)}}
        self.wanted[app] = (n, f"nginx:{self.made}")
        self.client.sure("PATCH", f"{PATHS['deployments']}/{app}", patch,
                         "application/strategic-merge-patch+json")


class Writer(threading.Thread):
    """Writes ConfigMaps of its own, and looks at each answer."""

    def __init__(self, shared, number):
        super().__init__(daemon=True)
        self.shared, self.number = shared, number
        self.client, self.random = Client(shared.cluster), random.Random(shared.seed * 100 + number)
        self.n, self.there = 0, {}  # name: what must be in it, and its resourceVersion

    def run(self):
        try:
            while self.shared.busy:
                self.step(f"w{self.number}-{self.random.randrange(6)}")
                time.sleep(0.005)
        except Exception as e:
            self.shared.broken(f"writer {self.number}: {e!r}")

    def step(self, name):
        self.n += 1
        self.shared.requests += 1
        path, before = f"{PATHS['configmaps']}/{name}", self.there.get(name)
        do = self.random.choice(["read", "write", "write", "delete"])
        if do == "read":
            return self.check(name, self.client.once("GET", path), before)
        if not before:
            answer = self.client.once("POST", PATHS["configmaps"],
                                      {"metadata": {"name": name}, "data": {"n": str(self.n)}})
            return self.note(name, answer, {201}, str(self.n), before)
        if do == "delete":
            return self.note(name, self.client.once("DELETE", path), {200}, None, before)
        answer = self.client.once("PATCH", path, {"data": {"n": str(self.n)}},
                                  "application/merge-patch+json")
        self.note(name, answer, {200}, str(self.n), before)

    def check(self, name, answer, must):
        if answer is None:
            return
        status, o = answer
        if must is None and status == 404:
            return
        if must is None or status != 200 or (o["data"]["n"], version(o)) != must:
            raise Failure(f"configmaps/{name}: {status} {o.get('data')} at {version(o)}, "
                          f"acknowledged was {must}")

    def note(self, name, answer, good, n, before):
        """An answer is as it has to be; without one, either may have come to pass."""
        if answer is None:
            return self.look(name, before, n)
        status, o = answer
        if status not in good:
            raise Failure(f"configmaps/{name}: {status} {o.get('message')}, acknowledged was {before}")
        if n is None:
            self.there.pop(name, None)
        elif o["data"]["n"] != n:
            raise Failure(f"configmaps/{name}: asked for {n}, the answer is {o['data']}")
        else:
            self.there[name] = (n, version(o))

    def look(self, name, before, n):
        self.shared.unknown += 1
        time.sleep(1)  # what is under way comes, or never does
        status, o = self.client.sure("GET", f"{PATHS['configmaps']}/{name}")
        now = (o["data"]["n"], version(o)) if status == 200 else None
        if now and now != before and now[0] != n or not now and before and n is not None:
            raise Failure(f"configmaps/{name}: {now}, acknowledged was {before}, asked for {n}")
        if now:
            self.there[name] = now
        else:
            self.there.pop(name, None)


def version(o):
    return int(o.get("metadata", {}).get("resourceVersion", 0))


# --- Harm ------------------------------------------------------------------------------

class Harm:
    def __init__(self, shared):
        self.shared, self.cluster = shared, shared.cluster
        self.random, self.done = random.Random(shared.seed), 0

    def say(self, text):
        self.done += 1
        print(time.strftime("%T"), text, flush=True)

    def stopped(self, kind):
        """Stopped, resharded away from, and continued: before it is given up, or after."""
        c = self.cluster
        c.scaled(kind, 2)
        shard, n = self.random.choice([0, 1]), self.random.choice([1, 3, 4])
        pid = c.pid(kind, shard)
        time.sleep(self.random.random() * 0.3)
        send(pid, signal.SIGSTOP)
        change, pause = c.scale(kind, n), self.random.choice([0.2, 0.5, 1, 4])
        time.sleep(pause)
        send(pid, signal.SIGCONT)
        if change.wait(60):
            raise Failure(f"weft scale {kind}={n} failed")
        self.say(f"{kind}/{shard} stopped, {n} processes, continued after {pause} s")

    def starting(self, kind):
        """Killed before it is ready."""
        c, n = self.cluster, self.random.choice([3, 4])
        c.scaled(kind, 2)
        change = c.scale(kind, n)
        c.until(f"{kind}/2 starts", lambda: c.pid(kind, 2))
        send(c.pid(kind, 2), signal.SIGKILL)
        send(c.pid(kind, self.random.choice([0, 1])), signal.SIGKILL)
        if change.wait(60):
            raise Failure(f"weft scale {kind}={n} failed")
        self.say(f"{kind}/2 and another killed at its start")

    def fence(self, kind, n):
        """Hold a change between its two steps: the store, which is to confirm, is stopped.  (New
        node processes need it before they are ready: their change is held earlier.)"""
        c = self.cluster
        c.scaled(kind, 2)
        store = c.pid("store", 0)
        send(store, signal.SIGSTOP)
        change = c.scale(kind, n)
        if n < 2 or kind != "node":
            c.until(f"the map of {kind} is on its way", lambda: c.status()["scaling"][kind]["next"] == n)
        return change, store

    def between(self, kind):
        c, n = self.cluster, self.random.choice([1, 3])
        change, store = self.fence(kind, n)
        what = self.random.choice(["shards", "store", "another"])
        time.sleep(self.random.random() * 0.5)
        if what == "shards":
            for pid in c.pids(kind):
                send(pid, signal.SIGKILL)
        elif what == "another":
            change = c.scale(kind, 4)
        time.sleep(self.random.random() * 0.5)
        send(store, signal.SIGKILL if what == "store" else signal.SIGCONT)
        if change.wait(60):
            raise Failure(f"weft scale of {kind} failed")
        self.say(f"{kind} to {n}: {what} in the middle of the change")

    def supervisor(self, kind):
        change, store = self.fence(kind, self.random.choice([1, 3]))
        self.cluster.kill_supervisor()
        change.wait(60)
        self.say(f"supervisor killed while {kind} changes")

    def apiservers(self, rounds):
        c = self.cluster
        for n in [2, 4, 1, 3, 1, 2, 1] * rounds:
            c.scaled("apiserver", n)
            time.sleep(0.3)
            if n > 1 and self.random.random() < 0.5:
                send(self.random.choice(c.pids("apiserver")), signal.SIGKILL)
            time.sleep(0.3)
        self.say("API servers came and went")


# --- Judging ------------------------------------------------------------------------------

def complaints(client, wanted):
    there = {w: client.sure("GET", PATHS[w])[1]["items"] for w in ("deployments", "pods")}
    for o in there["deployments"]:
        name, status = o["metadata"]["name"], o.get("status", {})
        n, image = wanted[name]
        pods = [p for p in there["pods"] if p["metadata"]["labels"].get("app") == name]
        got = [status.get(f, 0) for f in
               ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
        if got != [n] * 4 or status.get("observedGeneration") != o["metadata"]["generation"]:
            yield f"deployments/{name} wants {n} of {image}: {status}"
        elif len(pods) != n or {p["spec"]["containers"][0]["image"] for p in pods} != {image}:
            yield f"deployments/{name} wants {n} pods of {image}: it has {len(pods)}"
    if len(there["deployments"]) != APPS_N:
        yield f"{len(there['deployments'])} Deployments instead of {APPS_N}"


def settle(shared, rollers):
    """All work that was asked for is done."""
    shared.rolling.clear()
    time.sleep(0.3)
    wanted = {app: w for r in rollers for app, w in r.wanted.items()}
    client, end = Client(shared.cluster), time.monotonic() + WITHIN
    while not shared.failures:
        left = list(complaints(client, wanted))
        if not left:
            break
        if time.monotonic() > end:
            for text in left[:10]:
                shared.broken(text)
        time.sleep(0.2)
    shared.rolling.set()


def read_journal(folder):
    changes, missed = {}, []
    for line in open(folder + "/journal"):
        o = json.loads(line)
        if "missed" in o:
            missed.append(tuple(o["missed"]))
        else:
            changes[o["resourceVersion"]] = o
    return changes, missed


def epochs(data):
    """[(run of the supervisor, kind, epoch, first resourceVersion)], as the store's log has them."""
    out, run = [], 0
    for name in ("log.1", "log"):
        if not os.path.exists(f"{data}/{name}"):
            continue
        for line in open(f"{data}/{name}", errors="replace"):
            text = json.loads(line)["message"] if line.startswith("{") else ""
            run += text.startswith("starting on ")
            found = re.match(r"(\w+): epoch (\d+), of \d+ processes, from resourceVersion (\d+) on", text)
            if found:
                out.append((run, found[1], int(found[2]), int(found[3])))
            if re.search(r"generation 1 at resourceVersion (\d+)", text):
                for kind in KINDS:
                    out.append((run, kind, 1, int(re.search(r"resourceVersion (\d+)", text)[1]) + 1))
    return sorted(out, key=lambda e: e[3])


def one_writer_each(shared, changes):
    """What one object caused under one epoch was written by one process."""
    starts = {kind: [] for kind in KINDS}
    for run, kind, epoch, rv in epochs(shared.cluster.data):
        if kind in starts:
            starts[kind].append((rv, (run, epoch)))
    writers, judged, at = {}, 0, {kind: 0 for kind in KINDS}
    for rv in sorted(changes):
        o = changes[rv]
        kind = o.get("by")
        if kind not in starts or o["resource"] in ("events", "leases", "nodes"):
            continue
        acted = object_acted_on(o, kind, changes)
        if not acted:
            continue
        list_, i = starts[kind], at[kind]
        while i + 1 < len(list_) and list_[i + 1][0] <= rv:
            i += 1
        at[kind] = i
        key = (kind, acted, list_[i][1] if list_ else None)
        judged += 1
        slot = writers.setdefault(key, o["slot"])
        if slot != o["slot"]:
            shared.broken(f"{o['resource']}/{o['name']} at {rv}: written by slot {o['slot']} for "
                          f"{acted}, under {kind}'s epoch {key[2]} also by {slot}")
    return judged


def object_acted_on(o, kind, changes):
    if kind == "scheduler":
        return o["uid"]
    if kind == "node":
        return o.get("node")
    cause = changes.get(o.get("because"))
    return cause and cause["uid"]


def same_as_journal(shared, watch, changes, missed):
    """Each change once, in order; none but those."""
    def known(rv):
        return not any(a <= rv <= b for a, b in missed + watch.losses)
    saw = [e[0] for e in watch.events if e[1] in ("ADDED", "MODIFIED", "DELETED") and known(e[0])]
    last = max(saw, default=0)
    # The journal tells a deletion's resourceVersion, a graceful one's first step too.
    there = [rv for rv in sorted(changes) if changes[rv]["resource"] == watch.what and
             changes[rv].get("namespace") == "default" and watch.first < rv <= last and known(rv)]
    if saw != there:
        extra, lost = sorted(set(saw) - set(there)), sorted(set(there) - set(saw))
        shared.broken(f"a watch of {watch.what} saw {len(saw)} changes of {len(there)}: "
                      f"not {lost[:5]}, beyond that {extra[:5]}")
    return len(saw)


def deaths(shared):
    for line in open(shared.cluster.data + "/log", errors="replace"):
        if re.search(r"was killed by signal (?!9\b)|ended with status|assertion failed|Sanitizer|"
                     r"runtime error", line):
            shared.broken(line.strip())


# --- The whole -----------------------------------------------------------------------------

def harm(shared, rollers, seconds):
    h = Harm(shared)
    end = time.monotonic() + seconds
    kinds = []
    while not shared.failures and (time.monotonic() < end or kinds):
        if not kinds:
            kinds = KINDS[:]
            h.random.shuffle(kinds)
        kind = kinds.pop()
        for way in h.random.sample([h.stopped, h.starting, h.between], 3):
            way(kind)
        if h.random.random() < 0.3:
            h.supervisor(kind)
        shared.cluster.until("all run", shared.cluster.all_run)
        settle(shared, rollers)
        if not kinds and not shared.failures:
            h.apiservers(1)
            shared.cluster.until("all run", shared.cluster.all_run)
            settle(shared, rollers)
    return h.done


def run(shared, seconds):
    rollers = [Roller(shared, i, 3) for i in range(3)]
    writers = [Writer(shared, i + 10) for i in range(4)]
    watches = [Watch(shared, w) for w in ("pods", "replicasets", "deployments")] + \
        [Watch(shared, "configmaps") for _ in range(4)]
    for t in watches + rollers + writers:
        t.start()
    shared.cluster.until("there are Deployments", lambda: all(len(r.wanted) == len(r.apps)
                                                              for r in rollers))
    settle(shared, rollers)
    done = harm(shared, rollers, seconds)
    shared.busy = False
    shared.rolling.set()
    for t in rollers + writers:
        t.join(WITHIN)
    if not shared.failures:
        settle(shared, rollers)
    time.sleep(1)
    shared.watching = False
    shared.cluster.stop()
    for w in watches:
        w.join(10)
    judge(shared, watches, done)


def judge(shared, watches, done):
    changes, missed = read_journal(shared.cluster.folder)
    judged = one_writer_each(shared, changes)
    seen = sum(same_as_journal(shared, w, changes, missed) for w in watches)
    too_many_pods(shared, watches[0], watches[1])
    deaths(shared)
    print(f"{done} kinds of harm; {len(changes)} changes, {judged} of them by shards; watches saw "
          f"{seen} over {sum(w.connections for w in watches)} connections; {shared.requests} requests, "
          f"{shared.unknown} of them without an answer")
    if judged < 1000:
        shared.broken(f"only {judged} changes could be judged")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--weft", default="build/weft")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=int(os.environ.get("WEFT_SEED", 0)) or
                         random.randrange(1, 1 << 31))
    options.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")))
    o = options.parse_args()
    print(f"seed {o.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="weft-reshard-")
    shared = Shared(Cluster(o.weft, folder), o.seed)
    try:
        shared.cluster.up()
        run(shared, o.seconds)
    except Failure as e:
        shared.broken(str(e))
    finally:
        for p in (shared.cluster.process, shared.cluster.journal):
            if p and p.poll() is None:
                p.kill()
                p.wait()
    if shared.failures:
        subprocess.run(["tail", "-n", "60", shared.cluster.data + "/log"])
    if shared.failures or o.keep:
        print("kept:", folder)
    else:
        shutil.rmtree(folder)
    sys.exit(1 if shared.failures else 0)


main()
