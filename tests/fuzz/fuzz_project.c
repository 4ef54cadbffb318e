/* fuzz_project.c - what the store reads off stored parts: it accepts whatever
 * decodes, and nothing that lies outside the bytes is read.  Input: which part
 * (one byte), then its bytes. */
#include "weft/kube.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t holes[] = {1, 2, 3};
	static const uint16_t types[] = {TYPE_POD, TYPE_NODE, TYPE_REPLICASET, TYPE_JOB};
	struct str part[PART_COUNT] = {{NULL, 0}};
	struct version_in in = {.grace_s = -1};
	zone *z = zone_new();
	struct str bytes;
	value tree;
	int err;

	if (size > 1) {
		bytes = (struct str){(const char *)data + 1, (uint32_t)size - 1};
		part[data[0] % PART_COUNT] = bytes;
		err = kube_project(z, types[data[0] / 64], part, holes, 3, &in);
		weft_assert(v_decode(z, bytes, &tree) != WEFT_OK || err == WEFT_OK);
		weft_assert(in.nowners == 0 || in.owner_uids);
	}
	zone_free(z);
	return 0;
}
