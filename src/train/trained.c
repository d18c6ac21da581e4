#include "train/trained.h"

#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "base/error.h"
#include "base/half.h"
#include "base/str.h"
#include "store/run_dir.h"
#include "tensor/safetensors.h"

/* "100, 200": the steps there are, in the arena. */
static const char *steps_text(struct arena *a, const long *steps, int n)
{
	struct str text;

	str_init(&text);
	for (int i = n - 1; i >= 0; i--)
		str_add_item(&text, "%ld", steps[i]);
	return str_keep(&text, a);
}

static int find_checkpoint(struct trained *t, const char *run_dir, long step)
{
	const char *folder = arena_printf(&t->arena, "%s/ckpt", run_dir);
	long keep = config_find(&t->config, "checkpoint.keep")->integer;
	int n, found = -1, ret = 0;
	long *steps = run_dir_checkpoints(folder, &n);

	for (int i = n - 1; i >= 0; i--)
		if (step < 0 || steps[i] == step)
			found = i;
	if (!n && keep > 0)
		ret = error("%s: the run kept %ld of its checkpoints, and none is there: archives of runs come without "
			"them, so train it again (to another folder, --results)", run_dir, keep);
	else if (!n)
		ret = error("%s: the run keeps no checkpoint: `moelab rm` it, then train it with checkpoint.keep=1 or more, "
			"which makes no other run of it", run_dir);
	else if (found < 0)
		ret = error("%s: the run keeps no checkpoint of step %ld, but of %s", run_dir, step,
			steps_text(&t->arena, steps, n));
	if (!ret) {
		t->step = steps[found];
		t->checkpoint = arena_printf(&t->arena, "%s/step_%ld.safetensors", folder, t->step);
	}
	free(steps);
	return ret;
}

static bool reads_values(const struct trained *t)
{
	return config_find(&t->config, "model.patch")->integer > 0;
}

static bool forecasts(const struct trained *t)
{
	return !strcmp(config_find(&t->config, "model.head")->word, "forecast");
}

int trained_check_text(const struct trained *t)
{
	return reads_values(t) ? error("%s: the model reads values (model.patch), not text: what it was asked is in "
		"`moelab table %s`", t->checkpoint, forecasts(t) ? "forecast" : "recall") : 0;
}

static int read_checkpoint(struct trained *t)
{
	struct safetensors f;
	const struct safetensor *table;

	if (safetensors_open(&f, t->checkpoint))
		return -1;
	table = safetensors_find(&f, reads_values(t) ? "lm_head.weight" : "embedding.weight");
	t->n_vocab = !table ? 0 : forecasts(t) ? HALF_MISSING + 1 : table->dims[0];
	for (int i = 0; i < f.n; i++)
		t->experts_choose |= str_ends(f.list[i].name, ".router.cutoff");
	safetensors_close(&f);
	return table ? 0 : error("%s: no tensor %s: no checkpoint of a run", t->checkpoint,
		reads_values(t) ? "lm_head.weight" : "embedding.weight");
}

int trained_open(struct trained *t, const char *run_dir, long step)
{
	*t = (struct trained){0};
	if (!config_read(&t->arena, arena_printf(&t->arena, "%s/config.yaml", run_dir), spec_schema(),
			&t->config) &&
		!find_checkpoint(t, run_dir, step) && !read_checkpoint(t))
		return 0;
	trained_close(t);
	return -1;
}

const char *trained_rule(const struct trained *t)
{
	return t->experts_choose ? "mixtures without capacity, where experts choose tokens by a cutoff of scores"
		: "mixtures without capacity";
}

void trained_close(struct trained *t)
{
	arena_release(&t->arena);
	*t = (struct trained){0};
}

int trained_data(const struct trained *t, const char *folder, struct dataset *d)
{
	const char *own = config_find(&t->config, "data.path")->word;

	if (!folder && !dataset_exists(own))
		return error("%s: the run's dataset is not there: --data DIR says where it is", own);
	folder = folder ? folder : own;
	if (dataset_open(d, folder))
		return -1;
	if (d->vocab == t->n_vocab)
		return 0;
	error("%s: its tokens are %d (%s), the model's %ld: %s", folder, d->vocab, d->tokenizer, t->n_vocab,
		d->splits[SPLIT_TRAIN].row ? "make the examples with the ids of those it was trained on"
		: "import the text with the model's tokenizer");
	dataset_close(d);
	return -1;
}

static const char *find_tokenizer(const struct trained *t)
{
	for (const struct tokenizer_type *const *type = tokenizer_types; *type; type++)
		if ((*type)->vocab == t->n_vocab)
			return (*type)->name;
	error("%s: no tokenizer has the %ld tokens of this model: text cannot become tokens", t->checkpoint,
		t->n_vocab);
	return NULL;
}

int trained_check_words(const struct dataset *d)
{
	for (const struct tokenizer_type *const *type = tokenizer_types; *type; type++)
		if (!strcmp((*type)->name, d->tokenizer))
			return 0;
	return error("%s: holds examples of %s, whose tokens are ids and no text", d->folder, d->tokenizer);
}

static int open_named(const struct trained *t, const char *name, struct tokenizer *tokenizer)
{
	if (tokenizer_open(tokenizer, name))
		return -1;
	if (tokenizer->type->vocab == t->n_vocab)
		return 0;
	error("%s: the model has %ld tokens, tokenizer %s %d", t->checkpoint, t->n_vocab, name,
		tokenizer->type->vocab);
	tokenizer_close(tokenizer);
	return -1;
}

int trained_tokenizer(const struct trained *t, const char *name, struct tokenizer *tokenizer)
{
	const char *folder = config_find(&t->config, "data.path")->word;
	struct dataset d = {0};
	int ret;

	if (!name && dataset_exists(folder)) {
		if (dataset_open(&d, folder))
			return -1;
		ret = trained_check_words(&d) ? -1 : open_named(t, d.tokenizer, tokenizer);
		dataset_close(&d);
		return ret;
	}
	name = name ? name : find_tokenizer(t);
	return name ? open_named(t, name, tokenizer) : -1;
}
