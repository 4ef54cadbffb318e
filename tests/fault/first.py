"""The first writes of a cluster on an empty directory are refused, as by a disk that is full:
it serves once they are taken, with all that a cluster has from the start."""
import errno, threading, time
import faults as F
from cluster import NS, Client, Cluster, Failure, options, run_on, wait_until

REFUSED = 1  # seconds
WITHIN = 20  # seconds in which all is there
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MUST = {
    "/api/v1/namespaces": {"default", "kube-node-lease", "kube-public", "kube-system"},
    "/api/v1/nodes": {"node-0", "node-1", "node-2", "node-3"},
    NS + "/services": {"kubernetes"},
    NS + "/serviceaccounts": {"default"},
    NS + "/configmaps": {"kube-root-ca.crt"},
    "/apis/scheduling.k8s.io/v1/priorityclasses": {"system-node-critical",
                                                   "system-cluster-critical"},
    RBAC + "/clusterroles": {"cluster-admin"},
    RBAC + "/clusterrolebindings": {"cluster-admin"},
}


class First(Cluster):
    """`skip`: so many writes of the store are taken, then none for REFUSED seconds."""

    def __init__(self, weft, skip):
        super().__init__(weft, 1)
        self.skip = skip

    def relent(self):
        if self.faults.wait_fired("disk_write", 0, WITHIN):
            time.sleep(REFUSED)
        self.faults.clear("disk_write")

    def up(self):
        self.faults.set("disk_write", F.FAIL, errno.ENOSPC, kinds=F.kind_bit("store"),
                        times=F.FOR_EVER, skip=self.skip)
        relent, end = threading.Thread(target=self.relent), threading.Timer(WITHIN, self.kill)
        relent.start()
        end.start()
        try:
            super().up()
        finally:
            end.cancel()
        relent.join()


def missing(c):
    """{path: names} of what must be there and is not."""
    there = {path: {o["metadata"]["name"] for o in Client(c).sure("GET", path)[1]["items"]}
             for path in MUST}
    return {path: names - there[path] for path, names in MUST.items() if names - there[path]}


def run(c, tally, o):
    if not c.faults.fired("disk_write"):
        raise Failure(f"nothing was refused after {c.skip} writes")
    wait_until(lambda: not missing(c), WITHIN,
               lambda: f"refused after {c.skip} writes: missing {missing(c)}")
    c.wait_all_run()
    Client(c).sure("POST", NS + "/configmaps", {"metadata": {"name": "written"}}, good=(201,))
    tally.add("first writes refused")


def main():
    o = options().parse_args()
    for skip in range(1, 5):
        run_on(First(o.weft, skip), o, run, needs_faults=True)


main()
