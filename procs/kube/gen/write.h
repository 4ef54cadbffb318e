/* write.h - what write.c and schemas.c share. */
#ifndef KUBEGEN_WRITE_H
#define KUBEGEN_WRITE_H

#include "procs/kube/gen/kubegen.h"

void gen_put_strings(FILE *out, const char *words);
/* `types[]` (static, in the order of g->types) and all that it stands on. */
void gen_put_schemas(const struct gen *g, FILE *out);

#endif
