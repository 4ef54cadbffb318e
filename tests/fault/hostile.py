"""A process that writes rubbish into its own segment and its own ring (hostile.c): the store,
the supervisor and all others go on, and somebody says who did it.

First everything by which a process can damage nobody but itself, while writers and watchers
go on: nothing that was acknowledged may suffer.  Then requests that are well formed and
false, which may do to objects what they like; whoever reads those objects has to bear it."""
import random, signal, subprocess, time
import checker
from cluster import NS, Client, Cluster, Failure, Tally, Trouble, options
from load import Roller, Shared, TYPES, Watcher, Writer

# How, how long it may go on, and what the log has to say of it ("{}": the process).
WAYS = [("ring", 3, ["{}", "malformed"]), ("heads", 5, ["{}"]), ("readers", 6, ["{}", "killing it"]),
        ("heartbeat", 1, None), ("counters", 1, None), ("segment", 6, None)]
VICTIMS = ["replicaset/0", "apiserver/0", "node/0", "checkpoint/0", "scheduler/0", "gc/0"]
BACK = 15  # seconds until it has to be replaced, or go on


def wild(c, o, who, how, seconds):
    """`who` is stopped, and does `how` for a while; returns its pid."""
    names = c.processes()
    if who not in names:
        raise Failure(f"{who} does not run")
    c.send(names[who], signal.SIGSTOP)
    out = subprocess.run([o.hostile, c.data, who, how, str(o.seed), str(seconds * 1000)],
                         capture_output=True, text=True)
    if out.returncode:
        raise Failure(f"hostile {who} {how}: {out.stderr}")
    return names


def others_go_on(c, before, who):
    """Nobody else was ended for it."""
    now = c.processes()
    ended = [n for n in before if n != who and now.get(n) != before[n]]
    if ended or c.process.poll() is not None:
        raise Failure(f"{who} went wild, and ended {ended or 'the supervisor'}: {c.last_words()}")


def back(c, who, pid):
    """It was replaced, or goes on by itself."""
    until = time.monotonic() + BACK
    while time.monotonic() < until:
        if c.all_run() and c.processes().get(who):
            return
        time.sleep(0.1)
    raise Failure(f"{who} is not back after {BACK} s: {c.last_words()}")


def own_segment(shared, tally, o, rnd):
    """Returns whose whole segment was damaged."""
    c, damaged = shared.cluster, set()
    for how, seconds, says in WAYS:
        for who in rnd.sample(VICTIMS, o.victims):
            if shared.failures:
                return damaged
            damaged |= {who} if how == "segment" else set()
            lines = len(list(c.log()))
            names = wild(c, o, who, how, seconds)
            c.send(names[who], signal.SIGCONT)
            back(c, who, names[who])
            others_go_on(c, names, who)
            told = [line for line in list(c.log())[lines:]
                    if says and all(w.format(who) in line for w in says)]
            if says and not told:
                raise Failure(f"{who} did {how}, and nobody said so: {c.last_words()}")
            tally.add("hostile " + how)
            print(time.strftime("%T"), how, who, flush=True)
    return damaged


def a_checkpoint_that_lies(c, tally, o):
    """It says that everything is in its tables: the log must not be cut by that."""
    client = Client(c)
    client.call("POST", NS + "/configmaps", {"metadata": {"name": "shared-big"}})
    c.send("checkpoint/0", signal.SIGSTOP)
    acked = 0
    for i in range(30):  # three segments of the log
        status, answer = client.call("PUT", NS + "/configmaps/shared-big", {
            "metadata": {"name": "shared-big"}, "data": {"v": str(i), "fill": "x" * 100000}})
        acked = i if status == 200 else acked
    names = wild(c, o, "checkpoint/0", "counters", 1)
    for name in ("checkpoint/0", "store/0"):
        c.send(names[name], signal.SIGKILL)
    time.sleep(0.1)
    c.wait_all_run()
    status, answer = client.sure("GET", NS + "/configmaps/shared-big")
    if status != 200 or answer["data"]["v"] != str(acked):
        raise Failure("a checkpoint that lied had the log cut: an acknowledged write is gone")
    tally.add("hostile checkpoint")


def silent_with_a_late_heartbeat(c, tally, o):
    """It said that it would be silent for very long, and then hangs: that has an end."""
    names = wild(c, o, "gc/0", "heartbeat", 1)
    until = time.monotonic() + o.late
    while c.processes().get("gc/0") == names["gc/0"]:
        if time.monotonic() > until:
            raise Failure(f"gc/0 hangs, and its heartbeat of the far future hides it")
        time.sleep(0.2)
    tally.add("hostile heartbeat, then silence")


def answered(client, what, path):
    """It can be listed; that its text is UTF-8 only the API server sees to, for its clients."""
    try:
        status, answer = client.sure("GET", path)
    except UnicodeDecodeError:
        return
    if status != 200:
        raise Failure(f"{what}: {status} {answer}")


def false_requests(c, tally, o, rnd):
    """Objects are anybody's then: what counts is that everybody lives and can be asked."""
    client = Client(c)
    before = c.processes()
    for who in rnd.sample([v for v in VICTIMS if v != "checkpoint/0"], o.victims):
        names = wild(c, o, who, "false", 3)
        c.send(names[who], signal.SIGCONT)
        back(c, who, names[who])
        for what, path in TYPES.items():
            answered(client, what, path.replace("/namespaces/default", ""))
        tally.add("hostile false requests")
        print(time.strftime("%T"), "false", who, flush=True)
    now = c.processes()
    if now.get("store/0") != before["store/0"]:
        raise Failure("false requests ended the store")
    # What it wrote can be read again, too.
    c.send("store/0", signal.SIGKILL)
    time.sleep(0.1)
    c.wait_all_run()
    answered(client, "pods", "/api/v1/pods")


def deaths(shared, damaged):
    """Nobody crashes but who wrote rubbish over all that was its own."""
    for line in shared.cluster.log():
        if any(f'"process":"{who}"' in line or f"{who} (" in line for who in damaged):
            continue
        if any(w in line for w in ("assertion failed", "was killed by signal 11",
                                   "was killed by signal 6", "was killed by signal 7", "Sanitizer")):
            shared.broken(line.strip())


def run(shared, tally, o):
    rnd, c = random.Random(o.seed), shared.cluster
    watchers = [Watcher(shared, what) for what in TYPES]
    writers = [Writer(shared, i) for i in range(2)] + [Roller(shared, 9)]
    for t in watchers + writers:
        t.start()
    damaged = own_segment(shared, tally, o, rnd)
    if not shared.failures:
        a_checkpoint_that_lies(c, tally, o)
    if o.late and not shared.failures:
        silent_with_a_late_heartbeat(c, tally, o)
    shared.writing = False
    for w in writers:
        w.join(120)
    checker.settle(shared, {k: v for w in writers for k, v in w.expected.items()})
    checker.compare(shared, watchers)
    shared.watching = False
    if not shared.failures:
        false_requests(c, tally, o, rnd)
    deaths(shared, damaged)


def main():
    o = options(seeded=True)
    o.add_argument("--hostile", default="build-faults/fault/hostile")
    o.add_argument("--victims", type=int, default=2, help="processes for each kind of harm")
    o.add_argument("--late", type=float, default=0,
                         help="seconds after which a hidden hang has to be found; 0: not tried")
    o = o.parse_args()
    print(f"seed {o.seed}", flush=True)
    cluster, tally = Cluster(o.weft, o.seed), Tally()
    shared = Shared(cluster, o.seed)
    try:
        cluster.up()
        run(shared, tally, o)
    except (Failure, Trouble) as e:
        shared.broken(str(e))
    finally:
        shared.watching = shared.writing = False
        cluster.kill()
    shared.end(tally, o.keep)


main()
