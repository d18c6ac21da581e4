/* moelab grow RUN SPEC -o FILE: weights of a larger model, from which a run of SPEC begins. */
#include "base/error.h"
#include "cmd/options.h"
#include "cmd/run_model.h"
#include "train/grow.h"
#include "train/trained.h"

extern const struct cmd cmd_grow;

struct request {
	const char *database, *output;
	long step;			/* -1: the newest checkpoint */
	double noise;
	struct trained from;
	struct model smaller;
	struct config to;
};

/* An exit code. */
static int grow(struct request *r, struct setup *s)
{
	enum { TOKENS = 16 };		/* of a replay that never is: what has memory is weights */
	struct run_spec spec;

	if (model_open(&r->smaller, &r->from.config, &r->from.arena) || run_spec_open(&spec, &r->to) ||
		setup_open_losses(s, &r->to, &device_list[CPU], r->from.n_vocab, spec.micro_batch,
			TOKENS * r->smaller.patch, 0))
		return EXIT_USAGE;
	if (setup_allocate(s) ||
		grow_weights(s, r->from.checkpoint, grow_mixture(&r->smaller), r->noise))
		return EXIT_USAGE;
	return grow_write(s, r->output, r->from.checkpoint) ? EXIT_ENVIRONMENT : EXIT_DONE;
}

static int open_and_grow(struct request *r, const char *dir, const struct arguments *words)
{
	struct setup s = {0};
	int ret = EXIT_USAGE;

	if (trained_open(&r->from, dir, r->step))
		return EXIT_USAGE;
	if (!spec_load(&r->from.arena, words->words[1], words->overrides, words->n_overrides, spec_schema(),
		&r->to))
		ret = grow(r, &s);
	if (!ret)
		info("%s: weights of %s as they were at step %ld, grown: begin with train.init_from=%s", r->output,
			dir, r->from.step, r->output);
	setup_close(&s);
	trained_close(&r->from);
	return ret;
}

static int run(int argc, char **argv)
{
	struct request r = {.database = "results/lab.db", .step = -1, .noise = 0.1};
	const struct option_row rows[] = {
		{"output", 'o', "FILE", "where the weights go", .text = &r.output},
		{"step", 0, "N", "checkpoint of this step (default the newest)", .number = &r.step},
		{"noise", 0, "X", "of the routers' rows for copies of an expert, of their size (default 0.1); "
			"0: what the model gives stays, and copies stay idle", .real = &r.noise},
		{"db", 0, "FILE", "database (default results/lab.db)", .text = &r.database},
		{0},
	};
	struct arguments words;
	struct arena a = {0};
	const char *dir;
	int ret = options_parse(&cmd_grow, rows, argc, argv, &words);

	if (ret != GO_ON)
		return ret;
	if (words.n_words != 2 || !r.output || r.noise < 0)
		return error("grow takes a run, the spec of a larger model, and -o FILE; --noise is not negative"),
			EXIT_USAGE;
	dir = run_model_dir(words.words[0], r.database, &a);
	ret = dir ? open_and_grow(&r, dir, &words) : EXIT_USAGE;
	arena_release(&a);
	return ret;
}

const struct cmd cmd_grow = {
	.name = "grow",
	.arguments = "RUN SPEC [key=value...] -o FILE",
	.help = "weights of a larger model from a run's: more experts, or experts of a dense layer",
	.run = run,
};
