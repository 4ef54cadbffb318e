/*
 * binding.h - what bindings and evictions answer.
 */
#ifndef WEFT_APISERVER_BINDING_H
#define WEFT_APISERVER_BINDING_H

#include "procs/apiserver/api.h"

/* {"kind": "Status", "status": "Success", "code": code} */
enum outcome answer_success(struct request *q, int code);

#endif
