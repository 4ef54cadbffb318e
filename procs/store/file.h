/*
 * file.h - the few file operations that the log stands on, behind a table, so
 * that a test can put a disk of its own in their place (file_sim.c).
 *
 * A `files` is one directory.  Names have no slash.  Handles are small
 * integers.  Every function returns 0 or a weft code and explains in *e
 * ("write 'log-3': No space left on device").
 *
 * What survives a loss of power:
 *   - bytes written before a sync() of their file that returned 0;
 *   - names as they were when rename() or remove() last returned 0.
 *   Anything else may be there, missing, or there in part.
 */
#ifndef WEFT_STORE_FILE_H
#define WEFT_STORE_FILE_H

#include "weft/base.h"

struct files;

struct file_ops {
	/* Open `name` for reading and writing; with `create` a new, empty one
	 * takes the place of any other.  WEFT_ENOENT if there is none. */
	int (*open)(struct files *fs, const char *name, bool create, int *fd, struct err *e);
	void (*close)(struct files *fs, int fd);
	/* The same; nobody reads it soon, so what was synced need not stay in memory. */
	void (*put_away)(struct files *fs, int fd);
	/* All of [p, p+n) at `off`. */
	int (*write)(struct files *fs, int fd, const void *p, size_t n, uint64_t off,
		     struct err *e);
	/* Up to n bytes at `off`; *got < n only at the end of the file. */
	int (*read)(struct files *fs, int fd, void *p, size_t n, uint64_t off, size_t *got,
		    struct err *e);
	int (*size)(struct files *fs, int fd, uint64_t *size, struct err *e);
	/* What was written is on the disk.  After an error nothing is known about
	 * what was written since the last success. */
	int (*sync)(struct files *fs, int fd, struct err *e);
	/* Make the file `size` bytes long with its blocks reserved, so that
	 * writing within it needs no more room. */
	int (*allocate)(struct files *fs, int fd, uint64_t size, struct err *e);
	/* Durable when they return 0; `to` is replaced. */
	int (*rename)(struct files *fs, const char *from, const char *to, struct err *e);
	int (*remove)(struct files *fs, const char *name, struct err *e);
	/* Call fn for each name, in no order; it must not change the directory. */
	int (*list)(struct files *fs, void (*fn)(void *arg, const char *name), void *arg,
		    struct err *e);
};

struct files {
	const struct file_ops *ops;
};

/* --- The real one ------------------------------------------------------------ */

/* The directory `path`, created (mode 0700) if it is missing.  file_dir_close()
 * frees it. */
int file_dir_open(struct files **out, const char *path, struct err *e);
void file_dir_close(struct files *fs);

/* --- A simulated disk, for tests ----------------------------------------------- */

/* Everything in memory.  Not for several threads at once, except that calls may
 * come from different threads one after the other. */
struct files *file_sim_new(void);
void file_sim_free(struct files *fs);

/* The next syncs succeed `k` times; then the power goes: that sync and every
 * later operation fail with WEFT_EIO.  -1: never. */
void file_sim_cut_after(struct files *fs, int64_t k);
bool file_sim_is_cut(const struct files *fs);
/* Power comes back: of each 512-byte sector that was written and not synced,
 * either the old or the new content is there, or a part of the new one, as
 * `seed` decides.  Handles are closed. */
void file_sim_power_on(struct files *fs, uint64_t seed);
/* The next `k` operations that write (write, sync, allocate, rename, remove)
 * succeed, later ones fail with `code` until file_sim_heal(). */
void file_sim_fail_after(struct files *fs, int64_t k, int code);
void file_sim_heal(struct files *fs);
/* Syncs so far. */
uint64_t file_sim_syncs(const struct files *fs);
/* Flip a bit of a stored byte; WEFT_ENOENT if there is no such byte. */
int file_sim_damage(struct files *fs, const char *name, uint64_t off);
/* Cut a file to its first n bytes; WEFT_ENOENT if there are not so many. */
int file_sim_shorten(struct files *fs, const char *name, uint64_t n);

#endif
