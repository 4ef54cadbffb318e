"""The log's or LMDB's file is cut short, or one bit of it is flipped: `weft up` either refuses,
naming the file, or comes up with everything that was acknowledged.  Nothing is lost in silence.

One exception is in the nature of a log: damage to the very last batch looks like a write that
the loss of power cut short.  The run ends with writes that may go."""
import os, random, re, shutil, sys, tempfile, time
from cluster import NS, Client, Cluster, Failure, Tally, Trouble, options, version

OBJECTS = 400
WAIT = 20  # seconds until it has come up or has refused


def run(o):
    """A data directory with a checkpoint and some of the log after it; {name: rv}."""
    c = Cluster(o.weft, o.seed, nodes=2)
    c.up()
    client, acked = Client(c), {}
    for i in range(OBJECTS):
        name = f"d-{i % (OBJECTS // 2)}"
        if name in acked:
            answer = client.call("PATCH", f"{NS}/configmaps/{name}", {"data": {"v": str(i)}},
                                 "application/merge-patch+json")
        else:
            answer = client.call("POST", NS + "/configmaps", {
                "metadata": {"name": name}, "data": {"v": str(i), "fill": "x" * (i * 37 % 6000)}})
        acked[name] = version(answer[1])
        if i == OBJECTS * 3 // 4:
            time.sleep(1.5)  # a checkpoint
    for i in range(3):
        client.call("POST", NS + "/configmaps", {"metadata": {"name": f"tail-{i}"}})
    c.kill()
    return c, acked


def harm(rnd, folder):
    """Damage one file; returns what was done."""
    files = [f"{at}/{f}" for at, _, names in os.walk(folder) for f in names
             if at.endswith(("/log-data", "/checkpoint")) and f != "lock.mdb" or f == "weft-data"]
    path = rnd.choice(files)
    size = os.path.getsize(path)
    name = os.path.relpath(path, folder)
    with open(path, "r+b") as f:
        if not size or rnd.random() < 0.25:
            n = rnd.choice([0, rnd.randrange(size + 1), max(0, size - 1)])
            f.truncate(n)
            return name, f"cut to {n} of {size} bytes"
        at = place(rnd, name, f, size)
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << rnd.randrange(8)]))
    return name, f"a bit flipped at {at} of {size}"


def place(rnd, name, f, size):
    """Where something is, as a rule: most of a file may be empty."""
    for _ in range(64):
        at = rnd.randrange(size)
        f.seek(at & ~63)
        if any(f.read(64)):
            break
    return at


def outcome(o, folder, acked):
    """"up" or "refused", or Failure."""
    c = Cluster(o.weft, nodes=2)
    try:
        shutil.copytree(folder, c.data)
        c.start()
        line = read_line(c)
        if line.startswith("ready"):
            c.port = int(re.match(r"ready https://[^:]+:(\d+) ", line).group(1))
            c.read_kubeconfig()
            found = {i["metadata"]["name"]: version(i)
                     for i in Client(c).sure("GET", NS + "/configmaps")[1]["items"]}
            lost = [n for n, rv in acked.items() if found.get(n) != rv]
            if lost:
                raise Failure(f"it came up without {len(lost)} acknowledged writes: {lost[:3]}")
            return "up"
        if c.process.wait(WAIT) == 0:
            raise Failure("it ended with status 0")
        said = "".join(c.log())
        if not re.search(r"log-\d|data\.mdb|checkpoint '|weft-data|data directory has format", said):
            raise Failure(f"it refused without a word about which file: {c.last_words()}")
        if re.search(r"killed by signal (?!9\b|15\b)", said) and "damaged" not in said:
            raise Failure(f"it crashed: {c.last_words()}")
        return "refused"
    finally:
        c.kill()
        c.close(False)


def read_line(c):
    """Its first line, or "" if it ends or does nothing within WAIT seconds."""
    end = time.monotonic() + WAIT
    os.set_blocking(c.process.stdout.fileno(), False)
    while time.monotonic() < end:
        line = c.process.stdout.readline()
        if line:
            return line.decode()
        if c.process.poll() is not None:
            return ""
        time.sleep(0.01)
    raise Failure("it neither comes up nor refuses")


def main():
    o = options(seeded=True)
    o.add_argument("--seconds", type=float, default=20)
    o = o.parse_args()
    print(f"seed {o.seed}", flush=True)
    rnd, tally, bad, counts = random.Random(o.seed), Tally(), None, {}
    cluster, acked = run(o)
    until = time.monotonic() + o.seconds
    while not bad and time.monotonic() < until:
        folder = tempfile.mkdtemp(prefix="weft-fault-damage-")
        shutil.rmtree(folder)
        shutil.copytree(cluster.data, folder, ignore=lambda at, names: [
            n for n in names if n in ("control.sock", "log", "pids")])
        name, what = harm(rnd, folder)
        try:
            how = outcome(o, folder, acked)
            counts[how] = counts.get(how, 0) + 1
            tally.add("damage: " + ("a bit flipped" if "bit" in what else "cut short"))
        except (Failure, Trouble) as e:
            bad = f"{name}, {what}: {e}"
        if not (bad and o.keep):
            shutil.rmtree(folder)
    cluster.close(o.keep)
    print(" ".join(f"{k}:{v}" for k, v in counts.items()), flush=True)
    if bad:
        print("BROKEN:", bad)
        sys.exit(1)
    tally.close()


main()
