/*
 * file_sim.c - a disk in memory that forgets what was not synced.
 *
 * Each file has two images: what programs see, and what the platter holds.  A
 * sync copies the sectors written since the last one.  When power comes back,
 * a sector that was not synced is old, new, or new up to some byte.  Names
 * change at once and durably, as file.h promises of rename() and remove().
 */
#include "procs/store/file.h"

#include <stdio.h>
#include <stdlib.h>

#define SECTOR	  512u
#define SIM_FILES 64

struct sim_file {
	char name[64]; /* empty: unused */
	char *seen, *held;
	uint8_t *dirty; /* one per sector */
	uint64_t n, cap;
};

struct sim {
	struct files fs;
	struct sim_file *file[SIM_FILES];
	struct sim_file *handle[SIM_FILES];
	int64_t cut_after, fail_after;
	int fail_code;
	bool cut;
	uint64_t syncs;
};

#define sim_of(f) ((struct sim *)(f))

static uint64_t sim_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* May this operation go on?  `writes`: one that a failing disk refuses. */
static int sim_gate(struct sim *s, bool writes, const char *what, struct err *e)
{
	if (s->cut)
		return err_set(e, WEFT_EIO, "%s: no power", what);
	if (!writes || s->fail_after < 0)
		return WEFT_OK;
	if (s->fail_after == 0)
		return err_set(e, s->fail_code, "%s: %s", what, weft_strerror(s->fail_code));
	s->fail_after--;
	return WEFT_OK;
}

static struct sim_file **sim_find(struct sim *s, const char *name)
{
	for (int i = 0; i < SIM_FILES; i++)
		if (s->file[i] && !strcmp(s->file[i]->name, name))
			return &s->file[i];
	return NULL;
}

static void sim_file_free(struct sim *s, struct sim_file *f)
{
	for (int i = 0; i < SIM_FILES; i++)
		if (s->handle[i] == f)
			s->handle[i] = NULL;
	free(f->seen);
	free(f->held);
	free(f->dirty);
	free(f);
}

static void sim_extend(struct sim_file *f, uint64_t n)
{
	uint64_t cap = align_up(n, (uint64_t)SECTOR);

	if (cap > f->cap) {
		f->seen = realloc(f->seen, cap);
		f->held = realloc(f->held, cap);
		f->dirty = realloc(f->dirty, cap / SECTOR);
		weft_assert(f->seen && f->held && f->dirty);
		memset(f->seen + f->cap, 0, cap - f->cap);
		memset(f->held + f->cap, 0, cap - f->cap);
		memset(f->dirty + f->cap / SECTOR, 0, (cap - f->cap) / SECTOR);
		f->cap = cap;
	}
	if (n > f->n)
		f->n = n;
}

static int sim_open(struct files *fs, const char *name, bool create, int *fd, struct err *e)
{
	struct sim *s = sim_of(fs);
	struct sim_file **at = sim_find(s, name);
	int rc = sim_gate(s, create, "open", e);
	int i = 0;

	if (rc)
		return rc;
	if (!at && !create)
		return err_set(e, WEFT_ENOENT, "open '%s': no such file", name);
	if (at && create) {
		sim_file_free(s, *at);
		*at = NULL;
	}
	if (create) {
		for (i = 0; s->file[i]; i++)
			weft_assert(i + 1 < SIM_FILES);
		at = &s->file[i];
		*at = calloc(1, sizeof(**at));
		weft_assert(*at);
		snprintf((*at)->name, sizeof((*at)->name), "%s", name);
	}
	for (i = 0; s->handle[i]; i++)
		weft_assert(i + 1 < SIM_FILES);
	s->handle[i] = *at;
	*fd = i;
	return WEFT_OK;
}

static void sim_close(struct files *fs, int fd)
{
	sim_of(fs)->handle[fd] = NULL;
}

static int sim_write(struct files *fs, int fd, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct sim *s = sim_of(fs);
	struct sim_file *f = s->handle[fd];
	int rc = sim_gate(s, true, "write", e);

	if (rc)
		return rc;
	sim_extend(f, off + n);
	memcpy(f->seen + off, p, n);
	for (uint64_t i = off / SECTOR; n && i <= (off + n - 1) / SECTOR; i++)
		f->dirty[i] = 1;
	return WEFT_OK;
}

static int sim_read(struct files *fs, int fd, void *p, size_t n, uint64_t off, size_t *got,
		    struct err *e)
{
	struct sim *s = sim_of(fs);
	struct sim_file *f = s->handle[fd];
	int rc = sim_gate(s, false, "read", e);

	if (rc)
		return rc;
	*got = off >= f->n ? 0 : n < f->n - off ? n : f->n - off;
	if (*got)
		memcpy(p, f->seen + off, *got);
	return WEFT_OK;
}

static int sim_size(struct files *fs, int fd, uint64_t *size, struct err *e)
{
	*size = sim_of(fs)->handle[fd]->n;
	return sim_gate(sim_of(fs), false, "size", e);
}

static int sim_sync(struct files *fs, int fd, struct err *e)
{
	struct sim *s = sim_of(fs);
	struct sim_file *f = s->handle[fd];
	int rc;

	if (!s->cut && s->cut_after == 0)
		s->cut = true;
	rc = sim_gate(s, true, "sync", e);
	if (rc)
		return rc;
	if (s->cut_after > 0)
		s->cut_after--;
	s->syncs++;
	for (uint64_t i = 0; i < f->cap / SECTOR; i++) {
		if (f->dirty[i])
			memcpy(f->held + i * SECTOR, f->seen + i * SECTOR, SECTOR);
		f->dirty[i] = 0;
	}
	return WEFT_OK;
}

static int sim_allocate(struct files *fs, int fd, uint64_t size, struct err *e)
{
	struct sim *s = sim_of(fs);
	int rc = sim_gate(s, true, "allocate", e);

	if (!rc)
		sim_extend(s->handle[fd], size);
	return rc;
}

static int sim_remove(struct files *fs, const char *name, struct err *e)
{
	struct sim *s = sim_of(fs);
	struct sim_file **at = sim_find(s, name);
	int rc = sim_gate(s, true, "remove", e);

	if (rc)
		return rc;
	if (!at)
		return err_set(e, WEFT_ENOENT, "remove '%s': no such file", name);
	sim_file_free(s, *at);
	*at = NULL;
	return WEFT_OK;
}

static int sim_rename(struct files *fs, const char *from, const char *to, struct err *e)
{
	struct sim *s = sim_of(fs);
	struct sim_file **at = sim_find(s, from), **old = sim_find(s, to);
	int rc = sim_gate(s, true, "rename", e);

	if (rc)
		return rc;
	if (!at)
		return err_set(e, WEFT_ENOENT, "rename '%s': no such file", from);
	if (old && old != at) {
		sim_file_free(s, *old);
		*old = NULL;
	}
	snprintf((*at)->name, sizeof((*at)->name), "%s", to);
	return WEFT_OK;
}

static int sim_list(struct files *fs, void (*fn)(void *arg, const char *name), void *arg,
		    struct err *e)
{
	struct sim *s = sim_of(fs);
	int rc = sim_gate(s, false, "list", e);

	for (int i = 0; !rc && i < SIM_FILES; i++)
		if (s->file[i])
			fn(arg, s->file[i]->name);
	return rc;
}

static const struct file_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.put_away = sim_close,
	.write = sim_write,
	.read = sim_read,
	.size = sim_size,
	.sync = sim_sync,
	.allocate = sim_allocate,
	.rename = sim_rename,
	.remove = sim_remove,
	.list = sim_list,
};

struct files *file_sim_new(void)
{
	struct sim *s = calloc(1, sizeof(*s));

	weft_assert(s);
	s->fs.ops = &sim_ops;
	s->cut_after = s->fail_after = -1;
	return &s->fs;
}

void file_sim_free(struct files *fs)
{
	struct sim *s = sim_of(fs);

	for (int i = 0; i < SIM_FILES; i++)
		if (s->file[i])
			sim_file_free(s, s->file[i]);
	free(s);
}

void file_sim_cut_after(struct files *fs, int64_t k)
{
	sim_of(fs)->cut_after = k;
}

bool file_sim_is_cut(const struct files *fs)
{
	return ((const struct sim *)fs)->cut;
}

/* What is left of one sector that was not synced. */
static void sim_settle(struct sim_file *f, uint64_t i, uint64_t r)
{
	size_t keep = r % 3 == 0 ? 0 : r % 3 == 1 ? SECTOR : (r >> 8) % SECTOR;

	memcpy(f->held + i * SECTOR, f->seen + i * SECTOR, keep);
	f->dirty[i] = 0;
}

void file_sim_power_on(struct files *fs, uint64_t seed)
{
	struct sim *s = sim_of(fs);

	for (int i = 0; i < SIM_FILES; i++) {
		struct sim_file *f = s->file[i];

		s->handle[i] = NULL;
		for (uint64_t k = 0; f && k < f->cap / SECTOR; k++)
			if (f->dirty[k])
				sim_settle(f, k, sim_random(&seed));
		if (f && f->cap)
			memcpy(f->seen, f->held, f->cap);
	}
	s->cut = false;
	s->cut_after = s->fail_after = -1;
}

void file_sim_fail_after(struct files *fs, int64_t k, int code)
{
	sim_of(fs)->fail_after = k;
	sim_of(fs)->fail_code = code;
}

void file_sim_heal(struct files *fs)
{
	sim_of(fs)->fail_after = -1;
}

uint64_t file_sim_syncs(const struct files *fs)
{
	return ((const struct sim *)fs)->syncs;
}

int file_sim_damage(struct files *fs, const char *name, uint64_t off)
{
	struct sim_file **at = sim_find(sim_of(fs), name);

	if (!at || off >= (*at)->n)
		return WEFT_ENOENT;
	(*at)->seen[off] ^= 0x10;
	(*at)->held[off] ^= 0x10;
	return WEFT_OK;
}

int file_sim_shorten(struct files *fs, const char *name, uint64_t n)
{
	struct sim_file **at = sim_find(sim_of(fs), name);

	if (!at || n > (*at)->n)
		return WEFT_ENOENT;
	(*at)->n = n;
	return WEFT_OK;
}
