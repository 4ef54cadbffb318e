"""Points in the code at which a test does harm: the file that a fault build of weft
maps (include/weft/fault.h), and what it holds."""
import errno, mmap, os, struct, subprocess, time

BYTES, SLOTS_AT, SLOT = 65536, 4096, 128
MAGIC = 0x746c756166746677
NONE, KILL, STOP, WAIT, YIELD, FAIL, HOLD = range(7)
FOR_EVER = 0xffffffff
SUPERVISOR = 1 << 31
KINDS = ["store", "checkpoint", "apiserver", "namespace", "deployment", "replicaset",
         "scheduler", "node", "nodelifecycle", "gc"]
ALL = SUPERVISOR | (1 << len(KINDS)) - 1
# Points that a process of one kind alone passes; the others are everybody's.
OF_KIND = [("store_", "store"), ("log_", "store"), ("check_", "checkpoint"),
           ("api_", "apiserver"), ("super_", "supervisor")]


def kind_bit(name):
    return SUPERVISOR if name == "supervisor" else 1 << KINDS.index(name)


def codes(*names):
    return [getattr(errno, n) for n in names]


# What can be refused, and how the system would say so.
REFUSALS = {"ring_full": [0], "memory_arena": [0], "memory_segment": codes("ENOMEM", "ENOSPC"),
            "descriptor_pipe": codes("EMFILE", "ENFILE"), "process_fork": codes("EAGAIN"),
            "disk_open": codes("EMFILE", "EIO"), "disk_write": codes("ENOSPC", "EIO"),
            "disk_write_half": codes("ENOSPC", "EIO"), "disk_write_dsync": codes("EIO"), "disk_sync": codes("EIO", "ENOSPC"),
            "disk_allocate": codes("ENOSPC"), "disk_rename": codes("EIO", "ENOSPC"),
            "disk_remove": codes("EIO")}


class Faults:
    """`supported` is False for an ordinary build: then nothing here has any effect."""

    def __init__(self, weft, folder, seed):
        self.path = folder + "/faults"
        with open(self.path, "wb") as f:
            f.truncate(BYTES)
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), BYTES)
        self.put("<Q", 8, seed & (1 << 64) - 1)
        self.environment = dict(os.environ, WEFT_FAULT_FILE=self.path)
        subprocess.run([weft, "version"], env=self.environment, stdout=subprocess.DEVNULL)
        self.supported = self.get("<Q", 0) == MAGIC
        count = self.get("<I", 16)
        self.slot = {}
        for i in range(count):
            at = SLOTS_AT + i * SLOT
            self.slot[self.map[at:at + 40].split(b"\0")[0].decode()] = at

    def put(self, kind, at, n):
        struct.pack_into(kind, self.map, at, n)

    def get(self, kind, at):
        return struct.unpack_from(kind, self.map, at)[0]

    # --- Points ---

    def set(self, name, action, arg=0, chance=1.0, times=1, skip=0, kinds=ALL):
        at = self.slot[name]
        self.put("<I", at + 52, NONE)
        for offset, n in ((40, int(chance * 0xffffffff)), (44, kinds), (48, arg), (56, skip),
                          (60, times)):
            self.put("<I", at + offset, n)
        self.put("<I", at + 52, action)

    def clear(self, *names):
        for name in names or self.slot:
            self.put("<I", self.slot[name] + 52, NONE)

    def hits(self, name):
        return self.get("<Q", self.slot[name] + 64)

    def fired(self, name):
        return self.get("<Q", self.slot[name] + 72)

    def wait_fired(self, name, before, seconds):
        until = time.monotonic() + seconds
        while self.fired(name) == before and time.monotonic() < until:
            time.sleep(0.005)
        return self.fired(name) > before

    # --- The clock, and the disk ---

    def clock(self, wall_s=0, mono_s=0):
        self.put("<q", 24, int(wall_s * 1e9))
        self.put("<q", 32, int(mono_s * 1e9))

    def disk(self, folder, trace=""):
        for at, text in ((48, folder), (560, trace)):
            self.map[at:at + 512] = text.encode().ljust(512, b"\0")

    def disk_seq(self):
        return self.get("<Q", 40)


def kind_of(point):
    """The one kind whose processes pass `point`, or None."""
    return next((kind for prefix, kind in OF_KIND if point.startswith(prefix)), None)
