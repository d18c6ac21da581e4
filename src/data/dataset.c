#include "data/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "base/path.h"
#include "base/str.h"
#include "data/manifest.h"

const char *split_name(enum split s)
{
	static const char *const names[N_SPLITS] = {"train", "val", "tune"};

	CHECK((int)s >= 0 && s < N_SPLITS);
	return names[s];
}

bool dataset_is_series(const struct dataset *d)
{
	return !strcmp(d->tokenizer, SERIES);
}

static int open_file(struct dataset *d, enum split s, int i)
{
	struct dataset_split *split = &d->splits[s];
	long expected = min_long(d->file_tokens, split->n_tokens - i * d->file_tokens);
	char *path = manifest_token_path(d->folder, split, i);
	int ret = token_file_open(&split->files[i], path, d->vocab);

	if (!ret && split->files[i].n != expected)
		ret = error("%s: holds %ld tokens, dataset.json says %ld: import again", path,
			split->files[i].n, expected);
	free(path);
	return ret;
}

bool dataset_exists(const char *folder)
{
	char *path = path_join(folder, "dataset.json");
	bool exists = path_exists(path);

	free(path);
	return exists;
}

int dataset_open(struct dataset *d, const char *folder)
{
	int ret = manifest_load(d, folder);

	for (enum split s = 0; (int)s < d->n_splits && !ret; s++) {
		struct dataset_split *split = &d->splits[s];
		split->n_files = (int)((split->n_tokens + d->file_tokens - 1) / d->file_tokens);
		split->files = xcalloc((size_t)split->n_files, sizeof *split->files);
		for (int i = 0; i < split->n_files && !ret; i++)
			ret = open_file(d, s, i);
	}
	if (ret)
		dataset_close(d);
	return ret;
}

void dataset_close(struct dataset *d)
{
	for (int s = 0; s < d->n_splits; s++) {
		for (int i = 0; i < d->splits[s].n_files; i++)
			token_file_close(&d->splits[s].files[i]);
		free(d->splits[s].files);
		free(d->splits[s].name);
	}
	free(d->folder);
	free(d->tokenizer);
	*d = (struct dataset){0};
}

/* Returns the largest of the tokens. */
static int widen(int32_t *out, const uint16_t *tokens, long n)
{
	int32_t max = 0;

	for (long i = 0; i < n; i++) {
		int32_t id = tokens[i];
		out[i] = id;
		max = id > max ? id : max;
	}
	return max;
}

int dataset_read(const struct dataset *d, enum split s, long at, long n, int32_t *out)
{
	const struct dataset_split *split = &d->splits[s];

	CHECK(at >= 0 && n >= 0 && at + n <= split->n_tokens);
	while (n) {
		long i = at / d->file_tokens, from = at % d->file_tokens;
		long part = min_long(n, d->file_tokens - from);
		if (widen(out, split->files[i].tokens + from, part) >= d->vocab)
			return error("%s: damaged: a token of split %s from %ld on is not below "
				"the vocabulary of %d: import again", d->folder, split->name,
				at, d->vocab);
		at += part;
		n -= part;
		out += part;
	}
	return 0;
}

int dataset_verify(const struct dataset *d)
{
	for (enum split s = 0; (int)s < d->n_splits; s++) {
		const struct dataset_split *split = &d->splits[s];
		struct hash *h = hash_open();
		char hex[HASH_HEX];
		for (int i = 0; i < split->n_files; i++)
			hash_add(h, split->files[i].tokens, 2 * (size_t)split->files[i].n);
		hash_close(h, hex);
		if (strcmp(hex, split->hash))
			return error("%s: damaged: the tokens of split %s do not have the hash in "
				"dataset.json: import again", d->folder, split->name);
	}
	return 0;
}

int dataset_find_split(const struct dataset *d, const char *name, enum split *split)
{
	struct str names;

	for (*split = 0; (int)*split < d->n_splits; ++*split)
		if (!strcmp(name, d->splits[*split].name))
			return 0;
	str_init(&names);
	for (int i = 0; i < d->n_splits; i++)
		str_add_item(&names, "%s", d->splits[i].name);
	error("%s: no split \"%s\" (there is: %s)", d->folder, name, names.text);
	str_release(&names);
	return -1;
}

double dataset_bits_per_nat(const struct dataset *d, enum split s)
{
	const struct dataset_split *split = &d->splits[s];

	return split->n_bytes ? (double)split->n_tokens / (double)split->n_bytes / M_LN2 : 0.0;
}
