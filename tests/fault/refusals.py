"""Whatever can be refused is refused for a while, to everybody or to one kind of process:
memory, descriptors, processes, room in rings, every operation on the disk.

Meanwhile reads are answered.  Afterwards everything runs, writes are taken, the checkpoint
catches up with what is there, and all that was acknowledged is there after `kill -9` of all."""
import errno, os, signal, time
import faults as F
from cluster import NS, Client, Cluster, Failure, Trouble, options, run_on, version, wait_until

AFTER = 20  # seconds in which all has to be well again
LEAVING, STOP = 5, "500ms"  # pods, and how long their containers take to stop


STORES = ("disk_open", "disk_write", "disk_write_half", "disk_sync", "disk_allocate",
          "disk_rename", "disk_remove")  # the checkpoint's turn comes extra
STORE, CHECKPOINT = F.kind_bit("store"), F.kind_bit("checkpoint")
SEGMENTS = ("disk_rename", "disk_remove", "disk_allocate")  # what new segments of the log need


def cases(names):
    """(point, errno, kinds, hits that pass first): a failure in the middle of something too."""
    for name in names:
        for code in F.REFUSALS[name]:
            yield name, code, STORE if name in STORES else F.ALL, 0
        if name in ("disk_write", "disk_write_half", "disk_sync"):
            yield name, errno.EIO, CHECKPOINT, 0
            yield name, errno.EIO, CHECKPOINT, 1


def put(c, acked, n, size=3000):
    """Writes as many as are taken, out of n."""
    client = Client(c)
    for i in range(n):
        name = f"r-{len(acked)}-{time.time_ns()}"
        try:
            status, answer = client.call("POST", NS + "/configmaps", {
                "metadata": {"name": name}, "data": {"v": "x" * size}})
            if status == 201:
                acked[name] = version(answer)
        except Trouble:
            time.sleep(0.1)
            return


def pods(c):
    return {p["metadata"]["name"]: p["status"].get("phase")
            for p in Client(c).sure("GET", NS + "/pods")[1]["items"]}


def await_pods(c, what, holds):
    wait_until(lambda: holds(pods(c)), AFTER, lambda: f"after {AFTER} s pods {what}: {pods(c)}")


def send_away(c):
    """Pods whose containers stop, and which are to be removed, in the middle of what follows."""
    client = Client(c)
    for i in range(LEAVING):
        client.sure("POST", NS + "/pods", {
            "metadata": {"name": f"leaving-{i}", "annotations": {"weft.dev/stop": STOP}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}}, good=(201,))
    await_pods(c, "do not run", lambda p: list(p.values()) == ["Running"] * LEAVING)
    for name in pods(c):
        client.sure("DELETE", f"{NS}/pods/{name}", good=(200,))


def well(c, acked):
    """Everything is as if nothing had been."""
    until = time.monotonic() + AFTER
    c.wait_all_run(AFTER)
    await_pods(c, "have not gone", lambda p: not p)
    newest = before = max(acked.values())
    while True:
        if newest == before:
            put(c, acked, 1)
            newest = max(acked.values())
        rows = (c.status() or {}).get("processes", [])
        safe = [r["counters"]["checkpoint_rv"] for r in rows if r["process"] == "checkpoint"]
        if newest > before and safe and safe[0] >= newest:
            return
        if time.monotonic() > until:
            raise Failure(f"after {AFTER} s the checkpoint is at {safe}, writes at {newest}: "
                          f"{c.last_words()}")
        time.sleep(0.3)


def refuse(c, acked, case, seconds):
    """True if anybody was refused anything."""
    name, code, kinds, skip = case
    before = c.faults.fired(name)
    send_away(c)
    # One failure in the middle of things, or nothing else for a while.
    c.faults.set(name, F.FAIL, code, kinds=kinds, skip=skip, times=1 if skip else F.FOR_EVER)
    if not name.startswith("disk_"):
        c.send("scheduler/0", signal.SIGKILL)  # who needs memory, a process, a pipe
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        put(c, acked, 5, 150000 if name in SEGMENTS else 3000)
        if Client(c).sure("GET", NS + "/configmaps?limit=1")[0] != 200:
            raise Failure("a read was not answered")
    c.faults.clear(name)
    if c.process.poll() is not None:
        c.up()
    return c.faults.fired(name) > before


def run(c, tally, o):
    acked = {}
    put(c, acked, 50)
    for case in cases([n for n in sorted(F.REFUSALS) if not o.only or n in o.only]):
        fired = refuse(c, acked, case, o.seconds)
        well(c, acked)
        print(f"{time.strftime('%T')} {case[0]}: {os.strerror(case[1]) if case[1] else 'no'}, "
              f"to {'all' if case[2] == F.ALL else F.KINDS[case[2].bit_length() - 1]}, "
              f"{'once' if case[3] else 'for a while'}" + ("" if fired else " (nobody asked)"), flush=True)
        if fired:
            tally.add("refused: " + case[0])
    for pid in c.processes().values():
        c.send(pid, signal.SIGKILL)
    time.sleep(0.1)
    c.wait_all_run()
    there = {i["metadata"]["name"]: version(i)
             for i in Client(c).sure("GET", NS + "/configmaps")[1]["items"]}
    lost = [n for n, rv in acked.items() if there.get(n) != rv]
    if lost:
        raise Failure(f"{len(lost)} acknowledged writes are gone: {lost[:3]}")


def main():
    o = options()
    o.add_argument("--seconds", type=float, default=1, help="of each refusal")
    o.add_argument("--only", type=lambda s: s.split(","), help="points: disk_write,memory_arena")
    o = o.parse_args()
    run_on(Cluster(o.weft, 1), o, run)


main()
