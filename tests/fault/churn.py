"""A cluster under random requests and a random plan of harm, judged by what clients saw.

Writers create, change, scale and delete ConfigMaps, Deployments and pods and note what
was acknowledged; others share a few objects, for linearizability; watchers follow types
through every broken connection (load.py).  Meanwhile a plan is carried out (harm.py):
processes end at named points and at any, are stopped, refused memory, descriptors and
disk, the clock is set, shards come and go.  checker.py says what must hold.

The seed is printed; --seed gives the same plan again, --plan prints it."""
import time
import checker, crowd, harm, history, quota
from cluster import Cluster, Failure, Tally, options
from load import Roller, Shared, Sharer, TYPES, Watcher, Writer


PAUSE, CROWD_PAUSE = 1.5, 5  # seconds between two harms, at most: many objects take longer to load
WATCHED = 4  # nodes of the crowd's


def steps(o, points=True):
    return harm.plan(o.seed, o.seconds, o.only, points, CROWD_PAUSE if o.crowd else PAUSE)


def carry_out(shared, tally, o):
    """The plan; True if something was refused, after which processes may end by themselves."""
    c, refused = shared.cluster, False
    for step in steps(o, c.faults.supported):
        if shared.failures:
            break
        time.sleep(step.after)
        what = harm.strike(c, step)
        if not what:
            continue
        refused |= step.kind in ("refuse", "descriptors")
        shared.count("harm")
        tally.add(step.kind + (f" beside {o.crowd} pods" if o.crowd else ""))
        print(time.strftime("%T"), step.kind, what, flush=True)
    return refused


def run(shared, tally, o):
    many = crowd.Crowd(shared, o.crowd) if o.crowd else None
    if many:
        many.make()
    watchers = [Watcher(shared, what, first) for what in TYPES for first in (True, False)]
    watchers += [crowd.NodeWatcher(shared, n % WATCHED) for n in range(2 * WATCHED if many else 0)]
    writers = [Writer(shared, i) for i in range(3)] + [Roller(shared, i) for i in range(o.steady)]
    sharers = [Sharer(shared, i) for i in range(4)]
    counter, pressers = quota.Counter(shared), [quota.Presser(shared, i) for i in range(2)]
    changers = writers + sharers + pressers + ([many] if many else [])
    for t in watchers + [counter] + changers:
        t.start()
    refused = carry_out(shared, tally, o)
    shared.writing = False
    for t in changers:
        t.join(120)
        if t.is_alive():
            shared.broken(f"{type(t).__name__} {t.number} hangs")
    if many and not shared.failures:
        print(f"the crowd at rest after {many.rest():.1f} s, {many.steps}", flush=True)
    if not shared.failures:
        quota.rest(shared, counter, pressers)
    took = checker.judge(shared, watchers, writers, may_end=refused)
    print(f"at rest after {took:.1f} s", flush=True)
    if not shared.failures:
        history.check(shared)
    shared.watching = False
    for w in watchers + [counter]:
        w.join(15)


def main():
    o = options(seeded=True)
    o.add_argument("--seconds", type=float, default=45)
    o.add_argument("--only", type=lambda s: s.split(","), help="kinds of harm: kill-one,scale")
    o.add_argument("--crowd", type=int, default=0, help="pods that are there besides, and change")
    o.add_argument("--steady", type=int, default=1, help="Deployments that are only rolled")
    o.add_argument("--plan", action="store_true", help="print the plan and end")
    o = o.parse_args()
    print(f"seed {o.seed}", flush=True)
    if o.plan:
        for step in steps(o):
            print(step)
        return
    cluster = Cluster(o.weft, o.seed, crowd.CONFIG, crowd.nodes_for(o.crowd)) if o.crowd else \
        Cluster(o.weft, o.seed)
    tally = Tally()
    shared = Shared(cluster, o.seed)
    try:
        cluster.up()
        quota.prepare(cluster)
        run(shared, tally, o)
        cluster.stop()
    except Failure as e:
        shared.broken(str(e))
    finally:
        cluster.kill()
    print(" ".join(f"{k}:{v}" for k, v in shared.counts.items()), flush=True)
    shared.end(tally, o.keep)


main()
