/* Writing the examples of a task as a dataset of rows. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/str.h"
#include "data/dataset_writer.h"
#include "data/task.h"
#include "data/task_shapes.h"

enum {
	CHUNK = 1 << 22,		/* tokens made at once */
	FILE_TOKENS = 1 << 30,
	DRAWS_LOG2 = 24, ROW_LOG2 = 36,	/* draws of an example; of 2^12 examples of a row, further ones have a key of
					   their own */
};

enum { SEED, VAL, TUNE, PACK, N_COMMON };

/* The settings that every task has besides shapes. */
static const struct task_setting common[N_COMMON] = {
	[SEED] = {"seed", "of all draws", 1, 0, 0x1p31, {NULL}},
	[VAL] = {"val", "examples to validate, mixed as those to train", 2000, 1, 0x1p28, {NULL}},
	[TUNE] = {"tune", "examples to choose values by, the same", 2000, 0, 0x1p28, {NULL}},
	[PACK] = {"pack", "tokens of a row of train, val and tune, filled with examples, the one cut not "
		"scored; numbers of examples are then rows; 0: a row each", 0, 0, 0x1p24, {NULL}},
};

struct making {
	const struct task *task;
	double value[TASK_SETTINGS], common[N_COMMON];
	const char *train_text, *tests_text;
	struct shapes train, tests;
	long row;
	int eot;
};

/* --- settings ------------------------------------------------------------------------------ */

static int set_word(const struct task *t, const struct task_setting *s, const char *text, double *value)
{
	for (int i = 0; s->words[i]; i++)
		if (!strcmp(text, s->words[i])) {
			*value = i;
			return 0;
		}
	return error("data make %s: %s=%s: not %s or %s", t->name, s->key, text, s->words[0], s->words[1]);
}

static int set_value(const struct task *t, const struct task_setting *s, const char *text, double *value)
{
	double number;

	if (s->words[0])
		return set_word(t, s, text, value);
	if (!str_to_double(text, &number) || !(number >= s->min && number <= s->max) ||
		(s->initial == (double)(long)s->initial && number != (double)(long)number))
		return error("data make %s: %s=%s: not a number from %.12g to %.12g", t->name, s->key,
			text, s->min, s->max);
	*value = number;
	return 0;
}

/* A key of the list: 1, -1 after a message; 0: it has no such key. */
static int set_among(const struct task *t, const struct task_setting *list, int n, double *values,
	const char *key, const char *text)
{
	for (int i = 0; i < n && list[i].key; i++)
		if (!strcmp(key, list[i].key))
			return set_value(t, &list[i], text, &values[i]) ? -1 : 1;
	return 0;
}

static int unknown(const struct task *t, const char *key)
{
	struct str names;

	str_init(&names);
	for (int i = 0; i < TASK_SETTINGS && t->settings[i].key; i++)
		str_printf(&names, "%s, ", t->settings[i].key);
	error("data make %s: no setting \"%s\" (there is: %strain, tests, val, tune, pack, seed)", t->name,
		key, names.text);
	str_release(&names);
	return -1;
}

static int set(struct making *m, const char *word)
{
	const char *text = strchr(word, '=') + 1;
	char *key = strndup(word, (size_t)(text - word) - 1);
	int found = 1;

	if (!strcmp(key, "train"))
		m->train_text = text;
	else if (!strcmp(key, "tests"))
		m->tests_text = text;
	else
		found = set_among(m->task, m->task->settings, TASK_SETTINGS, m->value, key, text);
	if (!found)
		found = set_among(m->task, common, N_COMMON, m->common, key, text);
	if (!found)
		found = unknown(m->task, key);
	free(key);
	return found < 0 ? -1 : 0;
}

static int read_settings(struct making *m, const struct make_options *o)
{
	const struct task *t = m->task;
	long longest;

	for (int i = 0; i < TASK_SETTINGS; i++)
		m->value[i] = t->settings[i].initial;
	for (int i = 0; i < N_COMMON; i++)
		m->common[i] = i == PACK ? (double)t->pack : common[i].initial;
	for (int i = 0; i < o->n_settings; i++)
		if (set(m, o->settings[i]))
			return -1;
	if (shapes_parse(&m->train, t, m->value, "train", m->train_text) ||
		shapes_parse(&m->tests, t, m->value, "tests", m->tests_text))
		return -1;
	if (!m->train.n)
		return error("data make %s: train names no shape", t->name);
	longest = shapes_row(&m->train, t, m->value);
	m->row = m->common[PACK] > 0 ? (long)m->common[PACK] : longest;
	if (m->row < longest)
		return error("data make %s: pack=%ld: an example of train may have %ld tokens", t->name,
			m->row, longest);
	m->eot = t->vocab(m->value) - 1;
	return 0;
}

static void add_setting(struct str *s, const struct task_setting *of, double initial)
{
	str_printf(s, "  %s=", of->key);
	if (of->words[0])
		str_printf(s, "%s", of->words[(int)initial]);
	else
		str_printf(s, "%.12g", initial);
	str_printf(s, "\t%s", of->help);
	if (of->words[0])
		str_printf(s, ": %s or %s", of->words[0], of->words[1]);
	str_add(s, "\n");
}

char *task_settings_help(const struct task *t)
{
	struct str s;

	str_init(&s);
	str_printf(&s, "  train=%s\t%s:EXAMPLES,... to train; %s; LENGTH may be LEAST-MOST\n", t->train,
		t->shape, t->possible);
	str_printf(&s, "  tests=%s\tthe test sets, each named by its shape\n", t->tests);
	for (int i = 0; i < TASK_SETTINGS && t->settings[i].key; i++)
		add_setting(&s, &t->settings[i], t->settings[i].initial);
	for (int i = 0; i < N_COMMON; i++)
		add_setting(&s, &common[i], i == PACK ? (double)t->pack : common[i].initial);
	return s.text;
}

/* --- rows ---------------------------------------------------------------------------------- */

struct set {			/* of rows that are being made */
	const struct making *m;
	const struct shapes *shapes;
	struct rng_key key;
	enum split split;
	long n_rows, row, longest;	/* tokens of a row, and of the longest example */
	bool pack;
};

/* An example of row i, its number in it j, at `tokens` and `targets`. Returns its tokens; 0: none was found. */
static long make_example(const struct set *s, long i, long j, uint16_t *tokens, uint16_t *targets)
{
	const struct shape *shape = shapes_at(s->shapes, i, s->n_rows);
	const long many = 1L << (ROW_LOG2 - DRAWS_LOG2);
	struct rng_key key = s->key;
	struct example e = {.value = s->m->value, .items = shape->items,
		.training = s->split == SPLIT_TRAIN, .tune = s->split == SPLIT_TUNE, .test = s->split >= N_SPLITS,
		.tokens = tokens, .targets = targets};

	key.step = (uint32_t)(j / many);
	e.draw = draw_begin(key, (uint64_t)i << ROW_LOG2 | (uint64_t)(j % many) << DRAWS_LOG2);
	e.length = shape->least + draw_below(&e.draw, shape->most - shape->least + 1);
	return s->m->task->make(&e);
}

static void fill(uint16_t *ids, long n, int id)
{
	for (long i = 0; i < n; i++)
		ids[i] = (uint16_t)id;
}

/* Row i: T inputs, then T targets. False: an example of it was not found. */
static bool make_row(const struct set *s, long i, uint16_t *row)
{
	long T = s->row, at = 0, n = 1;
	uint16_t *tokens = xmalloc(2 * (size_t)s->longest * sizeof *tokens), *targets = tokens + s->longest;

	fill(row, 2 * T, s->m->eot);
	for (long j = 0; n && at < T && (s->pack || j == 0); j++) {
		fill(targets, s->longest, s->m->eot);
		n = make_example(s, i, j, tokens, targets);
		long kept = n < T - at ? n : T - at;
		memcpy(row + at, tokens, (size_t)kept * sizeof *row);
		if (kept == n)
			memcpy(row + T + at, targets, (size_t)kept * sizeof *row);
		at += n;
	}
	free(tokens);
	return n > 0;
}

/* 0; or after a message -1 where the settings allow no example, and DATASET_UNWRITTEN. */
static int write_set(const struct set *s, struct dataset_writer *w)
{
	long most = CHUNK / (2 * s->row) + 1, lacking = 0;
	struct dataset_part part = {.n_bytes = 0};
	int ret = 0;

	part.tokens.id = xmalloc((size_t)(2 * s->row * most) * sizeof *part.tokens.id);
	for (long first = 0; first < s->n_rows && !ret; first += most) {
		long n = s->n_rows - first < most ? s->n_rows - first : most;
		#pragma omp parallel for schedule(dynamic, 16) reduction(+:lacking)
		for (long i = 0; i < n; i++)
			lacking += !make_row(s, first + i, part.tokens.id + 2 * s->row * i);
		part.tokens.n = (size_t)(2 * s->row * n);
		part.n_documents = n;
		if (lacking)
			ret = error("data make %s: of some shapes no example was found: %s", s->m->task->name,
				s->m->task->unfound);
		else if (dataset_writer_add(w, s->split, &part))
			ret = DATASET_UNWRITTEN;
	}
	free(part.tokens.id);
	return ret;
}

static struct rng_key key_of(const struct making *m, const char *set)
{
	char *name = xasprintf("task %s %s", m->task->name, set);
	struct rng_key key = {.seed = (uint64_t)m->common[SEED], .stream = hash_u64(name)};

	free(name);
	return key;
}

/* train, val, tune: mixed alike. */
static int write_splits(const struct making *m, struct dataset_writer *w)
{
	long n[N_SPLITS] = {m->train.n_examples, (long)m->common[VAL], (long)m->common[TUNE]};
	int ret = 0;

	dataset_writer_rows(w, m->row);
	w->d.season = m->task->season ? m->task->season(m->value) : 0;
	for (enum split i = 0; i < N_SPLITS && !ret; i++) {
		struct set s = {m, &m->train, key_of(m, split_name(i)), i, n[i], m->row,
			shapes_row(&m->train, m->task, m->value), m->common[PACK] > 0};
		ret = write_set(&s, w);
	}
	return ret;
}

static int write_tests(const struct making *m, struct dataset_writer *w)
{
	int ret = 0;

	for (int i = 0; i < m->tests.n && !ret; i++) {
		const struct shape *shape = &m->tests.list[i];
		struct shapes one = {.list = {*shape}, .n = 1, .n_examples = shape->n};
		long longest = shapes_row(&one, m->task, m->value);
		struct set s = {m, &one, key_of(m, shape->name), SPLIT_TRAIN, shape->n, longest, longest, false};
		s.split = dataset_writer_test(w, shape->name, shape->most, shape->items, s.row);
		ret = write_set(&s, w);
	}
	return ret;
}

/* --- the whole ----------------------------------------------------------------------------- */

static json_t *provenance(const struct making *m)
{
	json_t *settings = json_pack("{ss ss}", "train", m->train_text, "tests", m->tests_text);

	for (int i = 0; i < N_COMMON; i++)
		json_object_set_new(settings, common[i].key, json_integer((json_int_t)m->common[i]));
	for (int i = 0; i < TASK_SETTINGS && m->task->settings[i].key; i++) {
		const struct task_setting *s = &m->task->settings[i];
		json_object_set_new(settings, s->key, s->words[0] ? json_string(s->words[(int)m->value[i]])
			: json_real(m->value[i]));
	}
	return json_pack("{s{ss so}}", "task", "name", m->task->name, "settings", settings);
}

static void report(const struct making *m, const struct dataset *d, const char *folder)
{
	int tests = d->n_splits - N_SPLITS;
	double stored = 0;
	char bytes[32], rows[32];

	for (int i = 0; i < d->n_splits; i++)
		stored += 2.0 * (double)d->splits[i].n_tokens;
	info("%s: %s, %s rows of %ld tokens to train, %d test set%s, %s; vocabulary %d", folder,
		m->task->name, str_count(d->splits[SPLIT_TRAIN].n_documents, rows), m->row,
		tests, tests == 1 ? "" : "s", str_bytes(stored, bytes), d->vocab);
}

static int commit(const struct making *m, struct dataset_writer *w)
{
	json_t *origin = provenance(m);
	int ret = write_splits(m, w);

	if (!ret)
		ret = write_tests(m, w);
	if (!ret && dataset_writer_commit(w, origin))
		ret = DATASET_UNWRITTEN;
	json_decref(origin);
	return ret;
}

int data_make(const struct task *t, const struct make_options *o)
{
	struct making m = {.task = t, .train_text = t->train, .tests_text = t->tests};
	struct tokenizer_type type = {.name = t->tokenizer ? t->tokenizer : t->name};
	struct dataset_writer w;
	int ret;

	if (read_settings(&m, o))
		return -1;
	type.vocab = m.eot + 1;
	type.eot = m.eot;
	ret = dataset_writer_open(&w, o->folder, o->force, &type, FILE_TOKENS, 0);
	if (ret)
		return ret;
	ret = commit(&m, &w);
	if (!ret)
		report(&m, &w.d, o->folder);
	dataset_writer_release(&w);
	return ret;
}
