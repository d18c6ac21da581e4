#include "data/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"

#define FORMAT "moelab dataset"
enum { VERSION_TEXT = 1, VERSION_ROWS = 2 };	/* a moelab that knows no rows refuses those */

char *manifest_token_path(const char *folder, const struct dataset_split *s, int i)
{
	return xasprintf("%s/%s%s_%06d.bin", folder, s->length ? "test-" : "", s->name, i);
}

json_t *manifest_text(const char *text)
{
	json_t *json = json_string(text);

	return json ? json : json_string("(not UTF-8)");
}

static void identity(const struct dataset *d, char hex[HASH_HEX])
{
	struct str s;

	str_init(&s);
	str_printf(&s, "%s %d %d", d->tokenizer, d->vocab, d->eot);
	for (int i = 0; i < N_SPLITS; i++)
		str_printf(&s, " %ld %s", d->splits[i].n_tokens, d->splits[i].hash);
	for (int i = 0; i < d->n_splits && d->splits[SPLIT_TRAIN].row; i++)
		str_printf(&s, " %s %ld %ld %s", d->splits[i].name, d->splits[i].row,
			d->splits[i].n_tokens, d->splits[i].hash);
	hash_bytes(s.text, s.length, hex);
	str_release(&s);
}

static json_t *split_json(const struct dataset_split *s)
{
	return json_pack("{sI sI sI sf ss}", "tokens", (json_int_t)s->n_tokens, "documents",
		(json_int_t)s->n_documents, "bytes", (json_int_t)s->n_bytes, "bytes_per_token",
		s->n_tokens ? (double)s->n_bytes / (double)s->n_tokens : 0.0, "hash", s->hash);
}

/* What only rows have: their length, and the test sets. */
static void add_rows(json_t *root, const struct dataset *d)
{
	json_t *tests = json_array();

	json_object_set_new(root, "row", json_integer(d->splits[SPLIT_TRAIN].row));
	for (int i = N_SPLITS; i < d->n_splits; i++) {
		const struct dataset_split *s = &d->splits[i];
		json_t *test = json_pack("{ss sI sI sI}", "name", s->name, "length",
			(json_int_t)s->length, "items", (json_int_t)s->items, "row", (json_int_t)s->row);
		json_object_update_new(test, split_json(s));
		json_array_append_new(tests, test);
	}
	json_object_set_new(root, "tests", tests);
	if (d->season)
		json_object_set_new(root, "season", json_integer(d->season));
}

int manifest_save(struct dataset *d, json_t *provenance)
{
	char *path = path_join(d->folder, "dataset.json"), *json, *text;
	json_t *splits = json_object(), *root;
	int ret;

	identity(d, d->hash);
	for (enum split s = 0; s < N_SPLITS; s++)
		json_object_set_new(splits, split_name(s), split_json(&d->splits[s]));
	root = json_pack("{ss si ss si si ss sI so}", "format", FORMAT, "version",
		d->splits[SPLIT_TRAIN].row ? VERSION_ROWS : VERSION_TEXT, "tokenizer", d->tokenizer,
		"vocab", d->vocab, "eot", d->eot, "hash", d->hash, "file_tokens", (json_int_t)d->file_tokens,
		"splits", splits);
	CHECK(root && !json_object_update(root, provenance));
	if (d->splits[SPLIT_TRAIN].row)
		add_rows(root, d);
	json = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	CHECK(json);
	text = xasprintf("%s\n", json);
	ret = path_write(path, text, strlen(text));
	free(text);
	free(json);
	json_decref(root);
	free(path);
	return ret;
}

/* The next split of d, whose name and counts are an object of their own. */
static int parse_split(struct dataset *d, const char *name, json_t *json, const char *path)
{
	struct dataset_split *s = &d->splits[d->n_splits];
	json_int_t tokens, documents, bytes;
	const char *hash;
	json_error_t e;

	if (json_unpack_ex(json, &e, 0, "{sI sI sI ss}", "tokens", &tokens, "documents", &documents,
		    "bytes", &bytes, "hash", &hash))
		return error("%s: split %s: %s", path, name, e.text);
	if (tokens < 0 || documents < 0 || bytes < 0 || strlen(hash) != HASH_HEX - 1)
		return error("%s: split %s: bad count or hash", path, name);
	*s = (struct dataset_split){.name = xstrdup(name), .n_tokens = tokens,
		.n_documents = documents, .n_bytes = bytes};
	memcpy(s->hash, hash, HASH_HEX);
	d->n_splits++;
	return 0;
}

static int set_row(struct dataset_split *s, json_int_t row, const char *path)
{
	if (row < 1 || row > 1 << 24 || s->n_tokens % (2 * row))
		return error("%s: split %s: no whole rows of %lld tokens", path, s->name, row);
	s->row = row;
	return 0;
}

static int parse_test(struct dataset *d, json_t *json, const char *path)
{
	json_int_t length, items, row;
	const char *name;
	json_error_t e;

	if (json_unpack_ex(json, &e, 0, "{ss sI sI sI}", "name", &name, "length", &length, "items",
		    &items, "row", &row))
		return error("%s: test set: %s", path, e.text);
	if (d->n_splits == MAX_SPLITS || length < 1 || items < 0 || strchr(name, '/'))
		return error("%s: test set %s: bad name or shape, or more than %d of them", path, name,
			MAX_TESTS);
	if (parse_split(d, name, json, path))
		return -1;
	d->splits[d->n_splits - 1].length = length;
	d->splits[d->n_splits - 1].items = items;
	return set_row(&d->splits[d->n_splits - 1], row, path);
}

static int parse_rows(struct dataset *d, json_t *root, const char *path)
{
	json_t *tests, *test;
	json_int_t row, season = 0;
	json_error_t e;
	size_t i;

	if (json_unpack_ex(root, &e, 0, "{sI so s?I}", "row", &row, "tests", &tests, "season", &season))
		return error("%s: %s", path, e.text);
	d->season = season > 0 ? season : 0;
	for (int s = 0; s < N_SPLITS; s++)
		if (set_row(&d->splits[s], row, path))
			return -1;
	json_array_foreach(tests, i, test)
		if (parse_test(d, test, path))
			return -1;
	return 0;
}

static int parse(struct dataset *d, json_t *root, const char *path)
{
	const char *format, *tokenizer, *hash;
	char expected[HASH_HEX];
	json_int_t file_tokens;
	json_t *splits;
	json_error_t e;
	int version;

	if (json_unpack_ex(root, &e, 0, "{ss si}", "format", &format, "version", &version) ||
		strcmp(format, FORMAT))
		return error("%s: does not describe a dataset", path);
	if (version != VERSION_TEXT && version != VERSION_ROWS)
		return error("%s: version %d, only %d and %d can be read: import again, or use a newer "
			"moelab", path, version, VERSION_TEXT, VERSION_ROWS);
	if (json_unpack_ex(root, &e, 0, "{ss si si ss sI so}", "tokenizer", &tokenizer, "vocab",
		    &d->vocab, "eot", &d->eot, "hash", &hash, "file_tokens", &file_tokens, "splits",
		    &splits))
		return error("%s: %s", path, e.text);
	if (d->vocab < 1 || d->vocab > 65536 || file_tokens < 1)
		return error("%s: vocab or file_tokens out of range", path);
	if (d->eot != d->vocab - 1)
		return error("%s: end of text is token %d, but models take the last of the vocabulary, "
			"%d, for it", path, d->eot, d->vocab - 1);
	d->tokenizer = xstrdup(tokenizer);
	d->file_tokens = file_tokens;
	for (enum split s = 0; s < N_SPLITS; s++)
		if (parse_split(d, split_name(s), json_object_get(splits, split_name(s)), path))
			return -1;
	if (version == VERSION_ROWS && parse_rows(d, root, path))
		return -1;
	identity(d, expected);
	if (strcmp(expected, hash))
		return error("%s: hash does not fit the rest: edited? import again", path);
	memcpy(d->hash, expected, HASH_HEX);
	return 0;
}

/* dataset.json of the folder. NULL after a message. */
static json_t *load(const char *path)
{
	json_error_t e;
	json_t *root;
	size_t n;
	char *text = path_read(path, &n);

	if (!text)
		return NULL;
	root = json_loadb(text, n, 0, &e);
	if (!root)
		error_at(path, e.line, e.column, "%s", e.text);
	free(text);
	return root;
}

int manifest_load(struct dataset *d, const char *folder)
{
	char *path = path_join(folder, "dataset.json");
	json_t *root = NULL;
	int ret = -1;

	*d = (struct dataset){.folder = xstrdup(folder)};
	if (!path_exists(path))
		error("%s: no dataset (dataset.json); `moelab data import` or `data make` makes one", folder);
	else
		root = load(path);
	if (root)
		ret = parse(d, root, path);
	json_decref(root);
	free(path);
	return ret;
}

static int parse_source(struct manifest_source *source, json_t *json)
{
	const char *name;

	if (json_unpack(json, "{ss}", "name", &name))
		return -1;
	*source = (struct manifest_source){.name = xstrdup(name)};
	for (enum split s = 0; s < N_SPLITS; s++) {
		json_int_t tokens, documents;
		if (json_unpack(json, "{s{s{sI sI}}}", "splits", split_name(s), "tokens", &tokens,
			    "documents", &documents))
			return -1;
		source->n_tokens[s] = tokens;
		source->n_documents[s] = documents;
	}
	return 0;
}

int manifest_sources(const char *folder, struct manifest_source **sources)
{
	char *path = path_join(folder, "dataset.json");
	json_t *root = load(path), *list = json_object_get(root, "sources");
	int n = (int)json_array_size(list), ret = root ? n : -1;

	*sources = xcalloc((size_t)n + 1, sizeof **sources);
	for (int i = 0; i < n && ret >= 0; i++)
		if (parse_source(&(*sources)[i], json_array_get(list, (size_t)i)))
			ret = error("%s: does not say what came of each source: import again",
				path);
	if (ret < 0) {
		for (int i = 0; i < n; i++)
			free((*sources)[i].name);
		free(*sources);
	}
	json_decref(root);
	free(path);
	return ret;
}
