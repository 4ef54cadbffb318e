/*
 * turn.h - changes of one object, one after the other.
 *
 * A change is made from the newest state and refused if somebody was faster; of
 * many clients that change one object all but one would make theirs in vain, again
 * and again.  So of the changes that this process makes one at a time is on its
 * way for an object, and the others wait for their turn.
 */
#ifndef WEFT_APISERVER_TURN_H
#define WEFT_APISERVER_TURN_H

#include "procs/apiserver/write.h"

struct turn;

/* True: it is ch's turn, until turn_over().  False: its `begin` will be called when
 * it is; until then q counts as waiting for the store. */
bool turn_begin(struct request *q, struct change *ch,
		enum outcome (*begin)(struct request *q, struct change *ch));
/* ch is published, or never will be. */
void turn_over(struct api *api, struct change *ch);
/* Begin what can be begun; called once per turn of the loop. */
void turns_go_on(struct api *api);

#endif
