"""lib.py - what the benchmarks of whole clusters share: a cluster to start,
load, kill and measure, and one way to tell a figure (as bench.h does for C)."""
import argparse, base64, contextlib, glob, http.client, json, os, platform, shutil, signal, ssl, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
B = os.path.join(ROOT, os.environ.get("B", "build"))
WEFT = os.environ.get("WEFT", os.path.join(B, "weft"))
LOAD = os.path.join(B, "bench/load/load")
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


# --- Figures ---------------------------------------------------------------------

def machine():
    with open("/proc/cpuinfo") as f:
        model = next((l.split(":")[1].strip() for l in f if l.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def tell(name, unit, runs, target=0, lower=False, what="", **details):
    """One line, and JSON: the median of `runs`.  The ratio is above 1 when the
    target has been passed, whichever way is better."""
    if not runs:
        print(f"{name}: not reached", flush=True)
        return None
    figure = statistics.median(runs)
    ratio = (target / figure if lower else figure / target) if target and figure else 0
    against = f"target {target:g}, ratio {ratio:.2f}; " if target else ""
    print(f"{name}: {figure:.4g} {unit} ({against}{len(runs)} runs, {min(runs):.4g} to {max(runs):.4g}) on {machine()}"
          + (f": {what}" if what else ""), flush=True)
    tell_json({"name": name, "what": what, "unit": unit, "figure": figure, "target": target, "ratio": ratio,
               "better": "lower" if lower else "higher", "runs": sorted(runs), **details,
               "machine": machine(), "time": int(time.time())})
    return figure


def median_record(records):
    """The record of the median figure of several runs, with the figures of all as its `runs`."""
    records = sorted(filter(None, records), key=lambda r: r["figure"])
    return dict(records[len(records) // 2], runs=[r["figure"] for r in records]) if records else None


def tell_json(record):
    if os.environ.get("WEFT_BENCH_JSON"):
        with open(os.environ["WEFT_BENCH_JSON"], "a") as f:
            print(json.dumps(record), file=f)


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def load(kubeconfig, scenario, *, quiet=False, timeout=300, **flags):
    """Run the load generator; the figures that it told, by name."""
    told = tempfile.NamedTemporaryFile(mode="r", suffix=".json")
    process = load_start(kubeconfig, scenario, told.name, quiet, **flags)
    load_end(process, timeout)
    return load_told(told, quiet)


def load_end(process, timeout=90):
    """Wait for it, and no longer than that."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        say(f"{' '.join(process.args[:2])} did not end in time")


def load_and_cpu(kubeconfig, scenario, pids, **flags):
    """The same, quietly; each record has with `cpu_s` the seconds of CPU of `pids` while it was
    measured: without the handshakes before it and what is cleared away after it."""
    samples = []
    with tempfile.NamedTemporaryFile(mode="r", suffix=".json") as told:
        process = load_start(kubeconfig, scenario, told.name, **flags)
        until = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < until:
            samples.append((time.monotonic(), sum(map(cpu_s, pids))))
            time.sleep(0.01)
        load_end(process, 0)
        told = load_told(told)
    for record in told.values():
        began = record["began_s"]
        record["cpu_s"] = cpu_at(samples, began + record["last_s"]) - cpu_at(samples, began)
    return told


def cpu_at(samples, at):
    """Between the two samples [time, CPU] around `at`."""
    before = max((s for s in samples if s[0] <= at), default=samples[0])
    after = min((s for s in samples if s[0] > at), default=samples[-1])
    share = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0
    return before[1] + share * (after[1] - before[1])


def load_start(kubeconfig, scenario, told, quiet=True, **flags):
    args = [LOAD, scenario, "--kubeconfig", kubeconfig]
    for key, value in flags.items():
        if value is not False:
            args += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    out = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(args, stdout=out, stderr=None if os.environ.get("V") else subprocess.DEVNULL,
                            env={**os.environ, "WEFT_BENCH_JSON": told})


def load_told(told, quiet=True):
    records = [json.loads(line) for line in told]
    for record in records if not quiet else []:
        tell_json(record)
    return {r["name"]: r for r in records}


# --- A cluster of weft's ---------------------------------------------------------------

def yaml_value(text, key):
    """The one line `key: value` of a kubeconfig."""
    for line in text.splitlines():
        line = line.strip().lstrip("- ")
        if line.startswith(key + ":"):
            return line.split(":", 1)[1].strip().strip('"')
    raise KeyError(key)


class Cluster:
    """weft up on a directory of its own."""

    def __init__(self, nodes=3, pods=110, config="", weft=WEFT):
        # Not in /tmp, which may be memory: there nothing has to be synced.
        self.dir = tempfile.mkdtemp(prefix="weft-bench-", dir=os.environ.get("WEFT_BENCH_DIR", B))
        self.data = os.path.join(self.dir, "data")
        self.weft, self.nodes, self.process, self.first_answer_s = weft, nodes, None, 0
        self.config = os.path.join(self.dir, "config.yaml")
        with open(self.config, "w") as f:
            f.write(f"nodes: {{count: {nodes}, pods: {pods}, cpu: '100000', memory: 100Ti}}\n{config}")

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def up(self):
        """Start it; first_answer_s is the time to its first answer."""
        start = time.monotonic()
        self.process = subprocess.Popen(
            [self.weft, "up", "--data", self.data, "--listen", "127.0.0.1:0", "-c", self.config],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline().split()
        if not line or line[0] != "ready":
            sys.exit("weft did not start")
        self.address, self.kubeconfig = line[1].split("//")[1], line[2]
        self.connect()
        self.call("GET", "/api/v1/nodes?limit=1")
        self.first_answer_s = time.monotonic() - start

    def connect(self):
        with open(self.kubeconfig) as f:
            kubeconfig = f.read()
        context = ssl.create_default_context(
            cadata=base64.b64decode(yaml_value(kubeconfig, "certificate-authority-data")).decode())
        context.check_hostname = False
        for key, name in (("client-certificate-data", "crt"), ("client-key-data", "key")):
            with open(os.path.join(self.dir, name), "wb") as f:
                f.write(base64.b64decode(yaml_value(kubeconfig, key)))
        context.load_cert_chain(os.path.join(self.dir, "crt"), os.path.join(self.dir, "key"))
        self.http = http.client.HTTPSConnection(self.address, context=context, timeout=120)

    def call(self, method, path, body=None, kind="application/json"):
        self.http.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": kind})
        answer = self.http.getresponse()
        return answer.status, json.loads(answer.read())

    def call_again(self, method, path):
        """The same, on a new connection for as long as none can be had."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                return self.call(method, path)
            except (OSError, http.client.HTTPException):
                self.http.close()
        sys.exit("no answer for 60 s")

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill_all(self):
        """kill -9 of everything at once."""
        pids = [p["pid"] for p in self.status()["processes"]]
        self.process.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.wait(10, lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))

    def status(self):
        out = subprocess.run([self.weft, "status", "--json", "--data", self.data], capture_output=True, text=True)
        return json.loads(out.stdout)

    def pid(self, process):
        """Of the first shard."""
        return next(p["pid"] for p in self.status()["processes"] if p["process"] == process and not p["shard"])

    def cpu_ms(self):
        """{process: ms of CPU since it began}, as the kernel says: the counters in `weft status`
        are of when a process last turned, which may be long ago."""
        used = {"supervisor": cpu_s(self.process.pid) * 1000}
        for p in self.status()["processes"]:
            used[p["process"]] = used.get(p["process"], 0) + cpu_s(p["pid"]) * 1000
        return used

    def cache_bytes(self):
        return sum(self.status()["cache"]["used"].values())

    def memory_kib(self):
        """Proportional set size of all processes: shared pages counted once."""
        pids = [self.process.pid] + [p["pid"] for p in self.status()["processes"]]
        return sum(pss_kib(pid) for pid in pids)

    def wait(self, seconds, done, pause=0.02):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if done():
                return True
            time.sleep(pause)
        return False

    def nodes_ready(self):
        def done():
            items = self.call("GET", "/api/v1/nodes?limit=1")[1]
            return len(items["items"]) + items["metadata"].get("remainingItemCount", 0) >= self.nodes
        if not self.wait(120, done):
            sys.exit("the nodes did not come up")

    def load(self, scenario, **flags):
        return load(self.kubeconfig, scenario, **flags)

    def fill(self, replicas, count=1, namespace="fill", timeout=300):
        """Deployments with so many pods, Ready, that stay."""
        self.nodes_ready()
        done = self.load("deployments", ops="create", count=count, replicas=replicas // count, namespace=namespace,
                         keep=True, quiet=True, timeout=timeout)
        if not done:
            sys.exit("the pods did not become Ready")
        return next(iter(done.values()))


def cpu_s(pid):
    """Seconds on a core so far, all its threads."""
    ns = 0
    for stat in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(stat) as f:
                ns += int(f.read().split()[0])
        except (OSError, ValueError):
            pass
    return ns / 1e9


def pss_kib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return next(int(l.split()[1]) for l in f if l.startswith("Pss:"))
    except OSError:
        return 0


def private_kib(pid):
    """What a process has for itself alone."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(l.split()[1]) for l in f if l.startswith("Private_"))


def pods_per_node(replicas, nodes):
    return replicas // nodes + replicas // (2 * nodes) + 10


def arguments(doc, **options):
    """--NAME VALUE for each option, with its default's type."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in options.items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()
