/*
 * A small model with routers, to be trained step by step: the choices of each step counted from the routes
 * themselves, the states of its routers (train/control.h), and the same model resumed.
 */
#ifndef TESTS_TRAIN_CONTROL_RIG_H
#define TESTS_TRAIN_CONTROL_RIG_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/rng.h"
#include "train/checkpoint.h"
#include "train/setup.h"

enum { EXPERTS = 4, ROUTERS = 2, BATCH = 4, CONTEXT = 32 };

struct rig {
	struct arena arena;
	struct config config;
	struct setup setup;
	struct step_input input;
	double count[ROUTERS][EXPERTS];		/* of the last step, from the routes themselves */
};

static inline int read_random(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct rig *rig = from;
	long n = rig->setup.spec.micro_batch * CONTEXT;

	for (long i = 0; i < n; i++) {
		struct rng_block b = rng_block((struct rng_key){9, 1, (uint32_t)step}, (uint64_t)(micro * n + i));
		tokens_BT[i] = (int)(b.word[0] % 257);
		targets_BT[i] = (int)(b.word[1] % 257);
	}
	return 0;
}

/* Choices by expert, counted over the whole step. */
static inline void count_routes(void *from, long micro)
{
	struct rig *rig = from;
	const struct graph *g = rig->setup.graphs[GRAPH_TRAIN];

	for (int r = 0; r < ROUTERS; r++) {
		char name[64];
		snprintf(name, sizeof name, "layers.%d.moe.route", 2 * r + 1);
		for (int e = 0; e < EXPERTS && micro == 0; e++)
			rig->count[r][e] = 0;
		for (long i = 0; i < tensor_size(graph_metric_shape(g, name)); i++)
			if (graph_read(g, name, i) >= 0)
				rig->count[r][(int)graph_read(g, name, i)]++;
	}
}

static inline void open_model(struct rig *rig, const char *mixture, const char *const *keys, int n_keys)
{
	*rig = (struct rig){0};
	assert_int_equal(config_parse(&rig->arena, "test", arena_printf(&rig->arena,
		"{model: {arch: moe_mamba, d_model: 16, n_blocks: 2, moe: {n_experts: 4, d_expert: 16, %s}}, "
		"train: {tokens: 1000000, batch: 4, context: 32}, data: {path: none}}", mixture),
		keys, n_keys, spec_schema(), &rig->config), 0);
	assert_int_equal(setup_open_traced(&rig->setup, &rig->config, &device_list[CPU], 0,
		(struct net_trace){.routes = true}), 0);
	assert_int_equal(setup_allocate(&rig->setup), 0);
	rig->input = (struct step_input){.read = read_random, .from = rig, .seen = count_routes,
		.tokens_BT = ARENA_ARRAY(&rig->arena, int, BATCH * CONTEXT),
		.targets_BT = ARENA_ARRAY(&rig->arena, int, BATCH * CONTEXT)};
}

static inline void rig_open_with(struct rig *rig, const char *const *keys, int n)
{
	open_model(rig, "top_k: 2, score: sigmoid, weight: renorm, balance: 0, capacity_factor: 0, "
		"bias_rate: 0.02, group_tokens: 32", keys, n);
}

static inline void rig_close(struct rig *rig)
{
	setup_close(&rig->setup);
	arena_release(&rig->arena);
}

static inline void go(struct rig *rig, long from, long to)
{
	struct step_result r;

	for (long i = from; i < to; i++)
		assert_int_equal(setup_step(&rig->setup, i, &rig->input, &r), 0);
}

static const float *state_of(const struct rig *rig, int router, const char *state)
{
	char name[64];

	snprintf(name, sizeof name, "layers.%d.moe.router.%s", 2 * router + 1, state);
	int p = params_find(&rig->setup.params, name);
	assert_true(p >= 0);
	return (const float *)rig->setup.memory.blob[BLOB_WEIGHTS] + rig->setup.params.list[p].offset;
}

static inline void expect_same_weights(const struct rig *a, const struct rig *b)
{
	assert_memory_equal(a->setup.memory.blob[BLOB_WEIGHTS], b->setup.memory.blob[BLOB_WEIGHTS],
		(size_t)a->setup.params.blob_size * sizeof(float));
}

static inline void expect_resumed(const char *const *keys, int n)
{
	struct rig through, resumed;
	struct progress p = {.step = 3, .seconds = 12345.678, .flops = 1.23456789e18, .told = true}, read;
	char folder[256];

	assert_int_equal(path_tmp_folder(folder, sizeof folder, "control"), 0);
	rig_open_with(&through, keys, n);
	go(&through, 0, 3);
	assert_int_equal(checkpoint_write(&through.setup, folder, &p, NULL), 0);
	go(&through, 3, 6);
	rig_open_with(&resumed, keys, n);
	assert_int_equal(checkpoint_resume(&resumed.setup, folder, &read), 1);
	assert_true(read.step == 3 && read.seconds == p.seconds && read.flops == p.flops && read.told);
	go(&resumed, 3, 6);
	expect_same_weights(&through, &resumed);
	rig_close(&through);
	rig_close(&resumed);
	path_remove_tree(folder);
}

#endif
