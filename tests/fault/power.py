"""Loss of power: at sync boundaries of a run, of the log and of LMDB alike, everything that
was not synced is dropped, kept, or half written; `weft up` on what is left has to come up and
show every write that was acknowledged before, and none half done.

One run of a cluster leaves a trace (disk.py) from which the disk of any moment is made.
Rounds follow each other: the next run begins on one of the last one's images."""
import os, random, shutil, sys, tempfile, threading, time
from cluster import APPS, NS, Client, Cluster, Failure, Tally, Trouble, deployment, options, version
from disk import Disk, write_image

NAMES = 12    # ConfigMaps of each writer
SETTLE = 30   # seconds until a Deployment is complete again


class Writer(threading.Thread):
    """Creates, changes and deletes ConfigMaps; knows for each which state came when, by the
    numbers of the disk's trace."""

    def __init__(self, cluster, number, seed, found):
        super().__init__(daemon=True)
        self.cluster, self.number, self.on = cluster, number, True
        self.random, self.client, self.made = random.Random(seed * 100 + number), Client(cluster), 0
        # name: [(seq before the request, seq after its answer, value, resourceVersion)]
        self.history = {}
        for i in range(NAMES):
            name = f"p{number}-{i}"
            self.history[name] = [(0, 0) + found.get(name, (None, 0))]
        self.trouble = None

    def run(self):
        try:
            while self.on:
                self.step()
        except Exception as e:
            self.trouble = e

    def step(self):
        name = f"p{self.number}-{self.random.randrange(NAMES)}"
        there = self.history[name][-1][2] is not None
        self.made += 1
        value = f"{self.number}.{self.made}.{time.time_ns()}"
        body = {"metadata": {"name": name}, "data": {"v": value, "fill": "x" * self.random.randrange(4000)}}
        before = self.cluster.faults.disk_seq()
        if not there:
            status, answer = self.client.call("POST", NS + "/configmaps", body)
        elif self.random.random() < 0.1:
            status, answer = self.client.call("DELETE", f"{NS}/configmaps/{name}")
            value = None
        else:
            status, answer = self.client.call("PATCH", f"{NS}/configmaps/{name}", {"data": body["data"]},
                                              "application/merge-patch+json")
        if status not in (200, 201):
            raise Failure(f"{name}: {status} {answer}")
        self.history[name].append((before, self.cluster.faults.disk_seq(), value,
                                   version(answer) if value else 0))
        time.sleep(self.random.random() * 0.004)


def look(cluster):
    """{name: (value, resourceVersion)} of all ConfigMaps."""
    items = Client(cluster).sure("GET", NS + "/configmaps")[1]["items"]
    return {o["metadata"]["name"]: (o["data"].get("v"), version(o)) for o in items}


def complaints(writers, seq, found):
    """What must be there after a loss of power at `seq`, and is not."""
    for w in writers:
        for name, history in w.history.items():
            acked = [h for h in history if h[1] <= seq][-1]
            may = [acked] + [h for h in history if h[1] > seq and h[0] <= seq][:1]
            value, rv = found.get(name, (None, 0))
            if not any(value == h[2] and rv == (h[3] if value else 0) for h in may):
                yield (f"configmaps/{name}: {value} at {rv}, acknowledged was {acked[2]} at "
                       f"{acked[3]}, under way {[h[2] for h in may[1:]]}")


def run(o, seed, base, found):
    """One run under trace; its cluster (ended, as by a loss of power) and writers."""
    cluster = Cluster(o.weft, seed, nodes=2)
    cluster.need_faults()
    os.mkdir(cluster.folder + "/trace")
    if base:
        shutil.copytree(base, cluster.data)
    cluster.faults.disk(cluster.data, cluster.folder + "/trace")
    cluster.up()
    Client(cluster).call("POST", APPS + "/deployments", deployment("web", "web", 10))
    writers = [Writer(cluster, i, seed, found) for i in range(3)]
    for w in writers:
        w.start()
    for i in range(int(o.run * 4)):
        time.sleep(0.25)
        Client(cluster).call("PATCH", APPS + "/deployments/web", {"spec": {"template": {
            "metadata": {"annotations": {"n": str(i)}}}}}, "application/merge-patch+json")
    for w in writers:
        w.on = False
    for w in writers:
        w.join(20)
        if w.trouble:
            raise Failure(f"writer: {w.trouble!r}")
    cluster.kill()
    return cluster, writers


def settled(cluster):
    client, until = Client(cluster), time.monotonic() + SETTLE
    while time.monotonic() < until:
        status, d = client.sure("GET", APPS + "/deployments/web")
        if status == 404:
            return True  # lost before it was acknowledged
        s = d["status"]
        if s.get("observedGeneration") == d["metadata"]["generation"] and \
                s.get("updatedReplicas") == s.get("readyReplicas") == s.get("replicas") == 10:
            return True
        time.sleep(0.1)
    return False


def start_on(o, image, root, seq, writers, settle):
    """`weft up` on an image; complaints, and what was found."""
    c = Cluster(o.weft, nodes=2)
    try:
        write_image(image, root, c.data)
        c.up()
        found = look(c)
        bad = list(complaints(writers, seq, found))
        if settle and not bad and not settled(c):
            bad = ["deployments/web is not complete"]
        return bad, found
    except Failure as e:
        return [str(e)], {}
    finally:
        c.kill()
        c.close(False)


def what_is(path, root):
    """Whose sync it was."""
    return {"checkpoint": "LMDB", "log-data": "log"}.get(path[len(root) + 1:].split("/")[0], "other files")


def choose(points, root, n, rnd):
    """Of each kind of file as many: those of the log would be nearly all."""
    kinds, out = {}, []
    for p in points:
        kinds.setdefault(what_is(p[1], root), []).append(p)
    for k, of in enumerate(kinds.values()):
        out += rnd.sample(of, min(len(of), (n - len(out)) // (len(kinds) - k)))
    return sorted(set(out))


def round_of(o, number, rnd, base, found, tally, until):
    cluster, writers = run(o, o.seed + number, base, found)
    disk = Disk(cluster.data, cluster.folder + "/trace", base)
    points = disk.boundaries()
    chosen = choose(points, disk.root, o.images, rnd)
    print(f"round {number}: {len(disk.records)} operations, {len(points)} boundaries of syncs, "
          f"{len(chosen)} of them tried", flush=True)
    bad, keep, tried = [], None, 0
    for seq, path in chosen:
        if bad or (time.monotonic() > until and number > 1):
            break
        disk.advance(seq)
        how = rnd.choice(["some", "some", "none", "all"])
        image = disk.image(rnd, how)
        bad, now = start_on(o, image, disk.root, seq, writers, settle=tried % 8 == 0)
        bad = [f"loss of power at {seq} ({path[len(disk.root):]}), {how} of the rest there: {b}"
               for b in bad]
        tally.add("loss of power at a sync of " + what_is(path, disk.root))
        tried += 1
        if bad or rnd.random() < 0.2 or not keep:
            keep = image, now
    folder = tempfile.mkdtemp(prefix="weft-fault-image-")
    if keep:
        write_image(keep[0], disk.root, folder)
    cluster.close(o.keep or bad)
    return bad, folder, keep[1] if keep else {}


def main():
    o = options(seeded=True)
    o.add_argument("--seconds", type=float, default=30)
    o.add_argument("--run", type=float, default=3, help="seconds of each run under trace")
    o.add_argument("--images", type=int, default=36, help="disks tried of each run")
    o = o.parse_args()
    print(f"seed {o.seed}", flush=True)
    rnd, tally, base, found, number = random.Random(o.seed), Tally(), None, {}, 0
    until = time.monotonic() + o.seconds
    bad = []
    try:
        while not bad and time.monotonic() < until:
            number += 1
            bad, image, found = round_of(o, number, rnd, base, found, tally, until)
            if base:
                shutil.rmtree(base)
            base = image
    except (Failure, Trouble) as e:
        bad = [str(e)]
    for text in bad[:10]:
        print("BROKEN:", text, flush=True)
    if bad:
        print("kept:", base)
    else:
        tally.close()
        shutil.rmtree(base)
    sys.exit(1 if bad else 0)


main()
