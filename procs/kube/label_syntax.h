/*
 * label_syntax.h - what label keys and values may look like, with Kubernetes'
 * words for what is wrong with them.
 */
#ifndef WEFT_KUBE_LABEL_SYNTAX_H
#define WEFT_KUBE_LABEL_SYNTAX_H

#include "weft/value.h"

/* Empty if `key` is a qualified name ("app", "example.com/app"), else what is
 * wrong, several things joined by "; ". */
struct str label_key_problem(zone *z, struct str key);
/* The same for a label's value. */
struct str label_value_problem(zone *z, struct str v);

#endif
