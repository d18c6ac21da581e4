/* moelab trace SPEC|RUN@STEP|TRACE -o FILE; moelab trace compare A B */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cmd/lab.h"
#include "cmd/run_model.h"
#include "trace/trace.h"

extern const struct cmd cmd_trace;

/* ---- compare -------------------------------------------------------------------------------- */

static int run_compare(int argc, char **argv)
{
	static const struct cmd cmd = {.name = "trace compare", .arguments = "A B [--tolerance X]",
		.help = "hold two traces against each other, tensor by tensor, in the order of computing"};
	double tolerance = 1e-4;
	const struct option_row rows[] = {
		{"tolerance", 0, "X", "relative L2 error of values (default 1e-4); of gradients "
			"and of the change of parameters ten times that", .real = &tolerance},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd, rows, argc, argv, &a), flushed;

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 2 || a.n_overrides)
		return error("trace compare takes two files: moelab trace compare A.safetensors B.safetensors"),
			EXIT_USAGE;
	ret = trace_compare(a.words[0], a.words[1], tolerance, stdout);
	flushed = lab_flush();
	return ret < 0 ? EXIT_USAGE : ret == TRACE_PARTS ? EXIT_RUN_FAILED : flushed;
}

/* ---- trace ---------------------------------------------------------------------------------- */

/* 0, or -1 after a message. */
static int parse_logits(const char *text, long *logits)
{
	long long n;

	if (!text)
		*logits = TRACE_LOGITS_AUTO;
	else if (!strcmp(text, "all"))
		*logits = TRACE_LOGITS_ALL;
	else if (!strcmp(text, "none"))
		*logits = 0;
	else if (!strcmp(text, "last"))
		*logits = 1;
	else if (str_to_long(text, &n) && n > 0)
		*logits = (long)n;
	else
		return error("--logits %s: not none, last, all or a number of tokens", text);
	return 0;
}

static int run(int argc, char **argv)
{
	struct trace_options o = {.device = "cpu"};
	const char *output = NULL, *logits = NULL, *database = "results/lab.db", *what;
	const struct option_row rows[] = {
		{"output", 'o', "FILE", "safetensors file to write; -: standard output", .text = &output},
		{"logits", 0, "WHICH", "none, last, all, or N: of the last N tokens of each "
			"sequence (default all, if that is below 1 GiB)", .text = &logits},
		{"outputs", 0, NULL, "what embedding, norms and layers gave, too",
			.flag = &o.outputs},
		{"step", 0, "N", "of a spec: make N updates first", .number = &o.step},
		{"random", 0, NULL, "random tokens instead of the dataset's", .flag = &o.random},
		{"device", 0, "NAME", "ref (float64), cpu, cuda_scan or cuda", .text = &o.device},
		{"db", 0, "FILE", "where runs are found (default results/lab.db)", .text = &database},
		{0},
	};
	struct arena arena = {0};
	struct arguments a;
	int ret;

	if (argc > 1 && !strcmp(argv[1], "compare"))
		return run_compare(argc - 1, argv + 1);
	ret = options_parse(&cmd_trace, rows, argc, argv, &a);
	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || !output)
		return error("trace takes one spec, run or trace, and -o FILE"), EXIT_USAGE;
	if (parse_logits(logits, &o.logits))
		return EXIT_USAGE;
	o.overrides = a.overrides;
	o.n_overrides = a.n_overrides;
	what = run_model_at(a.words[0], database, &arena);
	ret = what ? trace_write(what, &o, output) : -1;
	arena_release(&arena);
	return ret == TRACE_NOT_WRITTEN ? EXIT_ENVIRONMENT : ret ? EXIT_USAGE : EXIT_DONE;
}

const struct cmd cmd_trace = {
	.name = "trace",
	.arguments = "SPEC|RUN@STEP|TRACE -o FILE [key=value...] | compare A B",
	.help = "lay one training step open as a file of tensors; compare two such files",
	.run = run,
};
