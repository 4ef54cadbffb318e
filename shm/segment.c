/* segment.c - POSIX shared memory segments: what segment.h promises. */
#include "weft/fault.h"
#include "weft/segment.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <linux/mman.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "shm/pages.h"
#include "weft/cache.h"

#define SHM_DIR "/dev/shm"

/* --- Build id ----------------------------------------------------------------- */

uint32_t seg_signature(const uint64_t *words, size_t n)
{
	return (uint32_t)XXH3_64bits(words, n * sizeof(*words));
}

/* The GNU build id among the notes in [p, p + n), folded; 0 if there is none. */
static uint64_t build_id_in_notes(const char *p, size_t n, size_t align)
{
	while (n >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)p;
		size_t desc = sizeof(*note) + align_up((size_t)note->n_namesz, align);
		size_t len = desc + align_up((size_t)note->n_descsz, align);

		if (len > n)
			return 0;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
		    memcmp(p + sizeof(*note), "GNU", 4) == 0)
			return XXH3_64bits(p + desc, note->n_descsz);
		p += len;
		n -= len;
	}
	return 0;
}

/* Looks at the first object only: the executable itself. */
static int build_id_of_object(struct dl_phdr_info *info, size_t size, void *out)
{
	uint64_t *id = out;

	for (int i = 0; i < info->dlpi_phnum && !*id; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_NOTE)
			*id = build_id_in_notes((const char *)info->dlpi_addr + ph->p_vaddr,
						ph->p_memsz, ph->p_align == 8 ? 8 : 4);
	}
	return 1;
}

/* Stands in for a build id: differs whenever a shared structure does. */
static uint64_t layout_of_everything(void)
{
	static const uint64_t words[] = {
		sizeof(struct seg_header),
		sizeof(struct prcu_reader),
		sizeof(struct prcu_gp),
		sizeof(struct arena_stats),
		sizeof(struct blob),
		sizeof(struct version),
		offsetof(struct version, hot),
		offsetof(struct version, holes),
		sizeof(struct hot),
		sizeof(struct counts),
		sizeof(struct entry),
		offsetof(struct entry, counts),
		offsetof(struct entry, name),
		sizeof(struct edge),
		sizeof(struct labelset),
		sizeof(struct nodeslot),
		PART_COUNT,
		ARENA_UNIT,
	};

	return XXH3_64bits(words, sizeof(words));
}

uint64_t weft_build_id(void)
{
	static _Atomic uint64_t cached;
	uint64_t id = atomic_load_explicit(&cached, memory_order_relaxed);

	if (id)
		return id;
	dl_iterate_phdr(build_id_of_object, &id);
	if (!id)
		id = layout_of_everything();
	/* Threads that race compute the same. */
	atomic_store_explicit(&cached, id, memory_order_relaxed);
	return id;
}

/* --- Creating and growing ------------------------------------------------------- */

static int check_name(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n < 2 || n >= SEG_NAME_MAX || name[0] != '/' || strchr(name + 1, '/'))
		return err_set(e, WEFT_EINVAL, "segment '%s': not a segment name", name);
	return 0;
}

/* Reserve [from, to) of the file; 0 or an errno value.  The file is as before
 * on failure. */
static int reserve(int fd, uint64_t from, uint64_t to)
{
	int rc;

	if (fault_fails(memory_segment))
		return errno;
	do
		rc = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
	while (rc == EINTR);
	return rc;
}

/* Have the kernel back a huge page of the file, untouched so far, with one of memory:
 * taken in one piece, and mapped by one entry in every process.  MADV_COLLAPSE does so
 * whatever the machine's settings for huge pages of shared memory, where there is
 * something to begin with.  Where the kernel cannot, or has none to give, small pages
 * do. */
static void reserve_huge(const struct seg *s, uint64_t from)
{
#ifdef MADV_COLLAPSE
	if (!posix_fallocate(s->fd, (off_t)from, (off_t)SEG_PAGE))
		madvise(s->base + from, SEG_HUGE, MADV_COLLAPSE);
#endif
}

/* As reserve(), in huge pages where [from, to) covers them and they are at hand, and with
 * page tables at once instead of a fault for each page; where the kernel cannot, faults
 * do.  `from` is the file's size. */
static int reserve_mapped(struct seg *s, uint64_t from, uint64_t to)
{
	uint64_t bytes = to - from, at = align_up(from, SEG_HUGE);
	int64_t start = clock_thread_ns();
	int rc;

	for (; pages_huge(&s->pages) && at + SEG_HUGE <= to; at += SEG_HUGE)
		reserve_huge(s, at);
	rc = reserve(s->fd, from, to);
	if (rc)
		return ftruncate(s->fd, (off_t)from) ? errno : rc;
#ifdef MADV_POPULATE_WRITE
	from = from / SEG_PAGE * SEG_PAGE;
	madvise(s->base + from, to - from, MADV_POPULATE_WRITE);
#endif
	if (bytes >= SEG_HUGE)
		pages_took(&s->pages, bytes, clock_thread_ns() - start);
	return 0;
}

/* `n` bytes of address space that nothing uses, beginning where a huge page may. */
static char *address_space(uint64_t n)
{
	char *p = mmap(NULL, n + SEG_HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	uint64_t skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = align_up((uintptr_t)p, SEG_HUGE) - (uintptr_t)p;
	if (skip)
		munmap(p, skip);
	munmap(p + skip + n, SEG_HUGE - skip);
	return p + skip;
}

static int map(struct seg *s, struct err *e)
{
	int prot = s->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED, rc;
	uint64_t room = align_up(s->size_max, SEG_PAGE);
	char *at = address_space(room);

	if (at && mmap(at, s->size_max, prot, flags, s->fd, 0) != MAP_FAILED) {
		s->base = at;
		return 0;
	}
	rc = err_errno(e, errno, "segment '%s': map %llu bytes", s->name,
		       (unsigned long long)s->size_max);
	if (at)
		munmap(at, room);
	return rc;
}

static void write_header(struct seg *s, enum seg_kind kind, uint32_t layout, uint64_t size)
{
	struct seg_header *h = seg_header(s);

	h->kind = kind;
	h->layout = layout;
	h->build = weft_build_id();
	atomic_store_explicit(&h->size, size, memory_order_relaxed);
	h->size_max = s->size_max;
	h->creator_pid = getpid();
	memcpy(h->name, s->name, sizeof(h->name));
	/* [seg.R1] pairs with [seg.A1]: the header is whole. */
	atomic_store_explicit(&h->magic, SEG_MAGIC, memory_order_release);
}

static void seg_init(struct seg *s, const char *name, bool writable)
{
	*s = (struct seg){.fd = -1, .writable = writable};
	memcpy(s->name, name, strlen(name));
}

int seg_create(struct seg *s, const char *name, enum seg_kind kind, uint32_t layout, uint64_t size,
	       uint64_t size_max, struct err *e)
{
	int rc = check_name(name, e);

	if (rc)
		return rc;
	if (size < sizeof(struct seg_header) || size > size_max)
		return err_set(e, WEFT_EINVAL, "segment '%s': %llu bytes of at most %llu", name,
			       (unsigned long long)size, (unsigned long long)size_max);
	seg_init(s, name, true);
	s->size_max = size_max;
	s->fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return err_errno(e, errno, "segment '%s': create", name);
	rc = reserve(s->fd, 0, size);
	if (rc)
		rc = err_errno(e, rc, "segment '%s': reserve %llu bytes", name,
			       (unsigned long long)size);
	else
		rc = map(s, e);
	if (rc) {
		shm_unlink(name);
		seg_close(s);
		return rc;
	}
	write_header(s, kind, layout, size);
	return 0;
}

/* --- Growing ahead ---------------------------------------------------------------- */

/* `lock` guards all that follows it; the thread alone moves `done`. */
struct seg_ahead {
	struct seg *s;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t done, want; /* bytes from the beginning: reserved, asked for */
	uint64_t need;	     /* somebody waits for so many */
	int failed;	     /* errno of the last chunk, 0: it succeeded */
	bool stop;
};

static void ahead_reserve(struct seg_ahead *a)
{
	uint64_t from = a->done, to = align_up(from + 1, SEG_HUGE), need = a->need;
	int rc;

	/* At most a huge page in one go: who waits, waits for that. */
	if (to > a->want)
		to = a->want;
	pthread_mutex_unlock(&a->lock);
	rc = reserve_mapped(a->s, from, to);
	if (rc && need > from && need < to) /* the last that there is */
		rc = reserve_mapped(a->s, from, to = need);
	pthread_mutex_lock(&a->lock);
	a->failed = rc;
	if (!rc)
		a->done = to;
	pthread_cond_broadcast(&a->changed);
}

static void *ahead_main(void *arg)
{
	struct seg_ahead *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stop)
		if (a->done < a->want && !a->failed)
			ahead_reserve(a);
		else
			pthread_cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* Wait until `size` bytes are reserved, and ask for what comes next; 0 or an
 * errno value. */
static int ahead_take(struct seg_ahead *a, uint64_t size)
{
	uint64_t next = seg_next(size), max = a->s->size_max;
	int rc = 0;

	pthread_mutex_lock(&a->lock);
	if (a->done < size)
		a->failed = 0; /* there may be memory again */
	a->want = next < max ? next : max;
	a->need = size;
	pthread_cond_broadcast(&a->changed);
	while (a->done < size && !a->failed)
		pthread_cond_wait(&a->changed, &a->lock);
	if (a->done < size)
		rc = a->failed;
	pthread_mutex_unlock(&a->lock);
	return rc;
}

int seg_grow_ahead(struct seg *s, struct err *e)
{
	struct seg_ahead *a = calloc(1, sizeof(*a));
	int rc;

	weft_assert(s->writable && !s->ahead);
	if (!a)
		return err_set(e, WEFT_ENOMEM, "segment '%s': grow ahead", s->name);
	a->s = s;
	a->done = a->want = atomic_load_explicit(&seg_header(s)->size, memory_order_relaxed);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	rc = pthread_create(&a->thread, NULL, ahead_main, a);
	if (rc) {
		free(a);
		return err_errno(e, rc, "segment '%s': a thread to grow ahead", s->name);
	}
	s->ahead = a;
	return 0;
}

static void ahead_stop(struct seg_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	free(a);
}

int seg_grow(struct seg *s, uint64_t size, struct err *e)
{
	struct seg_header *h = seg_header(s);
	uint64_t old = atomic_load_explicit(&h->size, memory_order_relaxed);
	int rc;

	weft_assert(s->writable);
	if (size <= old)
		return 0;
	if (size > s->size_max)
		return err_set(e, WEFT_ENOMEM, "segment '%s': grow to %llu bytes: at most %llu",
			       s->name, (unsigned long long)size, (unsigned long long)s->size_max);
	rc = s->ahead ? ahead_take(s->ahead, size) : reserve_mapped(s, old, size);
	if (rc) {
		err_errno(e, rc, "segment '%s': grow to %llu bytes", s->name,
			  (unsigned long long)size);
		if (e)
			e->code = WEFT_ENOMEM;
		return WEFT_ENOMEM;
	}
	/* [seg.R2] pairs with [seg.A2]: the memory is there. */
	atomic_store_explicit(&h->size, size, memory_order_release);
	return 0;
}

/* --- Opening --------------------------------------------------------------------- */

/* Whether it is ours alone; *bytes becomes the file's size. */
static int check_file(const struct seg *s, uint64_t *bytes, struct err *e)
{
	struct stat st;

	if (fstat(s->fd, &st) < 0)
		return err_errno(e, errno, "segment '%s': stat", s->name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, WEFT_EFORBIDDEN, "segment '%s': not a regular file", s->name);
	if (st.st_uid != geteuid())
		return err_set(e, WEFT_EFORBIDDEN, "segment '%s': belongs to uid %u, not to %u",
			       s->name, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 0177)
		return err_set(e, WEFT_EFORBIDDEN, "segment '%s': mode %04o, must be 0600", s->name,
			       (unsigned)(st.st_mode & 07777));
	*bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_identity(const struct seg *s, const struct seg_header *h, enum seg_kind kind,
			  uint32_t layout, struct err *e)
{
	const struct {
		const char *what;
		uint64_t is, want;
	} same[] = {
		{"kind", h->kind, kind},
		{"layout", h->layout, layout},
		{"build", h->build, weft_build_id()},
	};

	for (size_t i = 0; i < countof(same); i++)
		if (same[i].is != same[i].want)
			return err_set(e, WEFT_ELAYOUT,
				       "segment '%s': made by another version or build: %s is "
				       "%llx, this one has %llx",
				       s->name, same[i].what, (unsigned long long)same[i].is,
				       (unsigned long long)same[i].want);
	return 0;
}

static int check_size(const struct seg *s, const struct seg_header *h, struct err *e)
{
	/* [seg.A2] pairs with [seg.R2]: the file was that long before. */
	uint64_t size = atomic_load_explicit(&h->size, memory_order_acquire);
	uint64_t bytes;
	int rc = check_file(s, &bytes, e);

	if (rc)
		return rc;
	if (size < sizeof(*h) || size > bytes || size > h->size_max)
		return err_set(e, WEFT_ECORRUPT,
			       "segment '%s': damaged: has %llu bytes, its header says %llu of at "
			       "most %llu",
			       s->name, (unsigned long long)bytes, (unsigned long long)size,
			       (unsigned long long)h->size_max);
	return 0;
}

/* The header is mapped alone first: only it says how much to map. */
static int check_header(struct seg *s, enum seg_kind kind, uint32_t layout, struct err *e)
{
	struct seg_header *h = mmap(NULL, sizeof(*h), PROT_READ, MAP_SHARED, s->fd, 0);
	uint64_t magic;
	int rc;

	if (h == MAP_FAILED)
		return err_errno(e, errno, "segment '%s': map its header", s->name);
	/* [seg.A1] pairs with [seg.R1]: what follows is whole and constant. */
	magic = atomic_load_explicit(&h->magic, memory_order_acquire);
	if (!magic)
		rc = err_set(e, WEFT_EAGAIN, "segment '%s': not finished yet", s->name);
	else if (magic != SEG_MAGIC)
		rc = err_set(e, WEFT_ELAYOUT,
			     "segment '%s': not a segment of weft: magic is %llx, must be %llx",
			     s->name, (unsigned long long)magic, (unsigned long long)SEG_MAGIC);
	else
		rc = check_identity(s, h, kind, layout, e);
	if (!rc)
		rc = check_size(s, h, e);
	s->size_max = h->size_max;
	munmap(h, sizeof(*h));
	return rc;
}

int seg_open(struct seg *s, const char *name, enum seg_kind kind, uint32_t layout, bool writable,
	     struct err *e)
{
	int rc = check_name(name, e);
	uint64_t bytes;

	if (rc)
		return rc;
	seg_init(s, name, writable);
	s->fd = shm_open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
	if (s->fd < 0)
		return err_errno(e, errno, "segment '%s': open", name);
	rc = check_file(s, &bytes, e);
	if (!rc && bytes == 0)
		rc = err_set(e, WEFT_EAGAIN, "segment '%s': not finished yet", name);
	if (!rc && bytes < sizeof(struct seg_header))
		rc = err_set(e, WEFT_ECORRUPT,
			     "segment '%s': damaged: has %llu bytes, a header %zu", name,
			     (unsigned long long)bytes, sizeof(struct seg_header));
	if (!rc)
		rc = check_header(s, kind, layout, e);
	if (!rc)
		rc = map(s, e);
	if (rc)
		seg_close(s);
	return rc;
}

/* --- Closing and removing ----------------------------------------------------------- */

void seg_close(struct seg *s)
{
	if (s->ahead)
		ahead_stop(s->ahead);
	s->ahead = NULL;
	if (s->base)
		munmap(s->base, s->size_max);
	if (s->fd >= 0)
		close(s->fd);
	s->base = NULL;
	s->fd = -1;
}

int seg_unlink(const char *name, struct err *e)
{
	if (shm_unlink(name) < 0 && errno != ENOENT)
		return err_errno(e, errno, "segment '%s': remove", name);
	return 0;
}

int seg_unlink_all(const char *prefix, struct err *e)
{
	size_t n = strlen(prefix);
	struct dirent *d;
	int removed = 0, rc = 0;
	DIR *dir;

	if (n < 2 || prefix[0] != '/')
		return err_set(e, WEFT_EINVAL, "segments '%s*': not a prefix of segments", prefix);
	dir = opendir(SHM_DIR);
	if (!dir)
		return err_errno(e, errno, "list %s", SHM_DIR);
	while ((d = readdir(dir))) {
		char name[sizeof(d->d_name) + 1];

		snprintf(name, sizeof(name), "/%s", d->d_name);
		if (strncmp(name, prefix, n) != 0)
			continue;
		rc = seg_unlink(name, e);
		if (rc)
			break;
		removed++;
	}
	closedir(dir);
	return rc ? rc : removed;
}

/* --- What others left --------------------------------------------------------------- */

void seg_hold(struct seg *s)
{
	if (flock(s->fd, LOCK_EX | LOCK_NB) < 0)
		log_warn("segment '%s': lock: %s", s->name, strerror(errno));
}

/* Is it ours, not new, and held by nobody? */
static bool is_left(const char *name)
{
	int fd = shm_open(name, O_RDONLY | O_CLOEXEC, 0);
	struct seg_header h;
	struct stat st;
	bool left = fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
		    pread(fd, &h, sizeof(h), 0) == sizeof(h) && h.build == weft_build_id() &&
		    time(NULL) - st.st_ctime > SEG_SWEEP_S && flock(fd, LOCK_EX | LOCK_NB) == 0;

	if (fd >= 0)
		close(fd);
	return left;
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);

	return n >= k && strcmp(name + n - k, suffix) == 0;
}

int seg_sweep(const char *prefix, const char *suffix)
{
	DIR *dir = opendir(SHM_DIR);
	struct dirent *d;
	int swept = 0;

	if (!dir)
		return 0;
	while ((d = readdir(dir))) {
		char name[sizeof(d->d_name) + 1];

		snprintf(name, sizeof(name), "/%s", d->d_name);
		if (strncmp(name, prefix, strlen(prefix)) != 0 || !ends_with(name, suffix) ||
		    !is_left(name))
			continue;
		name[strlen(name) - strlen(suffix)] = '\0';
		swept += seg_unlink_all(name, NULL) > 0;
	}
	closedir(dir);
	return swept;
}
