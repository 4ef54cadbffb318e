/*
 * malformed.h - what is wrong with JSON text, in the words that Go programs
 * know.
 */
#ifndef WEFT_APISERVER_MALFORMED_H
#define WEFT_APISERVER_MALFORMED_H

#include "procs/apiserver/api.h"

/* The message of Go's encoding/json for the first error in `text`, in the zone;
 * empty if it finds none (it asks for less than our decoder: for instance, not
 * for UTF-8). */
struct str json_complaint(zone *z, struct str text);

#endif
