/*
 * Host memory with a lifetime instead of an owner: many small pieces, freed all at once.
 * Pieces are zeroed and 64-byte aligned, and never move. Not for tensors (tensor/device.h).
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena {
	struct arena_block *blocks;	/* newest first */
	size_t used_bytes;		/* handed out, alignment included */
};

void *arena_get(struct arena *a, size_t bytes);			/* never NULL: exhaustion is fatal */
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *format, va_list args);
void arena_release(struct arena *a);				/* frees all; the arena is empty again */

#define ARENA_NEW(a, type)	((type *)arena_get((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n)	((type *)arena_get((a), sizeof(type) * (size_t)(n)))

#endif
