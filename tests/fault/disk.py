"""What a disk holds when the power goes: images made from the trace that a fault build
writes (shm/fault_disk.c).

A write is there for sure once a sync of its file has ended that began after it; a name once
its directory was synced so.  Of everything else some is there, some is not, and some is
there in part, sector by sector."""
import os, struct

RECORD = struct.Struct("<QQQQIIII")
WRITE, SYNC, SIZE, RENAME, REMOVE, CREATE, MKDIR = range(7)
SECTOR = 512


class Record:
    __slots__ = ("seq", "began", "off", "n", "op", "path", "path2", "dsync", "data")


def read_trace(folder):
    """All records of all processes, in order."""
    out = []
    for name in os.listdir(folder):
        text = open(f"{folder}/{name}", "rb").read()
        at = 0
        while at + RECORD.size <= len(text):
            r = Record()
            r.seq, r.began, r.off, r.n, r.op, path_n, path2_n, r.dsync = RECORD.unpack_from(text, at)
            at += RECORD.size
            r.path = text[at:at + path_n].decode()
            r.path2 = text[at + path_n:at + path_n + path2_n].decode()
            at += path_n + path2_n
            data_n = r.n if r.op == WRITE else 0
            r.data = text[at:at + data_n]
            at += data_n
            out.append(r)
    return sorted(out, key=lambda r: r.seq)


class File:
    """`held` is there for sure; `pending` are (seq, offset, bytes) and (seq, size)."""

    def __init__(self, held=b""):
        self.held, self.pending = bytearray(held), []

    def sync(self, began):
        for change in [p for p in self.pending if p[0] < began]:
            apply(self.held, change)
        self.pending = [p for p in self.pending if p[0] >= began]

    def after(self, rnd, how):
        out = bytearray(self.held)
        for change in self.pending:
            if how == "all" or (how == "some" and len(change) == 2 and rnd.random() < 0.5):
                apply(out, change)
            elif how == "some" and len(change) == 3:
                tear(out, change, rnd)
        return bytes(out)


def resize(content, n):
    del content[n:]
    content.extend(b"\0" * (n - len(content)))


def apply(content, change):
    if len(change) == 2:
        return resize(content, change[1])
    seq, off, data = change
    if off + len(data) > len(content):
        resize(content, off + len(data))
    content[off:off + len(data)] = data


def tear(content, change, rnd):
    """Each sector of a write is old, new, or new up to some byte."""
    seq, off, data = change
    at = 0
    while at < len(data):
        n = min(SECTOR - (off + at) % SECTOR, len(data) - at)
        keep = rnd.choice([0, n, rnd.randrange(n + 1)])
        if keep:
            apply(content, (seq, off + at, data[at:at + keep]))
        at += n


class Disk:
    """The state of the directory `root` while its trace goes by."""

    def __init__(self, root, trace, base=None):
        self.root, self.records, self.at = root, read_trace(trace), 0
        self.seen, self.held, self.names = {}, {}, []  # path: File (None: a directory)
        for folder, folders, files in os.walk(base) if base else ():
            below = root + folder[len(base):]
            self.held[below] = None
            for name in files:
                self.held[f"{below}/{name}"] = File(open(f"{folder}/{name}", "rb").read())
        self.held.setdefault(root, None)
        self.seen = dict(self.held)

    def boundaries(self):
        """[(seq, path)]: where each sync began and ended."""
        out = []
        for r in self.records:
            if r.op == SYNC:
                out += [(r.began, r.path), (r.seq, r.path)]
            elif r.op == WRITE and r.dsync:
                out.append((r.seq, r.path))
        return sorted(out)

    def advance(self, seq):
        while self.at < len(self.records) and self.records[self.at].seq <= seq:
            self.step(self.records[self.at])
            self.at += 1

    def step(self, r):
        f = self.seen.get(r.path)
        if r.op == WRITE and f:
            f.pending.append((r.seq, r.off, r.data))
            if r.dsync:
                apply(f.held, f.pending.pop())
        elif r.op == SIZE and f:
            f.pending.append((r.seq, r.off))
        elif r.op == SYNC and f:
            f.sync(r.began)
        elif r.op == SYNC:
            self.sync_names(r.path, r.began)
        elif r.op in (CREATE, MKDIR):
            self.seen[r.path] = File() if r.op == CREATE else None
            self.names.append((r.seq, r.path, self.seen[r.path], None))
        elif r.op == RENAME and r.path in self.seen:
            f = self.seen[r.path2] = self.seen.pop(r.path)
            self.names.append((r.seq, r.path2, f, r.path))
        elif r.op == REMOVE:
            self.seen.pop(r.path, None)
            self.names.append((r.seq, None, None, r.path))

    def sync_names(self, folder, began):
        here = lambda change: os.path.dirname(change[1] or change[3]) == folder
        for change in self.names:
            if change[0] < began and here(change):
                rename(self.held, change)
        self.names = [c for c in self.names if c[0] >= began or not here(c)]

    def image(self, rnd, how):
        """{path: bytes, or None for a directory} after a loss of power here.  `how`: "all" or
        "none" of what was not synced is there, or "some"."""
        names = dict(self.held)
        n = {"all": len(self.names), "none": 0}.get(how, rnd.randrange(len(self.names) + 1))
        for change in self.names[:n]:
            rename(names, change)
        there = lambda path: path == self.root or (os.path.dirname(path) in names and
                                                   there(os.path.dirname(path)))
        return {path: f.after(rnd, how) if f else None for path, f in names.items() if there(path)}


def rename(names, change):
    seq, to, f, away = change
    if away:
        names.pop(away, None)
    if to:
        names[to] = f


def write_image(image, root, folder):
    """Put an image of `root` into `folder`, which is made."""
    for path in sorted(image):
        to = folder + path[len(root):]
        if image[path] is None:
            os.makedirs(to, mode=0o700, exist_ok=True)
            continue
        with open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
            f.write(image[path])
