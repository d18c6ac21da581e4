/* What is another's: files of other runs, models and devices, seeds, identities, vocabularies; evaluations of token 0. */
#include <math.h>
#include <stdlib.h>

#include "caught.h"

#include "base/path.h"
#include "data/dataset_writer.h"
#include "store/run_dir.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/feed.h"

enum { T = 16, B = 4, TOKENS = 2000 };

static char folder[256];
static struct arena arena;

static const char *in_folder(const char *name)
{
	return arena_printf(&arena, "%s/%s", folder, name);
}

/* Tokens 0, 0, 1, 0, 0, 0, 1, ...: the parts between ones grow. */
static void write_split(struct dataset_writer *w, enum split s)
{
	struct dataset_part part = {.n_bytes = TOKENS, .n_documents = 1};

	for (int i = 0, next = 2, gap = 2; i < TOKENS; i++) {
		token_list_add(&part.tokens, i == next);
		if (i == next)
			next += 1 + gap++ % 50;
	}
	assert_int_equal(dataset_writer_add(w, s, &part), 0);
	token_list_release(&part.tokens);
}

static int open_folder(void **state)
{
	struct dataset_writer w;
	json_t *origin = json_object();
	int ret;

	(void)state;
	log_level = LOG_QUIET;
	if (path_tmp_folder(folder, sizeof folder, "checkpoint") ||
		dataset_writer_open(&w, in_folder("data"), false, tokenizer_find("byte"), 1 << 20, 0))
		return -1;
	for (enum split s = 0; s < N_SPLITS; s++)
		write_split(&w, s);
	ret = dataset_writer_commit(&w, origin);
	dataset_writer_release(&w);
	json_decref(origin);
	return ret;
}

static int close_folder(void **state)
{
	(void)state;
	error_sink = NULL;
	arena_release(&arena);
	return path_remove_tree(folder);
}

static struct config config_with(const char *keys)
{
	const char *spec = arena_printf(&arena, "{model: {arch: moe_mamba, d_model: 16, n_blocks: 1, moe: {n_experts: 4, "
		"d_expert: 8, noise: jitter, noise_scale: 0.1}}, train: {batch: 4, context: 16, tokens: 1280}, "
		"data.path: data, eval.tokens: 640%s}", keys);
	struct config c;

	assert_int_equal(path_write(in_folder("spec.yaml"), spec, strlen(spec)), 0);
	assert_int_equal(spec_load(&arena, in_folder("spec.yaml"), NULL, 0, spec_schema(), &c), 0);
	return c;
}

static void open_setup(struct setup *s, const struct config *c, enum device_id device)
{
	assert_int_equal(setup_open(s, c, &device_list[device], 257), 0);
	assert_int_equal(setup_allocate(s), 0);
}

static double first_weight(const struct setup *s)
{
	const void *blob = s->memory.blob[BLOB_WEIGHTS];

	return s->device->bytes[MASTER] == sizeof(double) ? *(const double *)blob : (double)*(const float *)blob;
}

/* ---- whose file ----------------------------------------------------------------------------- */

/* A run that is no longer claimed gets no checkpoint, keeps what it has, and has no torn file left. */
static void test_of_who_lost_the_claim(void **state)
{
	const struct progress before = {.step = 3}, after = {.step = 5};
	struct config c = config_with("");
	const char *dir = in_folder("run");
	struct arena names = {0};
	struct setup s;
	int n = 0;

	(void)state;
	open_setup(&s, &c, CPU);
	assert_int_equal(checkpoint_write(&s, dir, &before, NULL), 0);
	assert_int_equal(checkpoint_write(&s, dir, &after, "a token that nobody has"), -1);
	for (const char *const *name = path_list(in_folder("run/ckpt"), &names); *name; name++, n++)
		assert_string_equal(*name, "step_3.safetensors");
	assert_int_equal(n, 1);
	arena_release(&names);
	setup_close(&s);
}

static void test_of_another_model(void **state)
{
	const struct progress p = {.step = 3};
	struct config narrow = config_with(""), wide = config_with(", model.ssm.expand: 4");
	const char *file = in_folder("narrow/ckpt/step_3.safetensors");
	struct progress found;
	struct setup s;
	double first;

	(void)state;
	open_setup(&s, &narrow, CPU);
	assert_int_equal(checkpoint_write(&s, in_folder("narrow"), &p, NULL), 0);
	setup_close(&s);
	open_setup(&s, &wide, CPU);
	first = first_weight(&s);
	catch_messages();
	assert_int_equal(checkpoint_weights(&s, file, false), -1);
	assert_caught("of the model's shape: another model's file");
	assert_int_equal(checkpoint_read(&s, file, &found), -1);
	assert_int_equal(checkpoint_resume(&s, in_folder("narrow"), &found), 0);
	assert_true(first_weight(&s) == first);
	error_sink = NULL;
	setup_close(&s);
}

/* A run goes on bit for bit or not at all; weights alone are converted. */
static void test_of_another_device(void **state)
{
	const struct progress p = {.step = 3, .flops = 7};
	struct config c = config_with(""), other = config_with(", seed: 2");
	struct progress found;
	struct setup s;
	double first;

	(void)state;
	open_setup(&s, &c, CPU);
	first = first_weight(&s);
	assert_int_equal(checkpoint_write(&s, in_folder("single"), &p, NULL), 0);
	setup_close(&s);
	open_setup(&s, &other, REF);
	catch_messages();
	assert_int_equal(checkpoint_resume(&s, in_folder("single"), &found), 0);
	assert_caught("another device's checkpoint");
	assert_true(first_weight(&s) != first);
	assert_int_equal(checkpoint_read(&s, in_folder("single/ckpt/step_3.safetensors"), &found), 0);
	assert_true(first_weight(&s) == first && found.step == 3 && found.flops == 7);
	error_sink = NULL;
	setup_close(&s);
}

/* ---- seeds ---------------------------------------------------------------------------------- */

static void read_first(const struct dataset *d, const char *keys, int tokens_BT[B * T])
{
	struct config c = config_with(keys);
	struct run_spec spec;
	struct feed f;
	int targets_BT[B * T];

	assert_int_equal(run_spec_open(&spec, &c), 0);
	assert_int_equal(feed_open(&f, &spec, d), 0);
	assert_int_equal(feed_read(&f, 0, 0, tokens_BT, targets_BT), 0);
	feed_close(&f);
}

/* data.seed orders the data, whatever the run's seed; without it that one does. */
static void test_data_seed(void **state)
{
	int plain[B * T], same[B * T], other[B * T], seeded[B * T];
	struct dataset d;

	(void)state;
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	read_first(&d, ", seed: 3", plain);
	read_first(&d, ", seed: 4, data.seed: 3", same);
	read_first(&d, ", seed: 3, data.seed: 4", other);
	read_first(&d, ", seed: 4", seeded);
	assert_memory_equal(plain, same, sizeof plain);
	assert_memory_equal(other, seeded, sizeof other);
	assert_memory_not_equal(plain, other, sizeof plain);
	dataset_close(&d);
}

static int read_same(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	(void)from, (void)step, (void)micro;
	for (int i = 0; i < B * T; i++) {
		tokens_BT[i] = 7 * i % 257;
		targets_BT[i] = 5 * i % 257;
	}
	return 0;
}

/* Of a first step with the weights of seed 1 and the noise of another. */
static double loss_with_noise_of(long seed)
{
	struct config c = config_with("");
	int tokens_BT[B * T], targets_BT[B * T];
	const struct step_input in = {.read = read_same, .tokens_BT = tokens_BT, .targets_BT = targets_BT};
	struct step_result r;
	struct setup s;

	open_setup(&s, &c, CPU);
	s.spec.seed = seed;
	assert_int_equal(setup_step(&s, 0, &in, &r), 0);
	setup_close(&s);
	return r.balance;
}

static void test_noise_is_of_the_seed(void **state)
{
	(void)state;
	assert_true(loss_with_noise_of(2) == loss_with_noise_of(2));
	assert_true(loss_with_noise_of(2) != loss_with_noise_of(3));
}

/* ---- identity, vocabulary ------------------------------------------------------------------- */

static void identity_of(const char *keys, char hex[HASH_HEX])
{
	struct config c = config_with(keys);
	struct setup s;

	assert_int_equal(setup_open(&s, &c, &device_list[CPU], 257), 0);
	setup_identity(&s, "data", hex);
	setup_close(&s);
}

/* A run that writes texts while it trains is the same run, whatever operators decode. */
static void test_texts_make_no_other_run(void **state)
{
	char plain[HASH_HEX], with_texts[HASH_HEX], other[HASH_HEX];

	(void)state;
	identity_of("", plain);
	identity_of(", samples.every: 5, samples.prompts: [a]", with_texts);
	identity_of(", train.clip: 1", other);
	assert_string_equal(plain, with_texts);
	assert_string_not_equal(plain, other);
}

static void test_vocabulary_is_the_data_s(void **state)
{
	static const long others[] = {100, 256, 258};
	struct config c = config_with("");
	struct setup s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		catch_messages();
		assert_int_equal(setup_open(&s, &c, &device_list[CPU], others[i]), -1);
		assert_caught("data.vocab is 257, but the dataset has");
	}
	error_sink = NULL;
}

/* ---- evaluation ----------------------------------------------------------------------------- */

/* Token 0 is one as any other: all of the windows count. */
static void test_token_0(void **state)
{
	struct config c = config_with("");
	struct evaluation result;
	struct evaluator e;
	struct dataset d;
	struct setup s;

	(void)state;
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	open_setup(&s, &c, CPU);
	assert_int_equal(evaluator_open(&e, &s, &d, SPLIT_VAL), 0);
	assert_int_equal(evaluator_run(&e, &s, GRAPH_EVAL, &result), 0);
	assert_int_equal(result.n_tokens, 640);
	assert_true(fabs(result.loss - log(257)) < 0.2);	/* of weights that say nothing yet */
	assert_true(fabs(result.bpb - result.loss / log(2)) < 1e-9);
	evaluator_close(&e);
	setup_close(&s);
	dataset_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_who_lost_the_claim), cmocka_unit_test(test_of_another_model),
		cmocka_unit_test(test_of_another_device), cmocka_unit_test(test_data_seed),
		cmocka_unit_test(test_noise_is_of_the_seed), cmocka_unit_test(test_texts_make_no_other_run),
		cmocka_unit_test(test_vocabulary_is_the_data_s), cmocka_unit_test(test_token_0),
	};

	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
