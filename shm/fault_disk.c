/*
 * fault_disk.c - the disk as tests see it: it fails, fills up, is slow, or
 * forgets (fault builds only).
 *
 * The functions by which a process changes files take the places of the C
 * library's for everything that is linked here, LMDB included.  For files below
 * the directory that the fault file's head names they pass the points disk_*,
 * and write what they did to a trace, which says for every moment what a loss of
 * power would have left:
 *   a sync of a file covers the writes to it that had ended when it began;
 *   a sync of a directory covers what became of names in it;
 *   a write through O_DSYNC is its own sync.
 * Each process appends to a file of its own; records carry numbers of one
 * sequence.  tests/fault/disk.py makes images of it.
 *
 * A process that ends by a point does not end between an operation and its
 * record: both happen under a lock, which that end takes too.
 */
#include "weft/fault.h"

#ifdef WEFT_FAULTS

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_BYTES   1024
#define IOV_MAX_HERE 128

enum op { OP_WRITE, OP_SYNC, OP_SIZE, OP_RENAME, OP_REMOVE, OP_CREATE, OP_MKDIR };

struct record {
	uint64_t seq, began, off, n; /* began: the sequence's number when a sync began */
	uint32_t op, path_n, path2_n, dsync;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void fault_disk_lock(void)
{
	pthread_mutex_lock(&lock);
}

/* --- Whose file is it? ------------------------------------------------------------ */

static bool below_disk(const char *path)
{
	const struct fault_head *head = fault_file();
	size_t n = head ? strlen(head->disk) : 0;

	return n && strncmp(path, head->disk, n) == 0 && (path[n] == '/' || !path[n]);
}

static bool path_of(int fd, char path[PATH_BYTES])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlink, link, path, PATH_BYTES - 1);
	path[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* Is `fd` a file of the disk?  Its path then. */
static bool on_disk(int fd, char path[PATH_BYTES])
{
	int saved = errno;
	bool ours = fault_file() && fault_file()->disk[0] && path_of(fd, path) && below_disk(path);

	errno = saved;
	return ours;
}

/* `name` as seen from `dir`, an open directory or AT_FDCWD. */
static bool name_on_disk(int dir, const char *name, char path[PATH_BYTES])
{
	int saved = errno, n = 0;

	if (!fault_file() || !fault_file()->disk[0])
		return false;
	path[0] = 0;
	if (name[0] != '/' && dir != AT_FDCWD && path_of(dir, path))
		n = (int)strlen(path);
	snprintf(path + n, PATH_BYTES - (size_t)n, "%s%s", n ? "/" : "", name);
	errno = saved;
	return below_disk(path);
}

/* --- The trace ---------------------------------------------------------------------- */

static uint64_t next_seq(void)
{
	return atomic_fetch_add(&fault_file()->disk_seq, 1) + 1;
}

static int trace_file(void)
{
	static pid_t pid;
	static int fd = -1;
	char path[PATH_BYTES];

	if (pid == getpid())
		return fd;
	pid = getpid();
	snprintf(path, sizeof(path), "%s/%d", fault_file()->trace, (int)pid);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
			  0600);
	return fd;
}

/* Under the lock. */
static void trace(enum op op, const char *path, const char *path2, uint64_t off, uint64_t n,
		  const struct record *more, const struct iovec *data, int ndata)
{
	struct iovec iov[IOV_MAX_HERE + 3];
	struct record r = more ? *more : (struct record){0};
	int saved = errno, at = 0;

	if (!fault_file()->trace[0])
		return;
	r.seq = next_seq();
	r.op = op;
	r.off = off;
	r.n = n;
	r.path_n = (uint32_t)strlen(path);
	r.path2_n = path2 ? (uint32_t)strlen(path2) : 0;
	iov[at++] = (struct iovec){&r, sizeof(r)};
	iov[at++] = (struct iovec){(void *)path, r.path_n};
	iov[at++] = (struct iovec){(void *)path2, r.path2_n};
	for (int i = 0; i < ndata; i++)
		iov[at++] = data[i];
	if (trace_file() >= 0)
		syscall(SYS_writev, trace_file(), iov, at);
	errno = saved;
}

/* --- Writing ------------------------------------------------------------------------ */

/* The first `n` bytes of `iov`; returns how many pieces. */
static int first_bytes(const struct iovec *iov, int niov, size_t n, struct iovec *out)
{
	int at = 0;

	for (int i = 0; i < niov && n; i++) {
		out[at] = iov[i];
		if (out[at].iov_len > n)
			out[at].iov_len = n;
		n -= out[at++].iov_len;
	}
	return at;
}

static size_t all_bytes(const struct iovec *iov, int niov)
{
	size_t n = 0;

	for (int i = 0; i < niov; i++)
		n += iov[i].iov_len;
	return n;
}

static ssize_t real_write(int fd, const struct iovec *iov, int niov, off_t off)
{
	return off < 0 ? syscall(SYS_writev, fd, iov, niov)
		       : syscall(SYS_pwritev, fd, iov, niov, off, 0);
}

/* Where a write without an offset goes. */
static off_t place_of(int fd)
{
	struct stat st;

	if (fcntl(fd, F_GETFL) & O_APPEND)
		return fstat(fd, &st) ? 0 : st.st_size;
	return lseek(fd, 0, SEEK_CUR);
}

static bool is_dsync(int fd)
{
	return (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
}

static ssize_t write_and_trace(int fd, const char *path, const struct iovec *iov, int niov,
			       off_t off)
{
	struct record more = {.dsync = is_dsync(fd)};
	struct iovec done[IOV_MAX_HERE];
	ssize_t did;
	off_t at;

	pthread_mutex_lock(&lock);
	at = off < 0 ? place_of(fd) : off;
	did = real_write(fd, iov, niov, off);
	if (did > 0)
		trace(OP_WRITE, path, NULL, (uint64_t)at, (uint64_t)did, &more, done,
		      first_bytes(iov, niov, (size_t)did, done));
	pthread_mutex_unlock(&lock);
	return did;
}

static ssize_t put(int fd, const struct iovec *iov, int niov, off_t off)
{
	struct iovec half[IOV_MAX_HERE];
	char path[PATH_BYTES];
	int why;

	weft_assert(niov <= IOV_MAX_HERE);
	if (!on_disk(fd, path))
		return real_write(fd, iov, niov, off);
	if (fault_fails(disk_write) || (is_dsync(fd) && fault_fails(disk_write_dsync)))
		return -1;
	if (fault_fails(disk_write_half)) {
		why = errno;
		write_and_trace(fd, path, half,
				first_bytes(iov, niov, all_bytes(iov, niov) / 2, half), off);
		errno = why;
		return -1;
	}
	return write_and_trace(fd, path, iov, niov, off);
}

ssize_t write(int fd, const void *p, size_t n)
{
	struct iovec iov = {(void *)p, n};

	return put(fd, &iov, 1, -1);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	struct iovec iov = {(void *)p, n};

	return put(fd, &iov, 1, off);
}

ssize_t writev(int fd, const struct iovec *iov, int niov)
{
	return put(fd, iov, niov, -1);
}

ssize_t pwritev(int fd, const struct iovec *iov, int niov, off_t off)
{
	return put(fd, iov, niov, off);
}

/* --- Syncing ------------------------------------------------------------------------ */

static int sync_and_trace(int fd, long number)
{
	char path[PATH_BYTES];
	struct record more = {0};
	int rc;

	if (!on_disk(fd, path))
		return (int)syscall(number, fd);
	if (fault_fails(disk_sync))
		return -1;
	pthread_mutex_lock(&lock);
	more.began = next_seq();
	pthread_mutex_unlock(&lock);
	rc = (int)syscall(number, fd);
	pthread_mutex_lock(&lock);
	if (!rc)
		trace(OP_SYNC, path, NULL, 0, 0, &more, NULL, 0);
	pthread_mutex_unlock(&lock);
	fault_at(disk_synced);
	return rc;
}

int fdatasync(int fd)
{
	return sync_and_trace(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_and_trace(fd, SYS_fsync);
}

/* --- Sizes -------------------------------------------------------------------------- */

static void trace_size(const char *path, off_t size)
{
	trace(OP_SIZE, path, NULL, (uint64_t)size, 0, NULL, NULL, 0);
}

static int real_size(int fd, bool cut, int mode, off_t off, off_t n)
{
	return (int)(cut ? syscall(SYS_ftruncate, fd, n)
			 : syscall(SYS_fallocate, fd, mode, off, n));
}

static int size_and_trace(int fd, bool cut, int mode, off_t off, off_t n)
{
	char path[PATH_BYTES];
	struct stat st;
	int rc;

	if (!on_disk(fd, path))
		return real_size(fd, cut, mode, off, n);
	if (fault_fails(disk_allocate))
		return -1;
	pthread_mutex_lock(&lock);
	rc = real_size(fd, cut, mode, off, n);
	if (!rc && !fstat(fd, &st))
		trace_size(path, st.st_size);
	pthread_mutex_unlock(&lock);
	return rc;
}

int ftruncate(int fd, off_t size)
{
	return size_and_trace(fd, true, 0, 0, size);
}

int fallocate(int fd, int mode, off_t off, off_t n)
{
	return size_and_trace(fd, false, mode, off, n);
}

/* --- Names -------------------------------------------------------------------------- */

int openat(int dir, const char *name, int flags, ...)
{
	char path[PATH_BYTES];
	va_list ap;
	struct stat st;
	mode_t mode;
	bool there;
	int fd;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (!name_on_disk(dir, name, path))
		return (int)syscall(SYS_openat, dir, name, flags, mode);
	if (fault_fails(disk_open))
		return -1;
	pthread_mutex_lock(&lock);
	there = syscall(SYS_newfstatat, dir, name, &st, 0) == 0;
	fd = (int)syscall(SYS_openat, dir, name, flags, mode);
	if (fd >= 0 && !there)
		trace(OP_CREATE, path, NULL, 0, 0, NULL, NULL, 0);
	else if (fd >= 0 && flags & O_TRUNC)
		trace_size(path, 0);
	pthread_mutex_unlock(&lock);
	return fd;
}

int open(const char *name, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return openat(AT_FDCWD, name, flags, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	char path[PATH_BYTES], path2[PATH_BYTES];
	int rc;

	if (!name_on_disk(from_dir, from, path) || !name_on_disk(to_dir, to, path2))
		return (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
	if (fault_fails(disk_rename))
		return -1;
	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
	if (!rc)
		trace(OP_RENAME, path, path2, 0, 0, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int dir, const char *name, int flags)
{
	char path[PATH_BYTES];
	int rc;

	if (!name_on_disk(dir, name, path))
		return (int)syscall(SYS_unlinkat, dir, name, flags);
	if (fault_fails(disk_remove))
		return -1;
	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_unlinkat, dir, name, flags);
	if (!rc)
		trace(OP_REMOVE, path, NULL, 0, 0, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int mkdir(const char *name, mode_t mode)
{
	char path[PATH_BYTES];
	int rc;

	if (!name_on_disk(AT_FDCWD, name, path))
		return (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
	if (!rc)
		trace(OP_MKDIR, path, NULL, 0, 0, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

/* --- The same by other names -------------------------------------------------------- */

#define ALSO(name, type, other, ...) type name(__VA_ARGS__) __attribute__((alias(#other)))
ALSO(pwrite64, ssize_t, pwrite, int, const void *, size_t, off64_t);
ALSO(pwritev64, ssize_t, pwritev, int, const struct iovec *, int, off64_t);
ALSO(ftruncate64, int, ftruncate, int, off64_t);
ALSO(fallocate64, int, fallocate, int, int, off64_t, off64_t);
ALSO(openat64, int, openat, int, const char *, int, ...);
ALSO(open64, int, open, const char *, int, ...);

#endif
