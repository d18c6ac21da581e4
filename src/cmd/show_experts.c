#include "cmd/show_experts.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "store/run_dir.h"
#include "train/products.h"
#include "train/routes.h"

enum { MOST_TOKENS = 10 };	/* of an expert */

struct request {
	const struct show_experts *asked;
	struct trained trained, before;
	struct run_spec spec;
	struct dataset data;
	struct tokenizer tokenizer;
	struct segments segments;
	struct routes now, then;
	int n_kept;			/* checkpoints of the run */
};

/* The token's bytes in quotes; without text its number. */
static const char *token_name(const struct request *r, struct arena *a, int token)
{
	struct str bytes, text;
	const char *kept;
	int32_t id = token;

	str_init(&bytes);
	str_init(&text);
	tokenizer_decode(&r->tokenizer, &id, 1, &bytes);
	str_add_printable(&text, bytes.text, bytes.length);
	kept = bytes.length ? arena_printf(a, "\"%s\"", text.text) : arena_printf(a, "#%d", token);
	str_release(&bytes);
	str_release(&text);
	return kept;
}

/* The most frequent first, with its share of the expert's choices; each that is named becomes 0. */
static const char *top_tokens(const struct request *r, struct arena *a, long *count, long all)
{
	const char *text = "";

	for (int n = 0; n < MOST_TOKENS; n++) {
		long best = 0;
		for (long i = 1; i < r->trained.n_vocab; i++)
			best = count[i] > count[best] ? i : best;
		if (!count[best])
			break;
		text = arena_printf(a, "%s%s%s %.0f%%", text, *text ? "  " : "", token_name(r, a, (int)best),
			100 * (double)count[best] / (double)all);
		count[best] = 0;
	}
	return text;
}

static void add_router(struct request *r, struct grid *g, int router, long *count)
{
	const struct router_routes *x = &r->now.routers[router];
	double kept = r->then.n ? routes_kept(&r->then, &r->now, router) : NAN,
		unserved = routes_unserved(&r->now, router);

	for (int e = 0; e < x->n_experts; e++) {
		long all = 0, kinds = 0;
		routes_count(&r->now, router, e, r->trained.n_vocab, count);
		for (long i = 0; i < r->trained.n_vocab; i++) {
			all += count[i];
			kinds += count[i] > 0;
		}
		double load = (double)all / (double)r->now.n_tokens;
		grid_row(g);
		grid_text(g, "%s", x->name);
		grid_number(g, e, "%d", e);
		grid_number(g, x->width[e] ? (double)x->width[e] : NAN, x->width[e] ? "%ld" : "-", x->width[e]);
		grid_number(g, load, "%.1f %%", 100 * load);
		grid_number(g, (double)kinds, "%ld", kinds);
		grid_number(g, unserved, "%.1f %%", 100 * unserved);
		grid_number(g, kept, isfinite(kept) ? "%.1f %%" : "-", 100 * kept);
		grid_text(g, "%s", top_tokens(r, &g->arena, count, all));
	}
}

static void add_notes(struct request *r, struct notes *n)
{
	bool takes = false;

	notes_add(n, NOTE_PLAIN, "data %.8s, split val: %ld tokens in windows of %ld; nothing dropped; no expert: tokens "
		"that none takes", r->data.hash, r->now.n_tokens, r->segments.length);
	for (int i = 0; i < r->now.n; i++)
		takes |= r->now.routers[i].takes;
	if (takes)
		notes_add(n, NOTE_PLAIN, "experts choose: here by a cutoff of scores, as without a batch, so that loads need "
			"not be even as they are in training");
	if (r->then.n)
		notes_add(n, NOTE_PLAIN, "kept: share of the choices at step %ld that the same tokens make at "
			"step %ld", r->before.step, r->trained.step);
	else if (r->n_kept > 1)
		notes_add(n, NOTE_PLAIN, "step %ld alone: --since names an older checkpoint, --step a newer one",
			r->trained.step);
	else
		notes_add(n, NOTE_PLAIN, "the run keeps one checkpoint: with checkpoint.keep=2 or more choices "
			"are compared between them");
}

static int print(struct request *r)
{
	long *count = xcalloc((size_t)r->trained.n_vocab, sizeof *count);
	struct grid g;

	grid_init(&g, "experts");
	grid_title(&g, "what experts take, step %ld", r->trained.step);
	grid_column(&g, "router", "router", COLUMN_TEXT);
	grid_column(&g, "expert", "expert", COLUMN_NUMBER);
	grid_column(&g, "width", "width", COLUMN_NUMBER);
	grid_column(&g, "load", "of the tokens", COLUMN_NUMBER);
	grid_column(&g, "kinds", "kinds of tokens", COLUMN_NUMBER);
	grid_column(&g, "unserved", "no expert, by router", COLUMN_NUMBER);
	grid_column(&g, "kept", "kept by router", COLUMN_NUMBER);
	grid_column(&g, "tokens", "most frequent", COLUMN_TEXT);
	for (int i = 0; i < r->now.n; i++)
		add_router(r, &g, i, count);
	free(count);
	add_notes(r, &g.notes);
	return lab_print(r->asked->lab, &g);
}

/* The oldest checkpoint that is kept, where another is asked for than the one looked at. */
static int open_before(struct request *r)
{
	long since = r->asked->since, *steps;

	steps = run_dir_checkpoints(arena_printf(&r->trained.arena, "%s/ckpt", r->asked->dir), &r->n_kept);
	for (int i = 0; i < r->n_kept && r->asked->since < 0; i++)
		since = since < 0 || steps[i] < since ? steps[i] : since;
	free(steps);
	if (since == r->trained.step)
		return 0;
	return trained_open(&r->before, r->asked->dir, since) ||
		routes_open(&r->then, &r->before, &device_list[CPU], &r->segments) ? -1 : 0;
}

static int open_data(struct request *r)
{
	if (run_spec_open(&r->spec, &r->trained.config) || trained_data(&r->trained, r->asked->data, &r->data))
		return -1;
	return trained_check_words(&r->data) || tokenizer_open(&r->tokenizer, r->data.tokenizer) ||
		segments_open(&r->segments, &r->data, SPLIT_VAL, r->spec.context,
			r->asked->tokens ? r->asked->tokens : r->spec.eval_tokens) ? -1 : 0;
}

int show_experts(const struct show_experts *s)
{
	struct request r = {.asked = s};
	int ret = EXIT_USAGE;

	if (trained_open(&r.trained, s->dir, s->step))
		return EXIT_USAGE;
	if (!trained_check_text(&r.trained) && !products_open(&device_list[CPU], s->dir) && !open_data(&r) &&
			!routes_open(&r.now, &r.trained, &device_list[CPU], &r.segments) && !open_before(&r))
		ret = print(&r);
	routes_close(&r.now);
	routes_close(&r.then);
	if (r.tokenizer.type)
		tokenizer_close(&r.tokenizer);
	dataset_close(&r.data);
	if (r.before.checkpoint)
		trained_close(&r.before);
	trained_close(&r.trained);
	return ret;
}
