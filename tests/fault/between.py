"""Requests that come when an API server has lost one store and does not know the next yet:
each is answered with its own object, whatever lies at the same place in the new cache."""
import signal, threading, time
import faults as F
from cluster import NS, Client, Cluster, Failure, Trouble, options, run_on, version

OBJECTS = 300      # more in each round, some of which are asked for
WAIT = 30          # seconds until the checkpoint has them
# The first request holds the API server in its turn, for as long as the others take to come
# and the store to end.  So it finds all of that at once, and is held again where it has lost
# the store until the next one, which is held where it starts, serves.
OTHERS_AT, KILL_AT = 0.05, 0.1   # seconds after the first request
HELD = [("api_send", "apiserver", 300000), ("store_load", "store", 500000),
        ("proc_lost", "apiserver", 600000)]  # us
PATHS = NS + "/configmaps"


def name_of(i):
    return f"between-{i:05}"


def make_objects(c, first):
    """Against the order of names, in which a new store puts what the checkpoint has into its
    cache."""
    client = Client(c)
    for i in reversed(range(first, first + OBJECTS)):
        made = client.sure("POST", PATHS, {"metadata": {"name": name_of(i)},
                                           "data": {"own": name_of(i)}}, good=(201,))[1]
    until = time.monotonic() + WAIT
    while checkpoint_rv(c) < version(made):
        if time.monotonic() > until:
            raise Failure(f"the checkpoint has not got to {version(made)} after {WAIT} s")
        time.sleep(0.1)


def checkpoint_rv(c):
    rows = (c.status() or {}).get("processes", [])
    return max((r["counters"]["checkpoint_rv"] for r in rows if r["process"] == "checkpoint"),
               default=0)


# What each client asks in turn: method, what follows the path, body and its kind.
ASKS = [("PATCH", "", {"data": {"seen": "1"}}, "application/merge-patch+json"),
        ("PUT", "", None, "application/json"),
        ("DELETE", "?dryRun=All", None, "application/json"),
        ("DELETE", "", None, "application/json")]


class Asker(threading.Thread):
    """Opens its connection now, and asks at `at`."""

    def __init__(self, c, i, at):
        super().__init__()
        self.i, self.at, self.wrong, self.status = i, at, None, 0
        self.client = Client(c)
        self.client.sure("GET", f"{PATHS}/{name_of(i)}", good=(200,))

    def run(self):
        method, more, body, kind = ASKS[self.i % len(ASKS)]
        name = name_of(self.i)
        if method == "PUT":
            body = {"metadata": {"name": name}, "data": {"own": name}}
        time.sleep(max(0, self.at - time.monotonic()))
        try:
            self.status, answer = self.client.call(method, f"{PATHS}/{name}{more}", body, kind)
        except Trouble:
            return
        told = answer.get("details", answer.get("metadata", {})).get("name")
        own = answer.get("data", {"own": name}).get("own")
        if self.status == 200 and (told, own) != (name, name):
            self.wrong = f"{method} {name}{more} was answered with {told} ({own})"


def ask_between(c, first, n):
    """How many of n were answered with success."""
    before = c.faults.fired("proc_lost")
    at = time.monotonic() + 1
    askers = [Asker(c, first + i, at + (OTHERS_AT if i else 0)) for i in range(n)]
    store = c.processes()["store/0"]
    for a in askers:
        a.start()
    for point, kind, us in HELD:
        c.faults.set(point, F.WAIT, us, kinds=F.kind_bit(kind))
    time.sleep(max(0, at + KILL_AT - time.monotonic()))
    c.send(store, signal.SIGKILL)
    for a in askers:
        a.join()
    if c.faults.fired("proc_lost") == before:
        raise Failure("the API server did not pass proc_lost")
    wrong = [a.wrong for a in askers if a.wrong]
    if wrong:
        raise Failure("; ".join(wrong[:4]))
    c.wait_all_run()
    return sum(a.status == 200 for a in askers)


def run(c, tally, o):
    answered = 0
    for round in range(o.rounds):
        make_objects(c, round * OBJECTS)
        answered += ask_between(c, round * OBJECTS, o.clients)
        tally.add("store lost, API server held")
    print(f"{answered} of {o.rounds * o.clients} requests were done, each on its own object")
    if not answered:
        raise Failure("no request came in between: this test has shown nothing")


def main():
    o = options()
    o.add_argument("--rounds", type=int, default=4)
    o.add_argument("--clients", type=int, default=16, help="a request of each in a round")
    o = o.parse_args()
    run_on(Cluster(o.weft, 1), o, run, needs_faults=True)


main()
