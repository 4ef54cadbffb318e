/*
 * kubegen - makes C from the schema's text.
 *
 *   kubegen types|ids|tables TYPES.txt RESOURCES.tsv >OUT
 *   kubegen protobuf PROTOBUF.txt >OUT
 *
 * types: kube_types.h, the numbers of the stored kinds.  ids: kube_schema_ids.h,
 * the places of types.  tables: kube_tables.c, schema and resources as constants
 * (weft/schema.h, weft/kube.h).
 */
#include <stdlib.h>
#include <string.h>

#include "procs/kube/gen/kubegen.h"

int main(int argc, char **argv)
{
	struct gen g = {0};

	if (argc == 3 && !strcmp(argv[1], "protobuf")) {
		gen_write_protobuf(argv[2], stdout);
		return fflush(stdout) || ferror(stdout);
	}
	if (argc != 4)
		gen_die("usage: kubegen types|ids|tables TYPES.txt RESOURCES.tsv");
	gen_read_types(&g, argv[2]);
	gen_read_resources(&g, argv[3]);
	if (!strcmp(argv[1], "types"))
		gen_write_types_h(&g, stdout);
	else if (!strcmp(argv[1], "ids"))
		gen_write_ids_h(&g, stdout);
	else if (!strcmp(argv[1], "tables"))
		gen_write_tables(&g, stdout);
	else
		gen_die("what is \"%s\"?", argv[1]);
	return fflush(stdout) || ferror(stdout);
}
