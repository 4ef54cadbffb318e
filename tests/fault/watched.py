"""More is watched than an API server can follow: a great many pods come and go, and dozens of
watches with selectors look at each.  It goes on answering, nobody takes it for dead, a watch
that begins in the middle sees what was written before it and then each change once, and those
of a node's pods, who are as many as the nodes, see all of theirs."""
import itertools, json, random, threading, time
import checker, crowd
from cluster import NS, Client, Cluster, Failure, Trouble, options, run_on, version
from load import Shared, Watcher

PODS, SECONDS = 100_000, 5
CONFIG = crowd.CONFIG + "cache: {journalMin: 2097152, journalMax: 2097152}\n"  # nobody is told 410 for being late
SELECTING, OF_NODES, NODES = 60, 60, 20  # watches
ANSWERS_WITHIN = 5  # seconds: as long as the supervisor waits for a sign of life
MAPS = NS + "/configmaps"
BEGIN = ("?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
         "&timeoutSeconds=20")


class Prober(threading.Thread):
    """Writes a ConfigMap, begins a watch that has to show it, writes another that it has to tell."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.client = cluster, Client(cluster)
        self.begun, self.expired, self.n, self.longest = 0, 0, 0, 0
        self.on, self.bad = True, None

    def run(self):
        try:
            while self.on and not self.bad:
                self.watch()
        except Exception as e:
            self.bad = repr(e)
        self.client.close()

    def timed(self, method, path, body, good):
        start = time.monotonic()
        status, answer = self.client.call(method, path, body)
        self.longest = max(self.longest, time.monotonic() - start)
        if status != good:
            raise Failure(f"{method} {path}: {status} {answer}")
        return answer

    def write(self):
        self.n += 1
        return self.timed("POST", MAPS, {"metadata": {"name": f"probe-{self.n}"}}, 201)

    def watch(self):
        first, connection = self.write(), self.cluster.connect(10)
        connection.request("GET", MAPS + BEGIN)
        events = self.events(connection.getresponse())
        shown = {o["metadata"]["name"] for kind, o in self.until(events, "BOOKMARK")}
        if first["metadata"]["name"] not in shown:
            raise Failure(f"{first['metadata']['name']} of {version(first)} is not in a watch's first state")
        after = [version(self.write()) for i in range(3)]
        told = list(itertools.islice(events, 3))
        connection.close()
        if told and told[-1][0] == "ERROR" and told[-1][1]["code"] == 410:
            self.expired += 1
            told.pop()
            after = after[:len(told)]
        if [version(o) for kind, o in told] != after:
            raise Failure(f"written at {after}, told of {told}")
        self.begun += 1

    @staticmethod
    def events(answer):
        for line in iter(answer.readline, b""):
            e = json.loads(line)
            yield e["type"], e["object"]
            if e["type"] == "ERROR":
                return

    @staticmethod
    def until(events, kind):
        for e in events:
            if e[0] == kind:
                return
            yield e


def watchers(shared):
    """Those that ask for pods by label, of which there are none, and those of nodes."""
    for i in range(SELECTING):
        yield Watcher(shared, f"pods that are not {i}", False, crowd.PODS, f"labelSelector=app%3Dnot-{i}")
    for i in range(OF_NODES):
        yield crowd.NodeWatcher(shared, i % NODES)


def run(c, tally, o):
    shared = Shared(c, o.seed)
    many = crowd.Crowd(shared, PODS)
    many.make()
    server, prober, all_ = c.processes()["apiserver/0"], Prober(c), list(watchers(shared))
    for t in all_ + [prober]:
        t.start()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        many.scale(random.Random(many.steps["scaled"]).choice([PODS // 20, PODS]))
        time.sleep(0.5)
    many.rest()
    prober.on = False
    prober.join(30)
    checker.compare(shared, all_)
    shared.watching = False
    told = f"{prober.begun} watches begun and {prober.expired} expired, the longest answer took {prober.longest:.2f} s"
    print(f"{many.steps['scaled']} sizes, {told}; {shared.counts['events']} events, {shared.counts['relists']} lists",
          flush=True)
    if shared.failures or prober.bad:
        raise Failure("; ".join(shared.failures + [prober.bad or ""]))
    if c.processes()["apiserver/0"] != server:
        raise Failure(f"the API server was replaced: {c.log_says('apiserver/0', 'killing it')}")
    if prober.longest > ANSWERS_WITHIN or prober.begun < 3:
        raise Failure(told)
    tally.add("watches that nobody can follow", len(all_))


def main():
    o = options(seeded=True, weft="build/weft").parse_args()
    print(f"seed {o.seed}")
    run_on(Cluster(o.weft, o.seed, CONFIG, crowd.nodes_for(PODS)), o, run)


main()
