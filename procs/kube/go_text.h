/*
 * go_text.h - texts as Go's fmt writes them: they are part of error messages.
 */
#ifndef WEFT_KUBE_GO_TEXT_H
#define WEFT_KUBE_GO_TEXT_H

#include "weft/value.h"

/* In double quotes, as %q. */
struct str go_quote(zone *z, struct str s);
/* As %v: map[a:1 b:[x y]], keys in order. */
struct str go_print(zone *z, const value *v);

#endif
