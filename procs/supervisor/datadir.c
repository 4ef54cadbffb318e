/* datadir.c - the data directory: one supervisor at a time, nothing left of a
 * dead one. */
#include "procs/supervisor/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xxhash.h>

#define DATA_VERSION	 "1"
#define LEFTOVER_WAIT_MS 10000

int datadir_default(char out[512], struct err *e)
{
	const char *base = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n;

	if (geteuid() == 0)
		n = snprintf(out, 512, "/var/lib/weft");
	else if (base && *base == '/')
		n = snprintf(out, 512, "%s/weft", base);
	else if (home && *home)
		n = snprintf(out, 512, "%s/.local/share/weft", home);
	else
		return err_set(
			e, WEFT_EINVAL,
			"neither XDG_DATA_HOME nor HOME is set: name a directory with --data");
	return n < 512 ? 0 : err_set(e, WEFT_ETOOBIG, "the data directory's path is too long");
}

/* A directory for us alone, unless there is one; it keeps its name. */
static int make_directory(const char *path, struct err *e)
{
	char above[520];

	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : err_errno(e, errno, "make directory '%s'", path);
	snprintf(above, sizeof(above), "%s/..", path);
	return names_sync(above, e);
}

/* mkdir -p. */
static int make_path(const char *path, struct err *e)
{
	char part[512];
	size_t n = strlen(path);
	int rc = 0;

	if (!n || n >= sizeof(part))
		return err_set(e, WEFT_EINVAL, "'%s' is no usable path", path);
	for (size_t i = 1; i <= n && !rc; i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		rc = make_directory(part, e);
	}
	return rc;
}

int datadir_find(struct datadir *d, const char *path, struct err *e)
{
	char *real;

	*d = (struct datadir){.fd = -1, .lock_fd = -1};
	real = realpath(path, NULL);
	if (!real)
		return err_errno(e, errno, "data directory '%s'", path);
	if (strlen(real) >= sizeof(d->path)) {
		free(real);
		return err_set(e, WEFT_ETOOBIG, "the path of data directory '%s' is too long",
			       path);
	}
	strcpy(d->path, real);
	free(real);
	d->cluster = XXH3_64bits(d->path, strlen(d->path));
	d->fd = open(d->path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (d->fd < 0)
		return err_errno(e, errno, "data directory '%s'", d->path);
	return 0;
}

bool datadir_in_use(const struct datadir *d)
{
	int fd = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
	bool in_use;

	if (fd < 0)
		return false;
	in_use = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return in_use;
}

/* Read a small file of the directory; false if there is none. */
static bool read_small(const struct datadir *d, const char *name, char *out, size_t size)
{
	int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, out, size - 1);
	close(fd);
	if (n < 0)
		return false;
	out[n] = 0;
	return true;
}

static int take_lock(struct datadir *d, struct err *e)
{
	char holder[32] = "";
	int n;

	d->lock_fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock_fd < 0)
		return err_errno(e, errno, "data directory '%s' is not writable", d->path);
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int why = errno;

		/* Not ours: datadir_leave() must not clean up behind its holder. */
		close(d->lock_fd);
		d->lock_fd = -1;
		if (why != EWOULDBLOCK)
			return err_errno(e, why, "lock data directory '%s'", d->path);
		read_small(d, "lock", holder, sizeof(holder));
		return err_set(e, WEFT_EBUSY,
			       "another weft (pid %.*s) runs on '%s': stop it, or name another "
			       "directory with --data",
			       (int)strcspn(holder, "\n"), holder, d->path);
	}
	n = snprintf(holder, sizeof(holder), "%d\n", (int)getpid());
	if (ftruncate(d->lock_fd, 0) < 0 || pwrite(d->lock_fd, holder, (size_t)n, 0) != n)
		return err_errno(e, errno, "write to data directory '%s'", d->path);
	return 0;
}

/* Make the file `name`: whole or not at all, whatever happens meanwhile. */
static int make_small(struct datadir *d, const char *name, const char *text, struct err *e)
{
	char made[64];
	ssize_t n = (ssize_t)strlen(text);
	int fd, why;

	snprintf(made, sizeof(made), "%s.new", name);
	fd = openat(d->fd, made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, (size_t)n) != n || fsync(fd) ||
	    renameat(d->fd, made, d->fd, name) || fsync(d->fd)) {
		why = errno;
		if (fd >= 0)
			close(fd);
		return err_errno(e, why, "write to data directory '%s'", d->path);
	}
	close(fd);
	return 0;
}

static int check_version(struct datadir *d, struct err *e)
{
	char found[32];

	if (!read_small(d, "version", found, sizeof(found)))
		return make_small(d, "version", DATA_VERSION "\n", e);
	found[strcspn(found, "\n")] = 0;
	if (strcmp(found, DATA_VERSION) == 0)
		return 0;
	return err_set(
		e, WEFT_ELAYOUT,
		"data directory '%s' is of version '%s', this weft reads version " DATA_VERSION
		": use the weft that made it, or another directory",
		d->path, found);
}

/* Field 22 of /proc/PID/stat: when the process started; 0 if there is none. */
static uint64_t start_ticks(pid_t pid)
{
	char path[64], text[1024], *at;
	unsigned long long ticks = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	at = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
	fclose(f);
	if (at)
		sscanf(at + 2,
		       "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		       "%*d %llu",
		       &ticks);
	return ticks;
}

/* End the process that started at `ticks`, and wait until nothing of it runs
 * any more: a store in the middle of a write would write behind its successor's
 * back, an apiserver still has its port. */
static int kill_leftover(pid_t pid, unsigned long long ticks, struct err *e)
{
	/* The descriptor first: after that the pid cannot become another's. */
	struct pollfd gone = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int rc = 0;

	if (gone.fd < 0)
		return 0;
	if (start_ticks(pid) == ticks) {
		syscall(SYS_pidfd_send_signal, gone.fd, SIGKILL, NULL, 0);
		if (poll(&gone, 1, LEFTOVER_WAIT_MS) == 0)
			rc = err_set(e, WEFT_EBUSY, "process %d of an earlier weft does not end",
				     (int)pid);
	}
	close(gone.fd);
	return rc;
}

/* The processes that "pids" names. */
static int kill_leftovers(struct datadir *d, struct err *e)
{
	char text[16384], *save = NULL;
	int rc = 0;

	if (!read_small(d, "pids", text, sizeof(text)))
		return 0;
	for (char *line = strtok_r(text, "\n", &save); !rc && line;
	     line = strtok_r(NULL, "\n", &save)) {
		unsigned long long ticks;
		int pid;

		if (sscanf(line, "%d %llu", &pid, &ticks) == 2 && pid > 1 && ticks)
			rc = kill_leftover(pid, ticks, e);
	}
	if (!rc)
		unlinkat(d->fd, "pids", 0);
	return rc;
}

static int remove_leftovers(struct datadir *d, struct err *e)
{
	char prefix[SEG_NAME_MAX];
	int n = kill_leftovers(d, e);

	if (n)
		return n;
	unlinkat(d->fd, "control.sock", 0);
	proc_name_prefix(prefix, d->cluster);
	n = seg_unlink_all(prefix, e);
	return n < 0 ? n : 0;
}

int datadir_take(struct datadir *d, const char *path, struct err *e)
{
	int rc = make_path(path, e);

	*d = (struct datadir){.fd = -1, .lock_fd = -1};
	if (!rc)
		rc = datadir_find(d, path, e);
	if (!rc)
		rc = take_lock(d, e);
	if (!rc)
		rc = check_version(d, e);
	if (!rc)
		rc = remove_leftovers(d, e);
	return rc;
}

/* Only whoever holds the lock cleans up. */
void datadir_leave(struct datadir *d)
{
	char prefix[SEG_NAME_MAX];
	struct err e;

	if (d->fd < 0)
		return;
	if (d->lock_fd >= 0) {
		proc_name_prefix(prefix, d->cluster);
		seg_unlink_all(prefix, &e);
		unlinkat(d->fd, "pids", 0);
		close(d->lock_fd); /* and the lock with it */
	}
	close(d->fd);
	d->fd = d->lock_fd = -1;
}

void datadir_note_children(struct supervisor *s)
{
	struct buf text = {0};
	int fd;

	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		struct slot *slot = &s->control->slots[i];

		if (!child_alive(&s->child[i]))
			continue;
		slot->start_ticks = start_ticks(s->child[i].pid);
		buf_printf(&text, "%d %llu\n", (int)s->child[i].pid,
			   (unsigned long long)slot->start_ticks);
	}
	/* Whole or not at all, whenever we are killed. */
	fd = openat(s->dir.fd, "pids.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0) {
		if (write(fd, text.p ? text.p : "", text.n) != (ssize_t)text.n ||
		    renameat(s->dir.fd, "pids.new", s->dir.fd, "pids") < 0)
			logs_say(s, LOG_WARN, "cannot note pids in '%s': %s", s->dir.path,
				 strerror(errno));
		close(fd);
	}
	buf_free(&text);
}
