/*
 * openapi.h - the description of the API, for kubectl explain and for clients
 * that check before they send.  Made from the schema once, then kept.
 */
#ifndef WEFT_APISERVER_OPENAPI_H
#define WEFT_APISERVER_OPENAPI_H

#include "procs/apiserver/api.h"

enum outcome openapi_v2_get(struct request *q); /* JSON, or protobuf */
enum outcome openapi_v3_get(struct request *q); /* the index, or one group version */

#endif
