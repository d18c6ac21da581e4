/* moelab eval RUN: loss of a run's model on data, at lengths and by protocols of choice; or its answers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "cmd/eval_questions.h"
#include "cmd/eval_tests.h"
#include "cmd/lab.h"
#include "cmd/run_model.h"
#include "show/chart.h"
#include "train/products.h"
#include "train/protocol.h"

extern const struct cmd cmd_eval;

enum { MAX_LENGTHS = 32 };

struct request {
	struct lab lab;			/* forms of tables, the database's path */
	const char *folder, *split_word, *modes, *lengths_text, *device_word;
	const char *plot;		/* the figure's file; NULL: none */
	const char *questions;		/* asked in place of all else; NULL: none */
	long stride, tokens, step, threads;	/* stride -1: half of each length; step -1: the newest */
	bool by_position;
	/* made ready: */
	struct trained trained;
	struct run_spec spec;
	struct dataset data;
	struct segments segments;
	const struct device *device;
	enum split split;
	bool mode[N_PROTOCOLS];
	long lengths[MAX_LENGTHS];
	int n_lengths;
	struct chart chart;		/* filled whether it is asked for or not */
	struct panel *panel;
	struct series *line;		/* the last one */
};

/* ---- what is asked for ---------------------------------------------------------------------- */

/* The next of a list with commas, in the arena; NULL at its end. */
static const char *next_word(struct arena *a, const char **list)
{
	size_t n = strcspn(*list, ",");
	const char *word = arena_printf(a, "%.*s", (int)n, *list);

	if (!**list)
		return NULL;
	*list += n + ((*list)[n] == ',');
	return word;
}

static int parse_modes(struct request *r)
{
	const char *list = r->modes, *word;
	bool any = false;

	while ((word = next_word(&r->lab.arena, &list))) {
		int i = str_index(word, protocol_name, N_PROTOCOLS);
		if (i < 0)
			return error("--mode %s: not reset, sliding or carried", word);
		r->mode[i] = true;
		any = true;
	}
	return any ? 0 : error("--mode: none given");
}

static int parse_split(struct request *r)
{
	for (int i = 0; i < N_SPLITS; i++)
		if (!strcmp(r->split_word, split_name((enum split)i))) {
			r->split = (enum split)i;
			return 0;
		}
	return error("--split %s: not train, val or tune", r->split_word);
}

/* "512" tokens, or "2x" the training length. */
static int parse_length(const struct request *r, const char *word, long *length)
{
	bool times = str_ends(word, "x");
	char *number = xasprintf("%.*s", (int)strlen(word) - times, word);
	long long n;
	int ret = str_to_long(number, &n) && n > 0 && n <= 1 << 24 ? 0
		: error("--length %s: not a number of tokens, nor 2x for twice the training length", word);

	free(number);
	*length = ret ? 0 : (long)n * (times ? r->spec.context : 1);
	return ret;
}

static int parse_lengths(struct request *r, long *longest)
{
	const char *list = r->lengths_text, *word;

	*longest = 0;
	while ((word = next_word(&r->lab.arena, &list))) {
		long *length = &r->lengths[r->n_lengths];
		if (r->n_lengths == MAX_LENGTHS)
			return error("--length: more than %d lengths", MAX_LENGTHS);
		if (parse_length(r, word, length))
			return -1;
		*longest = *length > *longest ? *length : *longest;
		r->n_lengths++;
	}
	for (int i = 0; i < r->n_lengths; i++)
		if (*longest % r->lengths[i])
			return error("--length: %ld does not divide the longest, %ld, so they cannot score the "
				"same tokens", r->lengths[i], *longest);
	return r->n_lengths ? 0 : error("--length: none given");
}

static long stride_of(const struct request *r, long length)
{
	return r->stride > 0 ? r->stride : (length + 1) / 2;
}

static int check_strides(const struct request *r)
{
	if (r->stride == 0)
		return error("--stride 0: windows move by one token at least; without it by half of each length");
	for (int i = 0; r->mode[PROTOCOL_SLIDING] && i < r->n_lengths; i++)
		if (r->lengths[i] % stride_of(r, r->lengths[i]))
			return error("--stride %ld does not divide the length %ld",
				stride_of(r, r->lengths[i]), r->lengths[i]);
	return 0;
}

/* ---- the tables ----------------------------------------------------------------------------- */

static void add_cells(struct grid *g, const struct request *r, enum protocol how, long length)
{
	grid_row(g);
	grid_text(g, "%s", protocol_name[how]);
	grid_number(g, (double)length, "%ld", length);
	grid_number(g, (double)length / (double)r->spec.context, length % r->spec.context ? "%.3gx" : "%.0fx",
		(double)length / (double)r->spec.context);
	if (how == PROTOCOL_SLIDING)
		grid_number(g, (double)stride_of(r, length), "%ld", stride_of(r, length));
	else
		grid_text(g, "%s", "");
}

static void add_loss(struct grid *g, double nll, double tokens, double bits_per_nat)
{
	double loss = nll / tokens;

	grid_number(g, loss, "%.4f", loss);
	grid_number(g, exp(loss), "%.4g", exp(loss));
	grid_number(g, loss * bits_per_nat, "%.4f", loss * bits_per_nat);
	grid_number(g, tokens, "%.0f", tokens);
}

/* ---- the figure ----------------------------------------------------------------------------- */

static void begin_chart(struct request *r)
{
	struct chart *c = &r->chart;

	chart_init(c, "eval");
	c->title = r->by_position ? "loss by tokens of context" : "loss by length";
	c->subtitle = arena_printf(&c->arena, "%ld segments of %ld tokens of split %s; trained with %ld tokens at "
		"once, step %ld", r->segments.n, r->segments.length, r->split_word, r->spec.context,
		r->trained.step);
	c->x_title = r->by_position ? "tokens of context" : "length, tokens";
	c->x_log = c->ordered = true;
	r->panel = chart_panel(c, "loss, nats per token");
}

static void begin_line(struct request *r, const char *label, int n)
{
	r->line = chart_series(&r->chart, r->panel, label, r->panel->n_series % N_STYLES, n);
	r->line->points = true;
	r->line->n = 0;
}

static void add_point(struct request *r, long x, double loss)
{
	r->line->x[r->line->n] = (double)x;
	r->line->y[r->line->n++] = loss;
}

static int draw(struct request *r)
{
	return chart_dress(&r->chart, &LOOK_USUAL) ? EXIT_USAGE
		: chart_write(&r->chart, chart_format_of(r->plot), r->plot);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static int add_rows(struct grid *g, struct request *r, enum protocol how, long length)
{
	double bits = dataset_bits_per_nat(&r->data, r->split);
	struct protocol_loss loss;

	if (protocol_run(&r->trained, r->device, &r->segments, how, length, stride_of(r, length), &loss))
		return -1;
	if (!r->by_position) {
		add_cells(g, r, how, length);
		add_loss(g, loss.nll, loss.tokens, bits);
		add_point(r, length, loss.nll / loss.tokens);
	} else {
		begin_line(r, arena_printf(&r->lab.arena, "%s %ld", protocol_name[how], length),
			loss.classes.n);
	}
	for (int i = 0; r->by_position && i < loss.classes.n; i++) {
		if (!loss.tokens_of[i])
			continue;
		add_cells(g, r, how, length);
		grid_number(g, (double)loss.classes.low[i], "%ld", loss.classes.low[i]);
		grid_number(g, (double)loss.classes.high[i], "%ld", loss.classes.high[i]);
		add_loss(g, loss.nll_of[i], loss.tokens_of[i], bits);
		add_point(r, loss.classes.high[i], loss.nll_of[i] / loss.tokens_of[i]);
	}
	classes_release(&loss.classes);
	return 0;
}

static void add_columns(struct grid *g, const struct request *r)
{
	grid_column(g, "mode", "mode", COLUMN_TEXT);
	grid_column(g, "length", "length", COLUMN_NUMBER);
	grid_column(g, "of_training", "of training", COLUMN_NUMBER);
	grid_column(g, "stride", "stride", COLUMN_NUMBER);
	if (r->by_position) {
		grid_column(g, "context_low", "context from", COLUMN_NUMBER);
		grid_column(g, "context_high", "to", COLUMN_NUMBER);
	}
	grid_column(g, "loss", "loss", COLUMN_NUMBER);
	grid_column(g, "ppl", "ppl", COLUMN_NUMBER);
	grid_column(g, "bits_per_byte", "bits/byte", COLUMN_NUMBER);
	grid_column(g, "tokens", "tokens", COLUMN_NUMBER);
}

static void add_notes(struct grid *g, const struct request *r)
{
	notes_add(&g->notes, NOTE_PLAIN, "data %.8s (%s), split %s: %ld segments of %ld tokens, the same for all rows",
		r->data.hash, r->data.tokenizer, r->split_word, r->segments.n, r->segments.length);
	if (r->mode[PROTOCOL_RESET])
		notes_add(&g->notes, NOTE_PLAIN, "reset: windows of `length` tokens, each by itself");
	if (r->mode[PROTOCOL_SLIDING])
		notes_add(&g->notes, NOTE_PLAIN, "sliding: windows `stride` apart, each token scored once, with at least "
			"length - stride in front of it but in a segment's first window");
	if (r->mode[PROTOCOL_CARRIED])
		notes_add(&g->notes, NOTE_PLAIN, "carried: one pass through each segment, states go on; attention sees "
			"`length` tokens in front of each, so that at the longest length it is reset's");
	if (r->mode[PROTOCOL_CARRIED] && r->segments.length <= r->spec.context)
		notes_add(&g->notes, NOTE_WARNING, "carried: each segment is one window of %ld tokens, so nothing is carried: "
			"segments are as long as the longest length, name a longer one too (--length 1x,4x)",
			r->segments.length);
	if (r->by_position)
		notes_add(&g->notes, NOTE_PLAIN, "context: tokens since the window began (carried: the segment)%s, "
			"the input among them", r->spec.reset_at_eot ? " or the document" : "");
	notes_add(&g->notes, NOTE_PLAIN, "checkpoint of step %ld; trained with %ld tokens at once; %s; %s",
		r->trained.step, r->spec.context, trained_rule(&r->trained), r->device->precision);
}

/* -1 after a message. */
static int add_modes(struct grid *g, struct request *r)
{
	for (int mode = 0; mode < N_PROTOCOLS; mode++) {
		if (!r->mode[mode])
			continue;
		if (!r->by_position)
			begin_line(r, protocol_name[mode], r->n_lengths);
		for (int i = 0; i < r->n_lengths; i++)
			if (add_rows(g, r, (enum protocol)mode, r->lengths[i]))
				return -1;
	}
	return 0;
}

static int evaluate(struct request *r)
{
	struct grid g;
	int ret;

	grid_init(&g, "eval");
	grid_title(&g, "loss by %s", r->by_position ? "tokens of context" : "length");
	add_columns(&g, r);
	begin_chart(r);
	if (add_modes(&g, r)) {
		grid_release(&g);
		chart_release(&r->chart);
		return EXIT_USAGE;
	}
	add_notes(&g, r);
	ret = lab_print(&r->lab, &g);
	if (!ret && r->plot)
		ret = draw(r);
	chart_release(&r->chart);
	return ret;
}

/* ---- the command ---------------------------------------------------------------------------- */

/* Options that say on what losses of text are taken, of what has none. 0, or -1 after a message. */
static int check_none(const struct request *r, const char *what)
{
	const struct { const char *name; bool given; } losses[] = {{"split", r->split_word}, {"mode", r->modes},
		{"length", r->lengths_text}, {"stride", r->stride >= 0}, {"tokens", r->tokens},
		{"by-position", r->by_position}, {"plot", r->plot}};

	for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
		if (losses[i].given)
			return error("%s: --%s says nothing of them, leave it out", what, losses[i].name);
	return 0;
}

static int check_questions(const struct request *r)
{
	static const char what[] = "eval --questions scores each question as it stands";

	if (r->questions && r->folder)
		return error("%s: --data says nothing of them, leave it out", what);
	return r->questions ? check_none(r, what) : 0;
}

static void set_defaults(struct request *r)
{
	r->split_word = r->split_word ? r->split_word : "val";
	r->modes = r->modes ? r->modes : "reset";
	r->lengths_text = r->lengths_text ? r->lengths_text : "1x,2x,4x";
}

static int eval_text(struct request *r)
{
	long longest;

	set_defaults(r);
	if (trained_check_text(&r->trained) || parse_modes(r) || parse_split(r) ||
		run_spec_open(&r->spec, &r->trained.config) || parse_lengths(r, &longest) || check_strides(r) ||
		segments_open(&r->segments, &r->data, r->split, longest, r->tokens ? r->tokens : r->spec.eval_tokens))
		return EXIT_USAGE;
	return evaluate(r);
}

static int eval_examples(struct request *r)
{
	char *what = xasprintf("%s: holds rows of examples, whose test sets are scored", r->data.folder);
	int ret = check_none(r, what) ? EXIT_USAGE : eval_tests(&r->lab, &r->trained, r->device, &r->data);

	free(what);
	return ret;
}

static int open_and_evaluate(struct request *r, const char *dir)
{
	int ret = EXIT_USAGE;

	r->device = device_find(r->device_word);
	if (!r->device || trained_open(&r->trained, dir, r->step))
		return EXIT_USAGE;
	if (products_open(r->device, dir))
		ret = EXIT_USAGE;
	else if (r->questions)
		ret = trained_check_text(&r->trained) ? EXIT_USAGE
			: eval_questions(&r->lab, &r->trained, r->device, r->questions);
	else if (!trained_data(&r->trained, r->folder, &r->data))
		ret = r->data.splits[SPLIT_TRAIN].row ? eval_examples(r) : eval_text(r);
	dataset_close(&r->data);
	trained_close(&r->trained);
	return ret;
}

static int run(int argc, char **argv)
{
	struct request r = {.lab = LAB_NEW, .device_word = "cpu", .stride = -1, .step = -1};
	const struct option_row rows[] = {
		{"data", 0, "DIR", "dataset (default the run's)", .text = &r.folder},
		{"split", 0, "NAME", "train, val or tune (default val)", .text = &r.split_word},
		{"mode", 0, "MODES", "reset, sliding, carried, or some of them with commas (default reset)",
			.text = &r.modes},
		{"length", 0, "LENGTHS", "in tokens, or times the training length (default 1x,2x,4x); each "
			"divides the longest, the length of the segments", .text = &r.lengths_text},
		{"stride", 0, "N", "of sliding windows (default half of each length)", .number = &r.stride},
		{"tokens", 0, "N", "to score (default the run's eval.tokens)", .number = &r.tokens},
		{"by-position", 0, NULL, "rows by tokens of context: 1, 2, 3-4, 5-8, ...",
			.flag = &r.by_position},
		{"plot", 0, "FILE", "draw the losses", .text = &r.plot},
		{"questions", 0, "FILE", "instead: how many of these the model answers right (`moelab data ask`)",
			.text = &r.questions},
		{"step", 0, "N", "checkpoint of this step (default the newest)", .number = &r.step},
		{"device", 0, "NAME", "ref (float64), cpu or cuda", .text = &r.device_word},
		{"threads", 'T', "N", "default all cores", .number = &r.threads},
		LAB_DB(r.lab), LAB_FORM(r.lab),
		{0},
	};
	struct arguments a;
	const char *dir;
	int ret = options_parse(&cmd_eval, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || a.n_overrides)
		return error("eval takes one run: " RUN_WORDS), EXIT_USAGE;
	if (check_questions(&r))
		return EXIT_USAGE;
	if (!grid_format_find(r.lab.format) || (r.plot && !chart_format_of(r.plot)))
		return EXIT_USAGE;
	cpu_threads((int)r.threads);
	dir = run_model_dir(a.words[0], r.lab.path, &r.lab.arena);
	ret = dir ? open_and_evaluate(&r, dir) : EXIT_USAGE;
	arena_release(&r.lab.arena);
	return ret;
}

const struct cmd cmd_eval = {
	.name = "eval",
	.arguments = "RUN [--mode MODES] [--length LENGTHS] | RUN --questions FILE",
	.help = "loss of a run's model by length and position, under a stated protocol; of a task, right answers",
	.run = run,
};
