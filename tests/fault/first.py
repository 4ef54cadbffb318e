"""The first writes of a cluster on an empty directory are refused, as by a disk that is full:
it serves once they are taken, with all that a cluster has from the start."""
import argparse, errno, os, threading
import faults as F
from cluster import NS, Client, Cluster, Failure, run_on

REFUSED = 1  # seconds
WITHIN = 15  # seconds in which it serves
NAMESPACES = {"default", "kube-node-lease", "kube-public", "kube-system"}


class First(Cluster):
    """`skip`: so many writes of the store are taken."""

    def __init__(self, weft, skip):
        super().__init__(weft, 1)
        self.skip = skip

    def up(self):
        self.faults.set("disk_write", F.FAIL, errno.ENOSPC, kinds=F.kind_bit("store"),
                        times=F.FOR_EVER, skip=self.skip)
        clear = threading.Timer(REFUSED, self.faults.clear, ["disk_write"])
        end = threading.Timer(WITHIN, self.kill)
        clear.start()
        end.start()
        try:
            super().up()
        finally:
            end.cancel()
            clear.join()


def run(c, tally, o):
    c.wait_all_run()
    there = {n["metadata"]["name"] for n in Client(c).sure("GET", "/api/v1/namespaces")[1]["items"]}
    if there != NAMESPACES:
        raise Failure(f"namespaces: {there}")
    Client(c).sure("POST", NS + "/configmaps", {"metadata": {"name": "written"}}, good=(201,))
    if c.faults.fired("disk_write"):
        tally.add("first writes refused")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--weft", default="build-faults/weft")
    options.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")))
    o = options.parse_args()
    for skip in (1, 2, 3, 5, 8):
        run_on(First(o.weft, skip), o, run, needs_faults=True)


main()
