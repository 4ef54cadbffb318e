"""A cluster of a test's own, and a client of it."""
import argparse, base64, http.client, json, os, random, re, resource, shutil, signal, ssl, subprocess, sys
import tempfile, threading, time
from faults import HOLD, Faults

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


def wait_until(holds, seconds, else_say):
    """Failure with what else_say() says, unless holds() in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise Failure(else_say())
        time.sleep(0.02)


class Trouble(Exception):
    """The answer did not come: the outcome is unknown, unless `refused` says that nothing
    was done."""

    def __init__(self, text, refused=False):
        super().__init__(text)
        self.refused = refused


class Failure(Exception):
    """A promise was broken."""


class Cluster:
    """`weft up` on a directory of its own.  `faults` are its fault points."""

    def __init__(self, weft, seed=0, config=CONFIG, nodes=4):
        self.weft, self.nodes = weft, nodes
        self.folder = tempfile.mkdtemp(prefix="weft-fault-")
        self.data, self.port, self.process = self.folder + "/data", 0, None
        self.stderr = open(self.folder + "/stderr", "ab")
        self.config = self.folder + "/config.yaml"
        with open(self.config, "w") as f:
            f.write(config)
        self.faults = Faults(weft, self.folder, seed)
        if self.faults.supported:
            self.faults.disk(self.data)

    def start(self):
        """Start it and wait for nothing."""
        self.process = subprocess.Popen(
            [self.weft, "up", "-c", self.config, "--data", self.data, "--nodes", str(self.nodes),
             "--listen", f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE, stderr=self.stderr,
            env=self.faults.environment)

    def up(self):
        self.start()
        self.serve()

    def serve(self):
        """Wait until it serves; Failure if it ends instead."""
        line = self.process.stdout.readline().decode()
        found = re.match(r"ready https://[^:]+:(\d+) ", line)
        if not found:
            raise Failure("weft up does not come up: " + self.last_words())
        self.port = int(found.group(1))
        self.read_kubeconfig()

    def read_kubeconfig(self):
        text = open(self.data + "/kubeconfig").read()
        part = lambda key: base64.b64decode(re.search(key + r": (\S+)", text).group(1))
        pem = self.data + "/admin.pem"
        with open(pem, "wb") as f:
            f.write(part("client-certificate-data") + part("client-key-data"))
        tls = ssl.create_default_context(cadata=part("certificate-authority-data").decode())
        tls.load_cert_chain(pem)
        self.tls = tls

    # --- Looking ---

    def status(self):
        """`weft status --json`, or None if no cluster runs."""
        out = subprocess.run([self.weft, "status", "--json", "--data", self.data],
                             capture_output=True, text=True)
        try:
            return json.loads(out.stdout)
        except ValueError:
            return None

    def processes(self):
        """{name: pid} of what runs now, the supervisor not counted."""
        rows = (self.status() or {}).get("processes", [])
        return {f"{r['process']}/{r['shard']}": r["pid"] for r in rows if r["pid"] > 1}

    def all_run(self):
        return subprocess.run([self.weft, "status", "--data", self.data],
                              capture_output=True).returncode == 0

    def wait_all_run(self, seconds=30):
        """How long it took, in seconds."""
        start = time.monotonic()
        while not self.all_run():
            if time.monotonic() - start > seconds:
                raise Failure(f"not every process runs after {seconds} s: {self.status()}")
            time.sleep(0.01)
        return time.monotonic() - start

    def log(self):
        """Lines of its log, the older file first."""
        for name in ("log.1", "log"):
            try:
                yield from open(f"{self.data}/{name}", errors="replace")
            except FileNotFoundError:
                pass

    def log_says(self, *words):
        return next((line for line in self.log() if all(w in line for w in words)), None)

    def keep_journal(self, namespace="default"):
        """What the journal says of a namespace, with who wrote it and why, for whoever looks into
        a failure: a file in the cluster's folder."""
        out = subprocess.run([self.weft, "journal", "--data", self.data], capture_output=True, text=True)
        with open(self.folder + "/journal", "w") as f:
            f.writelines(line + "\n" for line in out.stdout.splitlines()
                         if f'"namespace":"{namespace}"' in line)

    def last_words(self):
        words = [line.strip() for line in list(self.log())[-6:]]
        try:
            words += open(self.folder + "/stderr").read().strip().splitlines()[-2:]
        except FileNotFoundError:
            pass
        return " | ".join(words)

    # --- Coming between ---

    def while_held(self, kinds, ask, do):
        """ask() for something that processes of these kinds do; what they then ask of the store
        is sent when do() is done."""
        before = self.faults.fired("proc_flush")
        self.faults.set("proc_flush", HOLD, kinds=kinds)
        try:
            ask()
            if not self.faults.wait_fired("proc_flush", before, 5):
                raise Failure("nobody asks the store for anything")
            do()
        finally:
            self.faults.clear("proc_flush")

    # --- Ending ---

    def send(self, name_or_pid, number):
        pid = name_or_pid if isinstance(name_or_pid, int) else self.processes().get(name_or_pid, 0)
        try:
            if pid > 1:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def limit_descriptors(self, pid, spare):
        """Leave `spare` descriptors that can be opened; returns a way back."""
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(n) for n in os.listdir(f"/proc/{pid}/fd")) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + spare, before[1]))
        return lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self, seconds=30):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)

    def need_faults(self):
        if not self.faults.supported:
            raise Failure(f"{self.weft} is not a fault build: "
                          "make B=build-faults DEFS=-DWEFT_FAULTS")

    def close(self, keep):
        self.kill()
        self.stderr.close()
        if keep:
            print("kept:", self.folder, flush=True)
        else:
            shutil.rmtree(self.folder)

    def connect(self, timeout):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls,
                                           timeout=timeout)


class Client:
    """One connection, used again while it lasts."""

    def __init__(self, cluster):
        self.cluster, self.connection = cluster, None

    def call(self, method, path, body=None, kind="application/json", accept="application/json"):
        """(status, answer); Trouble if there is none or it says 5xx."""
        try:
            if not self.connection:
                self.connection = self.cluster.connect(10)
            self.connection.request(method, path, json.dumps(body) if body else None,
                                    {"Content-Type": kind, "Accept": accept})
            answer = self.connection.getresponse()
            text, status = answer.read(), answer.status
        except (OSError, http.client.HTTPException, ssl.SSLError) as e:
            self.close()
            raise Trouble(str(e), isinstance(e, ConnectionRefusedError))
        if status >= 500 or status == 429:
            raise Trouble(f"{status} {text[:200]!r}", status in (503, 429))
        return status, json.loads(text)

    def sure(self, method, path, body=None, within=60, good=(200, 404), **how):
        """The same for what may be done twice, until there is an answer."""
        until = time.monotonic() + within
        while True:
            try:
                status, answer = self.call(method, path, body, **how)
                if status in good:
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


class Tally:
    """How many faults of each kind were survived; tests/run adds them up from the file
    that WEFT_FAULT_TALLY names."""

    def __init__(self):
        self.lock, self.counts = threading.Lock(), {}

    def add(self, kind, n=1):
        with self.lock:
            self.counts[kind] = self.counts.get(kind, 0) + n

    def close(self):
        print("survived: " + ", ".join(f"{n} {kind}" for kind, n in sorted(self.counts.items())),
              flush=True)
        path = os.environ.get("WEFT_FAULT_TALLY")
        if path:
            with open(path, "a") as f:
                for kind, n in self.counts.items():
                    f.write(f"{n}\t{kind}\n")


def options(seeded=False, weft="build-faults/weft"):
    """What every test's command line has."""
    o = argparse.ArgumentParser()
    o.add_argument("--weft", default=weft)
    if seeded:
        o.add_argument("--seed", type=int, default=int(os.environ.get("WEFT_SEED", 0)) or
                       random.randrange(1, 1 << 31))
    o.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")),
                   help="the folder of the cluster")
    return o


def run_on(c, o, run, needs_faults=False):
    """What a test does with one cluster: run(c, tally, o) while it is up.  Says what is broken
    and ends with status 1, or adds up what was survived; the folder of a broken one is kept."""
    tally, bad = Tally(), None
    try:
        if needs_faults:
            c.need_faults()
        c.up()
        run(c, tally, o)
        c.stop()
    except (Failure, Trouble) as e:
        bad = str(e)
        print("BROKEN:", bad)
    finally:
        c.close(bad or o.keep)
    if bad:
        sys.exit(1)
    tally.close()


def end_store(c):
    """And wait for the next one."""
    c.send("store/0", signal.SIGKILL)
    time.sleep(0.2)
    Client(c).sure("POST", NS + "/configmaps", {"metadata": {"name": "later"}}, good=(201, 409))


def get_pod(c, name):
    """None if it is not there."""
    status, o = Client(c).sure("GET", f"{NS}/pods/{name}")
    return o if status == 200 else None


def await_pod(c, name, what, holds, within=30):
    """Until holds(pod) or, if it is not there, holds(None); Failure says `what` it does not."""
    wait_until(lambda: holds(get_pod(c, name)), within,
               lambda: f"{name} {what} after {within} s: {get_pod(c, name)}")


def version(o):
    return int(o["metadata"]["resourceVersion"])


def deployment(name, app, replicas, image="nginx:1", surge=2, unavailable=1):
    return {"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": app}},
        "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        "template": {"metadata": {"labels": {"app": app}},
                     "spec": {"terminationGracePeriodSeconds": 1,
                              "containers": [{"name": "c", "image": image}]}}}}
