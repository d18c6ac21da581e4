/*
 * moelab bench step|op|scale|generate: how fast training is, as a whole, by operator and as models grow,
 * against the rates of this machine measured in the same process, and how fast text is generated. Figures
 * are kept: `bench compare` tells what became slower.
 */
#include <string.h>

#include "base/cpu.h"
#include "cmd/bench.h"
#include "measure/generate_times.h"
#include "show/chart.h"

extern const struct cmd cmd_bench;

/* A kind of measurement, and what it takes when nothing is named. */
static const struct bench_kind {
	const char *name;
	int (*measure)(struct bench_command *m, const char *what);
	const char *usual[4];
} kinds[] = {
	{"step", bench_step, {"experiments/micro/mamba.yaml", "experiments/micro/moe_mamba.yaml",
		"experiments/micro/transformer.yaml"}},
	{"op", bench_op, {"micro", "25m", "100m"}},
	{"scale", bench_scale, {"experiments/micro/mamba.yaml", "experiments/micro/moe_mamba.yaml"}},
	{"generate", bench_generate, {"experiments/micro/mamba.yaml", "experiments/micro/moe_mamba.yaml",
		"experiments/micro/transformer.yaml"}},
};

static const struct bench_kind *kind_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (name && !strcmp(kinds[i].name, name))
			return &kinds[i];
	error("bench takes step, op, scale, generate or compare%s%s", name ? ", not " : "", name ? name : "");
	return NULL;
}

static int measure_all(struct bench_command *m, const struct bench_kind *kind, const struct arguments *a)
{
	int ret = EXIT_DONE;

	for (int i = 1; i < a->n_words && !ret; i++)
		ret = kind->measure(m, a->words[i]);
	for (int i = 0; a->n_words == 1 && kind->usual[i] && !ret; i++)
		ret = kind->measure(m, kind->usual[i]);
	return ret;
}

/* 0, or -1 after a message. */
static int check_figure(const struct bench_command *m, const struct bench_kind *kind)
{
	if (m->plot && kind->measure != bench_generate)
		return error("bench %s has no figure; bench generate has", kind->name);
	if (m->kept && kind->measure != bench_generate)
		return error("bench %s: only generate has --kept", kind->name);
	return m->plot && !chart_format_of(m->plot) ? -1 : 0;
}

static int measure(struct bench_command *m, const struct arguments *a, bool keep)
{
	const struct bench_kind *kind = kind_find(a->n_words ? a->words[0] : NULL);
	struct bench *b = &m->bench;
	int ret;

	if (!kind)
		return EXIT_USAGE;
	if (a->n_overrides > BENCH_MAX_OVERRIDES)
		return error("bench takes at most %d keys", BENCH_MAX_OVERRIDES), EXIT_USAGE;
	if (check_figure(m, kind))
		return EXIT_USAGE;
	b->overrides = a->overrides;
	b->n_overrides = a->n_overrides;
	bench_begin(b);
	ret = measure_all(m, kind, a);
	if (!ret && m->plot)
		ret = bench_generate_plot(m);
	if (!ret && keep && !m->kept && bench_report_keep(&b->report, m->lab.path))
		ret = EXIT_ENVIRONMENT;
	bench_end(b);
	return ret;
}

/* 0, or -1 after a message. */
static int check_numbers(const struct bench *b)
{
	if (b->steps < 1)
		return error("bench: --steps 0 times nothing");
	if (b->longest < 1 || b->longest > GENERATE_MOST)
		return error("bench: --length %ld: not 1 to %d", b->longest, GENERATE_MOST);
	return 0;
}

static int run(int argc, char **argv)
{
	struct bench_command m = {.lab = LAB_NEW,
		.bench = {.steps = 5, .tokens = 2048, .longest = GENERATE_LONGEST}};
	struct bench *b = &m.bench;
	const char *device = "cpu";
	bool no_store = false;
	long threads = -1;
	const struct option_row rows[] = {
		{"steps", 'n', "N", "timed steps (default 5); the median counts", .number = &b->steps},
		{"threads", 'T', "T", "threads; 0: all cores (default; of generate 1)", .number = &threads},
		{"device", 0, "NAME", "ref, cpu, cuda_scan, cuda or cuda_f32", .text = &device},
		{"against", 0, "KEY=VALUE", "step: the same with this key changed, in turn",
			.text = &m.against},
		{"only", 0, "NAME", "op: this operator alone; scale: this axis", .text = &b->only},
		{"all", 0, NULL, "op: every shape, not the costliest of each operator", .flag = &b->all},
		{"tokens", 0, "N", "op: tokens of a batch (default 2048), whole sequences",
			.number = &b->tokens},
		{"length", 0, "N", "generate: tokens of the longest text (default 16384)", .number = &b->longest},
		{"plot", 0, "FILE", "generate: draw tokens/s by context", .text = &m.plot},
		{"kept", 0, NULL, "generate: measure nothing, take what is kept of the last time", .flag = &m.kept},
		{"no-store", 0, NULL, "do not keep the figures", .flag = &no_store},
		LAB_DB(m.lab), LAB_FORM(m.lab),
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_bench, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	b->device = device_find(device);
	if (!b->device || !grid_format_find(m.lab.format) || check_numbers(b))
		return EXIT_USAGE;
	if (threads < 0)	/* a token's products are too small to share (README.md) */
		threads = a.n_words && !strcmp(a.words[0], "generate");
	if (a.n_words == 1 && !strcmp(a.words[0], "compare"))
		return bench_compare(&m.lab);
	cpu_threads((int)threads);
	return measure(&m, &a, !no_store);
}

const struct cmd cmd_bench = {
	.name = "bench",
	.arguments = "step|op|scale|generate|compare [SPEC...] [key=value...]",
	.help = "speed, against the rates of this machine: of a training step by operator (step);\n"
		"of operators by themselves on the shapes of a scale (op [micro|25m|100m|SPEC]);\n"
		"as context, width, experts and threads grow (scale); of text, token by token,\n"
		"as it grows (generate); compare: the last figures against those before",
	.run = run,
};
