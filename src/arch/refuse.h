/* What does not go together in a spec. */
#ifndef ARCH_REFUSE_H
#define ARCH_REFUSE_H

#include "spec/config.h"

/* -1 after "FILE: the message (KEY at FILE:LINE, ...)": where the keys were set that the message names, for FILE may
   have them from a base, and the pattern of layers, whose entries may have them; of a value that came with another key
   (a router's name, a recipe) where that one was set. The message names a key in full, or by its last part (of keys
   outside model.* if that has a _) where some key of its group stands in full. */
int refuse(const struct config *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
