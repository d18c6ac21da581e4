#include "data/frequency.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"

enum { MAX_IDS = 1 << 16 };

static char *counts_path(const struct dataset *d)
{
	return path_join(d->folder, "train_counts.json");
}

/* True if the file is there, whole, and of these tokens. */
static bool read_counts(const struct dataset *d, long *counts_V)
{
	char *path = counts_path(d);
	json_t *root = path_exists(path) ? json_load_file(path, 0, NULL) : NULL, *list, *count;
	const char *hash;
	size_t i;
	bool good = root && !json_unpack(root, "{ss so}", "hash", &hash, "counts", &list) &&
		!strcmp(hash, d->splits[SPLIT_TRAIN].hash) &&
		json_array_size(list) == (size_t)d->vocab;

	if (good)
		json_array_foreach(list, i, count)
			counts_V[i] = (long)json_integer_value(count);
	json_decref(root);
	free(path);
	return good;
}

/* Several runs may do this at once: each replaces the file as a whole by the same. */
static void keep_counts(const struct dataset *d, const long *counts_V)
{
	char *path = counts_path(d), *text;
	json_t *list = json_array(), *root;

	for (int i = 0; i < d->vocab; i++)
		json_array_append_new(list, json_integer(counts_V[i]));
	root = json_pack("{ss so}", "hash", d->splits[SPLIT_TRAIN].hash, "counts", list);
	text = json_dumps(root, JSON_COMPACT);
	if (!access(d->folder, W_OK))
		path_write(path, text, strlen(text));
	free(text);
	json_decref(root);
	free(path);
}

static void count_file(const struct token_file *f, long *counts)
{
	#pragma omp parallel
	{
		long *mine = xcalloc(MAX_IDS, sizeof *mine);

		#pragma omp for schedule(static)
		for (long i = 0; i < f->n; i++)
			mine[f->tokens[i]]++;
		#pragma omp critical
		for (int id = 0; id < MAX_IDS; id++)
			counts[id] += mine[id];
		free(mine);
	}
}

int dataset_frequency(const struct dataset *d, long *counts_V)
{
	const struct dataset_split *train = &d->splits[SPLIT_TRAIN];
	long *counts, strangers = 0;

	if (read_counts(d, counts_V))
		return 0;
	counts = xcalloc(MAX_IDS, sizeof *counts);
	for (int i = 0; i < train->n_files; i++)
		count_file(&train->files[i], counts);
	for (int id = d->vocab; id < MAX_IDS; id++)
		strangers += counts[id];
	memcpy(counts_V, counts, (size_t)d->vocab * sizeof *counts);
	free(counts);
	if (strangers)
		return error("%s: damaged: %ld tokens of split train are not below the vocabulary of "
			"%d: import again", d->folder, strangers, d->vocab);
	keep_counts(d, counts_V);
	return 0;
}
