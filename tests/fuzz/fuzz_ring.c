/* fuzz_ring.c - a consumer of a ring that its producer wrote as it likes.  The
 * input: head (8 bytes), tail (8 bytes), then data; read again with data turned
 * over, as if it changed meanwhile. */
#include <stdlib.h>

#include "weft/ring.h"

#define SIZE 256u

static void read_all(struct ring *r)
{
	struct str s;
	int rc;

	for (int i = 0; i < 100 && (rc = ring_peek(r, &s)) != 0; i++) {
		if (rc < 0)
			continue;
		weft_assert(s.n > 0 && s.p >= r->out->data && s.p + s.n <= r->out->data + SIZE);
		ring_next(r);
	}
	ring_release(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ring_out *out;
	struct ring_in in = {0};
	uint64_t head, tail;
	struct ring r;

	if (size < 16)
		return 0;
	memcpy(&head, data, 8);
	memcpy(&tail, data + 8, 8);
	out = aligned_alloc(CACHE_LINE, ring_bytes(SIZE));
	memset(out, 0, ring_bytes(SIZE));
	ring_init(out, SIZE);
	memcpy(out->data, data + 16, size - 16 < SIZE ? size - 16 : SIZE);
	atomic_store(&out->head, head);
	atomic_store(&in.tail, tail & ~7ull); /* the consumer's own */
	weft_assert(ring_consumer(&r, out, &in, SIZE, -1) == WEFT_OK);
	read_all(&r);
	for (uint32_t i = 0; i < SIZE / 2; i++) {
		char c = out->data[i];

		out->data[i] = out->data[SIZE - 1 - i];
		out->data[SIZE - 1 - i] = c;
	}
	atomic_fetch_add(&out->head, tail % SIZE & ~7ull);
	read_all(&r);
	free(out);
	return 0;
}
