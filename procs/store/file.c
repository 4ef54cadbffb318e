/* file.c - the file operations of file.h on a real directory. */
#include "procs/store/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct dir {
	struct files fs;
	int fd;
	char path[512];
};

#define dir_of(f) ((struct dir *)(f))

static int dir_open_file(struct files *fs, const char *name, bool create, int *fd, struct err *e)
{
	int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0);

	*fd = openat(dir_of(fs)->fd, name, flags, 0600);
	if (*fd < 0)
		return err_errno(e, errno, "open '%s/%s'", dir_of(fs)->path, name);
	return WEFT_OK;
}

static void dir_close_file(struct files *fs, int fd)
{
	close(fd);
}

static void dir_put_away(struct files *fs, int fd)
{
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* a hint: may fail */
	close(fd);
}

static int dir_write(struct files *fs, int fd, const void *p, size_t n, uint64_t off, struct err *e)
{
	const char *at = p;

	while (n) {
		ssize_t did = pwrite(fd, at, n, (off_t)off);

		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return err_errno(e, did ? errno : ENOSPC, "write %zu bytes at %llu in '%s'",
					 n, (unsigned long long)off, dir_of(fs)->path);
		at += did;
		off += (uint64_t)did;
		n -= (size_t)did;
	}
	return WEFT_OK;
}

static int dir_read(struct files *fs, int fd, void *p, size_t n, uint64_t off, size_t *got,
		    struct err *e)
{
	*got = 0;
	while (*got < n) {
		ssize_t did = pread(fd, (char *)p + *got, n - *got, (off_t)(off + *got));

		if (did < 0 && errno == EINTR)
			continue;
		if (did < 0)
			return err_errno(e, errno, "read %zu bytes at %llu in '%s'", n,
					 (unsigned long long)off, dir_of(fs)->path);
		if (!did)
			break;
		*got += (size_t)did;
	}
	return WEFT_OK;
}

static int dir_size(struct files *fs, int fd, uint64_t *size, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_errno(e, errno, "look at a file in '%s'", dir_of(fs)->path);
	*size = (uint64_t)st.st_size;
	return WEFT_OK;
}

static int dir_sync(struct files *fs, int fd, struct err *e)
{
	if (fdatasync(fd))
		return err_errno(e, errno, "sync a file in '%s'", dir_of(fs)->path);
	return WEFT_OK;
}

/* Where the file system cannot reserve, a longer file has to do. */
static int dir_allocate(struct files *fs, int fd, uint64_t size, struct err *e)
{
	int rc;

	do
		rc = fallocate(fd, 0, 0, (off_t)size);
	while (rc && errno == EINTR);
	if (rc && errno == EOPNOTSUPP)
		rc = ftruncate(fd, (off_t)size);
	if (rc)
		return err_errno(e, errno, "reserve %llu bytes in '%s'", (unsigned long long)size,
				 dir_of(fs)->path);
	return WEFT_OK;
}

static int dir_sync_names(struct dir *d, struct err *e)
{
	if (fsync(d->fd))
		return err_errno(e, errno, "sync directory '%s'", d->path);
	return WEFT_OK;
}

static int dir_rename(struct files *fs, const char *from, const char *to, struct err *e)
{
	struct dir *d = dir_of(fs);

	if (renameat(d->fd, from, d->fd, to))
		return err_errno(e, errno, "rename '%s/%s' to '%s'", d->path, from, to);
	return dir_sync_names(d, e);
}

static int dir_remove(struct files *fs, const char *name, struct err *e)
{
	struct dir *d = dir_of(fs);

	if (unlinkat(d->fd, name, 0))
		return err_errno(e, errno, "remove '%s/%s'", d->path, name);
	return dir_sync_names(d, e);
}

static int dir_list(struct files *fs, void (*fn)(void *arg, const char *name), void *arg,
		    struct err *e)
{
	struct dir *d = dir_of(fs);
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *it = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!it) {
		int rc = err_errno(e, errno, "list '%s'", d->path);

		if (fd >= 0)
			close(fd);
		return rc;
	}
	while ((de = readdir(it)))
		if (de->d_name[0] != '.')
			fn(arg, de->d_name);
	closedir(it);
	return WEFT_OK;
}

static const struct file_ops dir_ops = {
	.open = dir_open_file,
	.close = dir_close_file,
	.put_away = dir_put_away,
	.write = dir_write,
	.read = dir_read,
	.size = dir_size,
	.sync = dir_sync,
	.allocate = dir_allocate,
	.rename = dir_rename,
	.remove = dir_remove,
	.list = dir_list,
};

/* A directory that is made keeps its name. */
static int dir_make(const char *path, struct err *e)
{
	char above[600];

	if (mkdir(path, 0700))
		return errno == EEXIST ? WEFT_OK : err_errno(e, errno, "make directory '%s'", path);
	snprintf(above, sizeof(above), "%s/..", path);
	return names_sync(above, e);
}

int file_dir_open(struct files **out, const char *path, struct err *e)
{
	struct dir *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, WEFT_ENOMEM, "open directory '%s': out of memory", path);
	d->fs.ops = &dir_ops;
	snprintf(d->path, sizeof(d->path), "%s", path);
	rc = dir_make(path, e);
	d->fd = rc ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!rc && d->fd < 0)
		rc = err_errno(e, errno, "open directory '%s'", path);
	if (rc)
		free(d);
	else
		*out = &d->fs;
	return rc;
}

void file_dir_close(struct files *fs)
{
	if (!fs)
		return;
	close(dir_of(fs)->fd);
	free(fs);
}
