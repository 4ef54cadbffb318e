"""kill -9 at every named point, one after the other, under load; the point's own process
has to come back, and what checker.py judges has to hold over all of it.

Each point has something that leads a process there (STIR); one that nobody passes is a
failure, as the test would prove nothing."""
import random, signal, subprocess, time
import checker, faults as F, history
from cluster import APPS, NS, Client, Cluster, Failure, Tally, Trouble, deployment, options
from load import Roller, Shared, Sharer, TYPES, Watcher, Writer

WAIT = 20    # seconds until somebody has to have passed a point
BIG = 4200   # pods: more than one part of a rebuild of a queue


# --- What leads to a point ---------------------------------------------------------

def nothing(c, turn):
    """The load does."""


def kill_controller(c, turn):
    c.send("replicaset/0", signal.SIGKILL)


def kill_gc(c, turn):
    """Its queue is rebuilt from more objects than anybody else's."""
    c.send("gc/0", signal.SIGKILL)


def kill_store(c, turn):
    c.send("store/0", signal.SIGKILL)


def scale(c, turn):
    subprocess.Popen([c.weft, "scale", f"scheduler={turn % 2 + 1}", "--data", c.data],
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def refuse_sync(c, turn):
    c.faults.set("disk_sync", F.FAIL, 5, kinds=F.kind_bit("store"))


def fill_log(c, turn):
    """A new segment's worth of writes: segments come and go."""
    client = Client(c)
    for i in range(14):
        try:
            client.call("PUT", f"{NS}/configmaps/shared-fill",
                        {"metadata": {"name": "shared-fill"}, "data": {"v": str(i) * 100000}})
            client.call("POST", NS + "/configmaps", {"metadata": {"name": "shared-fill"}})
        except Trouble:
            pass
    client.close()


def pile_up(c, turn):
    """More old segments at once than are kept to be used again."""
    c.send("checkpoint/0", signal.SIGSTOP)
    for i in range(5):
        fill_log(c, turn)
    c.send("checkpoint/0", signal.SIGCONT)


def calm(c, turn):
    """Nobody writes for longer than the checkpoint's rounds are apart: it then follows the
    journal, whose window is short here, instead of comparing everything."""
    c.send("apiserver/0", signal.SIGSTOP)
    time.sleep(1.5)
    c.send("apiserver/0", signal.SIGCONT)


STIR = [(fill_log, "log_segment log_segment_named log_cut log_prepare disk_rename disk_allocate"),
        (pile_up, "disk_remove"),
        (calm, "check_collected"),
        (kill_controller, "store_map store_drained super_segments super_slot super_forked "
                          "super_child super_ended proc_attached descriptor_pipe process_fork "
                          "memory_segment proc_resync"),
        (kill_gc, "proc_chunk"),
        (kill_store, "store_load store_replay store_made super_generation super_generation_half "
                     "proc_lost proc_generation"),
        (scale, "store_epoch super_fence super_map super_mapped"),
        (refuse_sync, "store_abort")]
STIRRED = {name: stir for stir, names in STIR for name in names.split()}


def kill_at(c, name):
    """True if a process ended there; c.process may be among them."""
    stir = STIRRED.get(name, nothing)
    before = c.faults.fired(name)
    c.faults.set(name, F.KILL, skip=0)
    until, turn = time.monotonic() + WAIT, 0
    while not c.faults.wait_fired(name, before, 0.7) and time.monotonic() < until:
        stir(c, turn)
        turn += 1
    c.faults.clear()
    return c.faults.fired(name) > before


def kill_at_all(shared, tally, names):
    c, slowest = shared.cluster, 0
    for name in names:
        if shared.failures:
            return
        hit = kill_at(c, name)
        time.sleep(0.02)
        if c.process.poll() is not None:
            c.up()
        took = c.wait_all_run()
        slowest = max(slowest, took)
        if hit:
            tally.add("kill at " + name.split("_")[0] + "_*")
        else:
            shared.broken(f"nobody passed {name} within {WAIT} s")
        print(f"{time.strftime('%T')} {name}: all run after {took * 1000:.0f} ms", flush=True)
    print(f"all points: the slowest recovery took {slowest * 1000:.0f} ms", flush=True)


def make_big(c):
    Client(c).call("POST", APPS + "/deployments", deployment("big", "big", BIG))


def run(shared, tally, o):
    c = shared.cluster
    names = [n for n in sorted(c.faults.slot) if not o.only or n in o.only]
    random.Random(o.seed).shuffle(names)
    with shared.lock:
        shared.wanted["big"] = BIG
    make_big(c)
    # Pods are too many to be compared one by one in Python, again and again.
    watchers = [Watcher(shared, what, first) for what in TYPES if what != "pods"
                for first in (True, False)]
    writers = [Writer(shared, i) for i in range(2)] + [Roller(shared, 9)]
    sharers = [Sharer(shared, i) for i in range(3)]
    for t in watchers + writers + sharers:
        t.start()
    kill_at_all(shared, tally, names)
    shared.writing = False
    for t in writers + sharers:
        t.join(120)
    Client(c).sure("DELETE", APPS + "/deployments/big")
    checker.judge(shared, watchers, writers, may_end=True)
    if not shared.failures:
        history.check(shared)
    shared.watching = False


def main():
    o = options(seeded=True)
    o.add_argument("--only", type=lambda s: s.split(","), help="points: store_rv,log_cut")
    o = o.parse_args()
    print(f"seed {o.seed}", flush=True)
    cluster, tally = Cluster(o.weft, o.seed), Tally()
    shared = Shared(cluster, o.seed)
    try:
        cluster.need_faults()
        cluster.up()
        run(shared, tally, o)
        cluster.stop()
    except Failure as e:
        shared.broken(str(e))
    finally:
        cluster.kill()
    shared.end(tally, o.keep)


main()
