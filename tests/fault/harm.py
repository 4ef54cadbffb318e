"""Harm of every kind, and a plan of it from a seed.

A plan is worked out before anything runs: which harm, how long after the one before, and
which numbers it draws.  So a seed gives the same plan again, though processes may be at
another point when it strikes."""
import random, signal, subprocess, time
import faults as F

KINDS = {}  # name: (weight, function, needs a fault build)


def harm(weight, points=False):
    def add(fn):
        KINDS[fn.__name__.replace("_", "-")] = (weight, fn, points)
        return fn
    return add


class Step:
    """One line of a plan: what, after how many seconds, and its own random numbers."""

    def __init__(self, kind, after, seed):
        self.kind, self.after, self.random = kind, after, random.Random(seed)

    def __str__(self):
        return f"+{self.after:.2f}s {self.kind}"


def plan(seed, seconds, only=None, points=True, pause=1.5):
    """Steps for about `seconds` seconds."""
    rnd, spent = random.Random(seed), 0.0
    names = [k for k in sorted(KINDS) if (points or not KINDS[k][2]) and (not only or k in only)]
    while spent < seconds:
        kind = rnd.choices(names, [KINDS[k][0] for k in names])[0]
        step = Step(kind, rnd.random() * pause, rnd.randrange(1 << 48))
        spent += step.after
        yield step


def strike(cluster, step):
    """Do it; returns what was done, or None if it could not be."""
    return KINDS[step.kind][1](cluster, step.random)


def some(rnd, processes):
    return rnd.choice(sorted(processes)) if processes else None


# --- Ends --------------------------------------------------------------------------

@harm(6)
def kill_one(c, rnd):
    names = c.processes()
    name = some(rnd, names)
    if name:
        c.send(names[name], signal.SIGKILL)
        return name


@harm(3)
def kill_several(c, rnd):
    names = c.processes()
    chosen = rnd.sample(sorted(names), min(len(names), rnd.randrange(2, 5)))
    for name in chosen:
        c.send(names[name], signal.SIGKILL)
    return " ".join(chosen)


@harm(2)
def kill_store(c, rnd):
    c.send("store/0", signal.SIGKILL)
    return "store/0"


@harm(2)
def kill_with_store_stopped(c, rnd):
    """The store with work in its hands, someone ended meanwhile."""
    names = c.processes()
    victim = some(rnd, set(names) - {"store/0"})
    if "store/0" not in names or not victim:
        return None
    c.send(names["store/0"], signal.SIGSTOP)
    c.send(names[victim], signal.SIGKILL)
    time.sleep(rnd.random() * 2)
    c.send(names["store/0"], signal.SIGCONT)
    return victim


@harm(2)
def kill_all(c, rnd):
    for pid in c.processes().values():
        c.send(pid, signal.SIGKILL)
    return "all"


@harm(2)
def kill_supervisor(c, rnd):
    c.kill()
    c.up()
    return "supervisor"


@harm(1)
def stop_in_order(c, rnd):
    c.stop()
    c.up()
    return "SIGTERM, and up again"


# --- Stops, scaling ------------------------------------------------------------------

@harm(3)
def stop_and_continue(c, rnd):
    names = c.processes()
    name, seconds = some(rnd, names), rnd.choice([0.3, 1, 3])  # after two it is replaced
    if not name:
        return None
    c.send(names[name], signal.SIGSTOP)
    time.sleep(seconds)
    c.send(names[name], signal.SIGCONT)
    return f"{name} for {seconds} s"


@harm(1)
def stop_supervisor(c, rnd):
    seconds = rnd.choice([0.5, 3])
    c.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    c.process.send_signal(signal.SIGCONT)
    return f"for {seconds} s"


@harm(3)
def scale(c, rnd):
    kind = rnd.choice(["replicaset", "deployment", "scheduler", "node", "gc", "namespace",
                       "nodelifecycle", "apiserver"])
    n = rnd.randrange(1, 4)
    asked = subprocess.run([c.weft, "scale", f"{kind}={n}", "--data", c.data], capture_output=True)
    return f"{kind}={n}" + ("" if asked.returncode == 0 else " (refused)")


# --- Points ---------------------------------------------------------------------------

def random_point(c, rnd):
    names = sorted(c.faults.slot)
    return rnd.choice(names)


def at_point(c, rnd, action, arg=0):
    """Set a random point, wait for it to fire; None if nobody came by."""
    name = random_point(c, rnd)
    before = c.faults.fired(name)
    c.faults.set(name, action, arg, skip=rnd.choice([0, 0, 1, 7, 50]))
    if not c.faults.wait_fired(name, before, 1.5):
        c.faults.clear(name)
        return None
    return name


@harm(10, points=True)
def kill_at_point(c, rnd):
    name = at_point(c, rnd, F.KILL)
    if name:
        time.sleep(0.05)
        revive(c)
    return name


def revive(c):
    """The supervisor may be who was killed."""
    if c.process.poll() is not None:
        c.process.wait()
        c.up()


@harm(4, points=True)
def stop_at_point(c, rnd):
    name = at_point(c, rnd, F.STOP)
    if not name:
        return None
    seconds = rnd.choice([0.1, 0.5, 3])
    time.sleep(seconds)
    for pid in [c.process.pid] + list(c.processes().values()):
        c.send(pid, signal.SIGCONT)
    return f"{name} for {seconds} s"


@harm(4, points=True)
def slow_at_points(c, rnd):
    """Random yields at some points, for everybody."""
    names = rnd.sample(sorted(c.faults.slot), 12)
    for name in names:
        c.faults.set(name, F.YIELD, rnd.choice([50, 2000]), chance=rnd.choice([0.01, 0.3]),
                     times=F.FOR_EVER)
    time.sleep(1 + rnd.random())
    c.faults.clear(*names)
    return " ".join(names)


@harm(2, points=True)
def stuck_reader(c, rnd):
    """Somebody stays in a read section until he is ended."""
    kind = rnd.choice(F.KINDS[1:])
    before = c.faults.fired("rcu_section")
    c.faults.set("rcu_section", F.HOLD, kinds=F.kind_bit(kind))
    fired = c.faults.wait_fired("rcu_section", before, 1.5)
    if fired:
        time.sleep(rnd.choice([0.5, 4]))
    c.faults.clear("rcu_section")
    return kind if fired else None


@harm(5, points=True)
def refuse(c, rnd):
    """Memory, descriptors, processes, the disk: for a while there is none."""
    name = rnd.choice(sorted(F.REFUSALS))
    kinds = rnd.choice([F.ALL, F.kind_bit("store"), F.kind_bit("checkpoint")])
    before = c.faults.fired(name)
    c.faults.set(name, F.FAIL, rnd.choice(F.REFUSALS[name]), chance=rnd.choice([0.05, 1]),
                 times=F.FOR_EVER, kinds=kinds)
    time.sleep(rnd.choice([0.05, 1]))
    c.faults.clear(name)
    revive(c)
    return name if c.faults.fired(name) > before else None


@harm(2, points=True)
def slow_disk(c, rnd):
    c.faults.set("disk_sync", F.WAIT, rnd.choice([2000, 50000, 400000]), times=F.FOR_EVER)
    time.sleep(1.5)
    c.faults.clear("disk_sync")
    return "sync"


@harm(2, points=True)
def clock(c, rnd):
    """The clock is set, for a while, and set back."""
    wall = rnd.choice([-86400, -3600, -5, 5, 3600, 86400])
    mono = rnd.choice([0, 0, 3600])
    c.faults.clock(wall, mono)
    time.sleep(1 + rnd.random())
    c.faults.clock()
    return f"{wall} s" + (f", monotonic {mono} s" if mono else "")


@harm(2)
def descriptors(c, rnd):
    """All descriptors of a process are used up."""
    names = c.processes()
    name = rnd.choice(["supervisor", "apiserver/0", "store/0", "checkpoint/0"])
    pid = c.process.pid if name == "supervisor" else names.get(name, 0)
    try:
        back = c.limit_descriptors(pid, 0)
    except (OSError, ValueError):
        return None
    if name == "supervisor" and names:
        c.send(names[some(rnd, names)], signal.SIGKILL)
    time.sleep(1)
    try:
        back()
    except OSError:
        pass  # it was ended meanwhile, by whoever else
    return name
