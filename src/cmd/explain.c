/* moelab explain SPEC|RUN@STEP|TRACE: a step of a small model with all its numbers. */
#include <stdio.h>

#include "base/error.h"
#include "cmd/lab.h"
#include "cmd/run_model.h"
#include "trace/explain.h"

extern const struct cmd cmd_explain;

static int run(int argc, char **argv)
{
	struct explain_options o = {.trace = {.device = "ref", .logits = TRACE_LOGITS_ALL}};
	const char *database = "results/lab.db", *what;
	struct arena arena = {0};
	long digits = 4;
	const struct option_row rows[] = {
		{"only", 0, "TEXT", "only operators whose name contains it", .text = &o.only},
		{"backward", 0, NULL, "gradients, too", .flag = &o.backward},
		{"digits", 0, "N", "behind the point (default 4)", .number = &digits},
		{"step", 0, "N", "of a spec: make N updates first", .number = &o.trace.step},
		{"random", 0, NULL, "random tokens instead of the dataset's", .flag = &o.trace.random},
		{"device", 0, "NAME", "ref (float64, the default) or cpu", .text = &o.trace.device},
		{"db", 0, "FILE", "where runs are found (default results/lab.db)", .text = &database},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_explain, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1)
		return error("explain takes one spec, run or trace"), EXIT_USAGE;
	if (digits > 17)
		return error("--digits: at most 17"), EXIT_USAGE;
	o.digits = (int)digits;
	o.trace.overrides = a.overrides;
	o.trace.n_overrides = a.n_overrides;
	what = run_model_at(a.words[0], database, &arena);
	ret = !what || explain(what, &o, stdout) ? EXIT_USAGE : lab_flush();
	arena_release(&arena);
	return ret;
}

const struct cmd cmd_explain = {
	.name = "explain",
	.arguments = "SPEC|RUN@STEP|TRACE [--only TEXT] [--backward] [key=value...]",
	.help = "a step of a small model, operator by operator, with its formulas and numbers",
	.run = run,
};
