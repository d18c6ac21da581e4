/* What the CUDA kernels of embedding's backward work in: byte offsets into the workspace. */
#ifndef OP_CUDA_EMBEDDING_H
#define OP_CUDA_EMBEDDING_H

#include <stddef.h>

enum {
	EMBEDDING_DIGITS = 256,	/* values of a digit that one pass of the sort looks at */
	EMBEDDING_TILE = 2048,	/* tokens that a block sorts in */
	EMBEDDING_CHUNK = 64,	/* sorted tokens whose gradients a block adds up */
};

struct embedding_room {
	long n_tiles, n_chunks;
	size_t token[2], position[2];	/* [n] ints before and after a pass */
	size_t count;			/* [digits, tiles] ints */
	size_t first;			/* [V + 1] ints: where the tokens of a row begin, sorted */
	size_t part;			/* [chunks, 2, D] floats */
	size_t bytes;
};

static inline size_t embedding_part(struct embedding_room *m, long elements)
{
	size_t at = m->bytes;

	m->bytes += ((size_t)elements * 4 + 255) / 256 * 256;
	return at;
}

/* For n tokens and a table of v rows of d columns. */
static inline struct embedding_room embedding_room(long n, long v, long d)
{
	struct embedding_room m;

	m.bytes = 0;
	m.n_tiles = (n + EMBEDDING_TILE - 1) / EMBEDDING_TILE;
	m.n_chunks = (n + EMBEDDING_CHUNK - 1) / EMBEDDING_CHUNK;
	for (int i = 0; i < 2; i++) {
		m.token[i] = embedding_part(&m, n);
		m.position[i] = embedding_part(&m, n);
	}
	m.count = embedding_part(&m, m.n_tiles * EMBEDDING_DIGITS);
	m.first = embedding_part(&m, v + 1);
	m.part = embedding_part(&m, m.n_chunks * 2 * d);
	return m;
}

#endif
