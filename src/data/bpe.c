#include "data/bpe.h"

#include <stdlib.h>

#include "base/error.h"

enum { TOKENS_MAX = 65000, SLOT_BITS = 17, SLOTS = 1 << SLOT_BITS };
enum { NONE = 0xffff };		/* an id that no token has, and no join */

struct bpe_join {
	uint32_t pair;		/* left id << 16 | right id */
	uint32_t id;		/* of the joined; 0: the slot is free */
};

/* Pieces form a list in the order of the text. What was joined to the piece on its left stays in
   memory with the id NONE, so that heap entries which name it can be seen to be stale. */
struct bpe_piece {
	uint32_t previous, next;
	uint32_t id;
};

void bpe_init(struct bpe *b, const uint8_t bytes[256])
{
	*b = (struct bpe){.n_tokens = 256};
	b->joins = xcalloc(SLOTS, sizeof *b->joins);
	b->ends = xmalloc(TOKENS_MAX * sizeof *b->ends);
	str_init(&b->text);
	str_add_bytes(&b->text, bytes, 256);
	for (uint16_t id = 0; id < 256; id++) {
		b->id_of_byte[bytes[id]] = id;
		b->ends[id] = id + 1u;
	}
}

void bpe_release(struct bpe *b)
{
	free(b->joins);
	free(b->ends);
	str_release(&b->text);
	free(b->pieces);
	free(b->heap);
	*b = (struct bpe){0};
}

/* The slot that holds the pair, or the free one where it belongs. */
static struct bpe_join *find(const struct bpe *b, uint32_t left, uint32_t right)
{
	uint32_t pair = left << 16 | right;
	uint32_t i = pair * 0x9E3779B1u >> (32 - SLOT_BITS);

	while (b->joins[i].id && b->joins[i].pair != pair)
		i = (i + 1) % SLOTS;
	return &b->joins[i];
}

void bpe_add_token(struct bpe *b, const uint8_t *bytes, size_t n)
{
	struct token_list ids = {0};
	struct bpe_join *join;

	bpe_encode(b, bytes, n, &ids);
	CHECK(ids.n == 2 && b->n_tokens < TOKENS_MAX);
	join = find(b, ids.id[0], ids.id[1]);
	join->pair = (uint32_t)ids.id[0] << 16 | ids.id[1];
	join->id = (uint32_t)b->n_tokens;
	str_add_bytes(&b->text, bytes, n);
	b->ends[b->n_tokens++] = (uint32_t)b->text.length;
	token_list_release(&ids);
}

void bpe_decode(const struct bpe *b, int id, struct str *out)
{
	uint32_t start = id ? b->ends[id - 1] : 0;

	CHECK(id >= 0 && id < b->n_tokens);
	str_add_bytes(out, b->text.text + start, b->ends[id] - start);
}

/* --- the heap: smallest entry first -------------------------------------------------------- */

static void heap_push(struct bpe *b, uint64_t entry)
{
	size_t i = b->n_heap++, parent;

	for (; i && b->heap[parent = (i - 1) / 2] > entry; i = parent)
		b->heap[i] = b->heap[parent];
	b->heap[i] = entry;
}

static uint64_t heap_pop(struct bpe *b)
{
	uint64_t top = b->heap[0], last = b->heap[--b->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < b->n_heap) {
		if (child + 1 < b->n_heap && b->heap[child + 1] < b->heap[child])
			child++;
		if (b->heap[child] >= last)
			break;
		b->heap[i] = b->heap[child];
		i = child;
	}
	b->heap[i] = last;
	return top;
}

/* --- encoding ------------------------------------------------------------------------------ */

/* The id that piece i and the next would be joined to; 0: none. */
static uint32_t joined(const struct bpe *b, uint32_t i)
{
	const struct bpe_piece *piece = &b->pieces[i];

	return find(b, piece->id, b->pieces[piece->next].id)->id;
}

static void consider(struct bpe *b, uint32_t i)
{
	uint32_t id = joined(b, i);

	if (id)
		heap_push(b, (uint64_t)id << 32 | i);
}

static void join(struct bpe *b, uint32_t i, uint32_t id)
{
	struct bpe_piece *piece = &b->pieces[i], *gone = &b->pieces[piece->next];

	piece->id = id;
	piece->next = gone->next;
	b->pieces[piece->next].previous = i;
	gone->id = NONE;
	if (i)
		consider(b, piece->previous);
	consider(b, i);
}

/* The bytes of the word as pieces, behind them one with the id NONE. */
static void start(struct bpe *b, const uint8_t *word, uint32_t n)
{
	GROW(b->pieces, n + (size_t)1, b->pieces_size);
	/* n - 1 joins at the start; each join takes its entry away and adds at most two */
	GROW(b->heap, 2 * (size_t)n, b->heap_size);
	for (uint32_t i = 0; i < n; i++)
		b->pieces[i] = (struct bpe_piece){i - 1, i + 1, b->id_of_byte[word[i]]};
	b->pieces[n] = (struct bpe_piece){.next = n, .id = NONE};
	b->n_heap = 0;
	for (uint32_t i = 0; i < n; i++)
		consider(b, i);
}

void bpe_encode(struct bpe *b, const uint8_t *word, size_t n, struct token_list *out)
{
	CHECK(n < UINT32_MAX);
	start(b, word, (uint32_t)n);
	while (b->n_heap) {
		uint64_t entry = heap_pop(b);
		uint32_t i = (uint32_t)entry, id = (uint32_t)(entry >> 32);
		if (joined(b, i) == id)		/* not stale */
			join(b, i, id);
	}
	for (uint32_t i = 0; i < n; i = b->pieces[i].next)
		token_list_add(out, (uint16_t)b->pieces[i].id);
}
