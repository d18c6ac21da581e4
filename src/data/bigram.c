#include "data/bigram.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/num.h"
#include "base/path.h"

enum { CHUNK = 1 << 18 };	/* tokens read at once */

static int rising(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

long bigrams_sort(uint32_t *bigrams, long n)
{
	long kept = 0;

	qsort(bigrams, (size_t)n, sizeof *bigrams, rising);
	for (long i = 0; i < n; i++)
		if (!kept || bigrams[i] != bigrams[kept - 1])
			bigrams[kept++] = bigrams[i];
	return kept;
}

long bigrams_find(const uint32_t *bigrams, long n, uint32_t bigram)
{
	const uint32_t *found = bsearch(&bigram, bigrams, (size_t)n, sizeof *bigrams, rising);

	return found ? found - bigrams : -1;
}

/* --- what was counted before --------------------------------------------------------------- */

static bool read_counts(const char *path, const char *key, long n, long *counts)
{
	json_t *root = path_exists(path) ? json_load_file(path, 0, NULL) : NULL, *list, *count;
	const char *kept;
	size_t i;
	bool good = root && !json_unpack(root, "{ss so}", "of", &kept, "counts", &list) &&
		!strcmp(kept, key) && (long)json_array_size(list) == n;

	if (good)
		json_array_foreach(list, i, count)
			counts[i] = (long)json_integer_value(count);
	json_decref(root);
	return good;
}

/* Several runs may do this at once: each replaces the file as a whole. */
static void keep_counts(const char *path, const char *key, long n, const long *counts)
{
	json_t *list = json_array(), *root;
	char *text;

	for (long i = 0; i < n; i++)
		json_array_append_new(list, json_integer(counts[i]));
	root = json_pack("{ss so}", "of", key, "counts", list);
	text = json_dumps(root, JSON_COMPACT);
	path_write(path, text, strlen(text));
	free(text);
	json_decref(root);
}

/* --- counting ------------------------------------------------------------------------------ */

/* Open addressing; a slot holds a place among the bigrams, or -1. */
struct places {
	const uint32_t *bigrams;
	int32_t *slots;
	uint32_t mask;		/* number of slots - 1 */
};

static uint32_t slot_of(const struct places *p, uint32_t bigram)
{
	uint32_t i = bigram * 0x9E3779B1u;

	for (i ^= i >> 15; p->slots[i & p->mask] >= 0; i++)
		if (p->bigrams[p->slots[i & p->mask]] == bigram)
			break;
	return i & p->mask;
}

static void places_open(struct places *p, const uint32_t *bigrams, long n)
{
	size_t size = 16;

	while (size < 2 * (size_t)n)
		size *= 2;
	*p = (struct places){bigrams, xmalloc(size * sizeof *p->slots), (uint32_t)size - 1};
	memset(p->slots, -1, size * sizeof *p->slots);
	for (long i = 0; i < n; i++)
		p->slots[slot_of(p, bigrams[i])] = (int32_t)i;
}

/* Those that begin at tokens first .. first + n - 1 of the split. */
static int count_chunk(const struct dataset *d, const struct places *p, long first, long n, long *counts)
{
	int32_t *tokens = xmalloc((size_t)(n + 1) * sizeof *tokens);
	int ret = dataset_read(d, SPLIT_TRAIN, first, n + 1, tokens);

	for (long i = 0; i < n && !ret; i++) {
		int32_t place = p->slots[slot_of(p, bigram_of(tokens[i], tokens[i + 1]))];
		if (place >= 0)
			counts[place]++;
	}
	free(tokens);
	return ret;
}

static int count(const struct dataset *d, const struct places *p, long n, long *counts)
{
	long all = d->splits[SPLIT_TRAIN].n_tokens - 1, failed = 0;

	#pragma omp parallel reduction(+:failed)
	{
		long *mine = xcalloc((size_t)n, sizeof *mine);

		#pragma omp for schedule(dynamic)
		for (long first = 0; first < all; first += CHUNK)
			failed += count_chunk(d, p, first, min_long(CHUNK, all - first), mine) != 0;
		#pragma omp critical
		for (long i = 0; i < n; i++)
			counts[i] += mine[i];
		free(mine);
	}
	return failed ? -1 : 0;
}

/* The split and the bigrams. */
static void key_of(const struct dataset *d, const uint32_t *bigrams, long n, char key[HASH_HEX])
{
	struct hash *h = hash_open();

	hash_add(h, d->splits[SPLIT_TRAIN].hash, HASH_HEX);
	hash_add(h, bigrams, (size_t)n * sizeof *bigrams);
	hash_close(h, key);
}

int dataset_bigrams(const struct dataset *d, const uint32_t *bigrams, long n, long *counts)
{
	char key[HASH_HEX], *path = path_join(d->folder, "train_bigrams.json");
	struct places places;
	int ret = 0;

	key_of(d, bigrams, n, key);
	if (!read_counts(path, key, n, counts)) {
		memset(counts, 0, (size_t)n * sizeof *counts);
		places_open(&places, bigrams, n);
		ret = count(d, &places, n, counts);
		free(places.slots);
		if (!ret && !access(d->folder, W_OK))
			keep_counts(path, key, n, counts);
	}
	free(path);
	return ret;
}
