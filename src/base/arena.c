#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { ALIGN = 64, BLOCK_BYTES = 64 * 1024 };

struct arena_block {
	_Alignas(ALIGN) struct arena_block *next;
	size_t used, size;		/* bytes of data[] */
	_Alignas(ALIGN) char data[];
};

static struct arena_block *block_new(size_t bytes)
{
	size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
	size_t total = (sizeof(struct arena_block) + size + ALIGN - 1) / ALIGN * ALIGN;
	struct arena_block *b = aligned_alloc(ALIGN, total);

	if (!b)
		die("out of memory: %zu bytes", total);
	memset(b, 0, total);
	b->size = size;
	return b;
}

void *arena_get(struct arena *a, size_t bytes)
{
	size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
	struct arena_block *b = a->blocks;

	if (!b || b->size - b->used < rounded) {
		b = block_new(rounded);
		b->next = a->blocks;
		a->blocks = b;
	}
	b->used += rounded;
	a->used_bytes += rounded;
	return b->data + b->used - rounded;
}

char *arena_strdup(struct arena *a, const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(arena_get(a, n), s, n);
}

char *arena_vprintf(struct arena *a, const char *format, va_list args)
{
	va_list again;

	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	char *text = arena_get(a, (size_t)n + 1);
	vsnprintf(text, (size_t)n + 1, format, again);
	va_end(again);
	return text;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *text = arena_vprintf(a, format, args);
	va_end(args);
	return text;
}

void arena_release(struct arena *a)
{
	struct arena_block *b, *next;

	for (b = a->blocks; b; b = next) {
		next = b->next;
		free(b);
	}
	*a = (struct arena){0};
}
