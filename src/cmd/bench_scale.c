#include "cmd/bench_scale.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "run/cost.h"
#include "run/rate.h"

enum { MAX_OVERRIDES = 64 };

struct point {
	const char *value;		/* as printed */
	const char *keys[2];		/* key=value; NULL: none */
};

/* Contexts keep 16,384 tokens a step. */
static const struct axis {
	const char *name, *needs;	/* needs: a key of the architecture, or NULL */
	struct point points[6];
	bool threads;			/* points are numbers of threads, not keys */
} axes[] = {
	{"context", NULL, {{"256", {"train.context=256", "train.batch=64"}},
		{"1024", {"train.context=1024", "train.batch=16"}},
		{"4096", {"train.context=4096", "train.batch=4"}},
		{"16384", {"train.context=16384", "train.batch=1"}}}, false},
	{"d_model", NULL, {{"64", {"model.d_model=64"}}, {"128", {"model.d_model=128"}},
		{"256", {"model.d_model=256"}}, {"512", {"model.d_model=512"}}}, false},
	{"experts", "model.moe.n_experts", {{"1", {"model.moe.n_experts=1"}},
		{"4", {"model.moe.n_experts=4"}}, {"16", {"model.moe.n_experts=16"}},
		{"64", {"model.moe.n_experts=64"}}}, false},
	{"threads", NULL, {{"1", {NULL}}, {"2", {NULL}}, {"4", {NULL}}, {"8", {NULL}}}, true},
};

struct measured {
	double tokens_per_s, flops_per_s, bytes;
};

static int measure(const char *spec, const char *const *keys, int n, const struct device *device,
	long steps, struct measured *m)
{
	struct arena arena = {0};
	struct config config;
	struct setup setup;
	struct cost cost;
	int ret = -1;

	if (!spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
		!setup_open(&setup, &config, device, 0)) {
		ret = setup_allocate(&setup);
		if (!ret) {
			cost_of(&setup, &cost);
			m->tokens_per_s = rate_train(&setup, (int)steps);
			m->flops_per_s = m->tokens_per_s * cost.flops_per_token;
			m->bytes = cost.total_bytes;
		}
		setup_close(&setup);
	}
	arena_release(&arena);
	return ret;
}

/* Has the spec's architecture this key? */
static bool applies(const char *spec, const char *const *keys, int n, const char *key)
{
	struct arena arena = {0};
	struct config config;
	bool found = !key || (!spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
		config_find(&config, key));

	arena_release(&arena);
	return found;
}

static int measure_axis(const char *spec, const char **keys, int n, const struct axis *axis,
	const struct device *device, long steps, json_t *list)
{
	for (const struct point *p = axis->points; p->value; p++) {
		struct measured m;
		int all = n;
		for (int i = 0; i < 2 && p->keys[i]; i++)
			keys[all++] = p->keys[i];
		if (axis->threads && atoi(p->value) > cpu_cores())
			break;
		if (axis->threads)
			cpu_threads(atoi(p->value));
		if (measure(spec, keys, all, device, steps, &m))
			return -1;
		json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:f, s:f}", "axis", axis->name,
			"value", p->value, "tokens_per_s", m.tokens_per_s, "flops_per_s", m.flops_per_s,
			"planned_bytes", m.bytes));
	}
	return 0;
}

static void print_table(const char *spec, const json_t *list)
{
	size_t i;
	json_t *row;

	printf("%s\n%-10s %8s %12s %10s %12s\n", spec, "axis", "value", "tokens/s", "GFLOP/s", "planned MiB");
	json_array_foreach(list, i, row)
		printf("%-10s %8s %12.0f %10.1f %12.1f\n",
			json_string_value(json_object_get(row, "axis")),
			json_string_value(json_object_get(row, "value")),
			json_real_value(json_object_get(row, "tokens_per_s")),
			json_real_value(json_object_get(row, "flops_per_s")) / 1e9,
			json_real_value(json_object_get(row, "planned_bytes")) / 1048576.0);
}

int bench_scale(const char *spec, const char *const *overrides, int n_overrides,
	const struct device *device, long steps, bool json)
{
	const char *keys[MAX_OVERRIDES + 2];
	json_t *list = json_array();
	int ret = 0;

	CHECK(n_overrides <= MAX_OVERRIDES);
	memcpy(keys, overrides, sizeof *keys * (size_t)n_overrides);
	for (size_t i = 0; i < ARRAY_SIZE(axes) && !ret; i++)
		if (applies(spec, keys, n_overrides, axes[i].needs))
			ret = measure_axis(spec, keys, n_overrides, &axes[i], device, steps, list);
	if (!ret && json)
		json_dumpf(list, stdout, JSON_INDENT(2));
	else if (!ret)
		print_table(spec, list);
	json_decref(list);
	return ret ? EXIT_USAGE : EXIT_DONE;
}
