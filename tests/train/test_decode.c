/*
 * Text from a model on the CPU: prompts that take windows and steps give the logits of a forward pass over
 * all of them, and the same tokens come for any number of threads, until the end or their number is reached.
 */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "caught.h"
#include "train/decode.h"

enum { VOCAB = 257, LONGEST = 160 };

static const char *const archs[] = {"mamba", "transformer", "moe_mamba"};

struct rig {
	struct arena arena;
	struct config config;
	struct setup setup;
	int tokens[LONGEST];
};

/* window 0: for decoding; else forward passes of so many tokens, whose losses are looked at. */
static void rig_open(struct rig *rig, const char *arch, long window)
{
	char folder[256], *path, *text = xasprintf("{model: {arch: %s, d_model: 32, n_blocks: 2%s}, "
		"train: {tokens: 1000, batch: 4, context: 32}, data: {path: none}}", arch,
		strstr(arch, "moe") ? ", moe: {n_experts: 4, d_expert: 64}" : "");

	*rig = (struct rig){0};
	assert_int_equal(path_tmp_folder(folder, sizeof folder, "decode"), 0);
	path = path_join(folder, "spec.yaml");
	assert_int_equal(path_write(path, text, strlen(text)), 0);
	assert_int_equal(spec_load(&rig->arena, path, NULL, 0, spec_schema(), &rig->config), 0);
	path_remove_tree(folder);
	free(path);
	free(text);
	if (window)
		assert_int_equal(setup_open_losses(&rig->setup, &rig->config, &device_list[CPU], 0, 1, window,
			0), 0);
	else
		assert_int_equal(setup_open_decoding(&rig->setup, &rig->config, &device_list[CPU], 0,
			LONGEST), 0);
	assert_int_equal(setup_allocate(&rig->setup), 0);
	for (int i = 0; i < LONGEST; i++)
		rig->tokens[i] = (i * i + 3 * i) % VOCAB;
}

static void rig_close(struct rig *rig)
{
	setup_close(&rig->setup);
	arena_release(&rig->arena);
}

/* -log softmax of the logits at the token. */
static double nll_of(const double *logits, int token)
{
	double sum = 0, most = logits[0];

	for (int i = 0; i < VOCAB; i++)
		most = fmax(most, logits[i]);
	for (int i = 0; i < VOCAB; i++)
		sum += exp(logits[i] - most);
	return most + log(sum) - logits[token];
}

/* What a forward pass over n tokens says of each next one. */
static void forward_nll(const char *arch, long n, double *nll)
{
	struct graph *g;
	struct rig rig;

	rig_open(&rig, arch, n);
	g = rig.setup.graphs[GRAPH_EVAL];
	graph_set_input(g, "tokens", rig.tokens);
	graph_set_input(g, "targets", rig.tokens + 1);
	graph_forward(g);
	graph_fetch_metrics(g);
	graph_read_all(g, "nll", nll);
	rig_close(&rig);
}

/* Prompts around the length of a window and of two; each begins anew, then goes on by one token. */
static void test_prompts(void **state)
{
	const long prompts[] = {1, 2, 63, 64, 65, 66, 128, 129, 150};
	double nll[LONGEST], logits[VOCAB];
	struct rig rig;

	forward_nll(*state, LONGEST - 1, nll);
	rig_open(&rig, *state, 0);
	for (size_t i = 0; i < ARRAY_SIZE(prompts); i++) {
		long n = prompts[i];
		decode_begin(&rig.setup);
		for (int more = 0; more < 2; more++) {
			decode_tokens(&rig.setup, more ? rig.tokens + n : rig.tokens, more ? 1 : n, logits);
			double error = fabs(nll_of(logits, rig.tokens[n + more]) - nll[n + more - 1]);
			if (!(error < 1e-4))
				fail_msg("%s: prompt of %ld: off by %.2g", (const char *)*state, n, error);
		}
	}
	rig_close(&rig);
}

struct told {
	int token[LONGEST];
	int n;
};

static void tell(void *to, int token)
{
	struct told *t = to;

	t->token[t->n++] = token;
}

static long generate(struct rig *rig, long n, int end, struct told *told)
{
	static const struct sampler sampler = {.temperature = 1, .top_p = 0.9, .seed = 5};

	told->n = 0;
	return decode_generate(&rig->setup, &(struct generation){.prompt = rig->tokens, .n_prompt = 70,
		.n_tokens = n, .sampler = &sampler, .end = end, .tell = tell, .to = told});
}

static void test_any_threads(void **state)
{
	struct told one, more;
	struct rig rig;

	rig_open(&rig, *state, 0);
	omp_set_num_threads(1);
	assert_int_equal(generate(&rig, 80, -1, &one), 80);
	assert_int_equal(one.n, 80);
	for (int threads = 2; threads <= 4; threads++) {
		omp_set_num_threads(threads);
		generate(&rig, 80, -1, &more);
		assert_memory_equal(one.token, more.token, sizeof one.token[0] * 80);
	}
	omp_set_num_threads(2);
	rig_close(&rig);
}

/* The token that came as the tenth ends the text where it first comes, and is not told. */
static void test_end(void **state)
{
	struct told all, some;
	struct rig rig;
	int first = 0;

	rig_open(&rig, *state, 0);
	generate(&rig, 20, -1, &all);
	while (all.token[first] != all.token[9])
		first++;
	assert_int_equal(generate(&rig, 20, all.token[9], &some), first);
	assert_int_equal(some.n, first);
	rig_close(&rig);
}

static double bytes_of(struct setup *s, const struct config *c, long batch)
{
	assert_int_equal(setup_open_losses(s, c, &device_list[CPU], 0, batch, 1024, 0), 0);
	return setup_bytes(s);
}

/* Losses that fit into the machine but not into what others have left of it: refused before anything is taken. */
static void test_free_memory(void **state)
{
	double left = cpu_free_memory_bytes(), all = cpu_memory_bytes(), one, some;
	struct setup s;
	struct rig rig;

	rig_open(&rig, *state, 32);
	one = bytes_of(&s, &rig.config, 1);
	setup_close(&s);
	some = bytes_of(&s, &rig.config, 9);
	setup_close(&s);
	bytes_of(&s, &rig.config, 1 + (long)(((left + all) / 2 - one) / ((some - one) / 8)));
	assert_true(setup_bytes(&s) > left && setup_bytes(&s) < all);
	catch_messages();
	assert_int_equal(setup_allocate(&s), -1);
	assert_caught(" free: fewer or shorter sequences take less");
	setup_close(&s);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*test)(void **state);
	} each[] = {{"prompts", test_prompts}, {"any threads", test_any_threads}, {"end", test_end},
		{"free memory", test_free_memory}};
	struct CMUnitTest tests[ARRAY_SIZE(archs) * ARRAY_SIZE(each)];
	struct arena names = {0};
	size_t n = 0;
	int failed;

	(void)argc;
	blas_start(argv);
	for (size_t i = 0; i < ARRAY_SIZE(archs); i++)
		for (size_t k = 0; k < ARRAY_SIZE(each); k++)
			tests[n++] = (struct CMUnitTest){arena_printf(&names, "%s: %s", archs[i], each[k].name),
				each[k].test, NULL, NULL, (void *)archs[i]};
	failed = _cmocka_run_group_tests("decode", tests, n, NULL, NULL);
	arena_release(&names);
	return failed;
}
