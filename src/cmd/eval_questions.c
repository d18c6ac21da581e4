#include "cmd/eval_questions.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/hash.h"
#include "train/answers.h"

static void add_share(struct grid *g, struct share s)
{
	grid_number(g, s.mean, isfinite(s.mean) ? "%.1f %%" : "-", 100 * s.mean);
	grid_number(g, s.error, isfinite(s.error) ? "%.1f %%" : "-", 100 * s.error);
}

static void add_row(struct grid *g, const struct answer_score *s)
{
	grid_row(g);
	grid_text(g, "%s", s->set);
	grid_number(g, (double)s->n, "%ld", s->n);
	grid_number(g, s->single ? NAN : s->chance, s->single ? "-" : "%.1f %%", 100 * s->chance);
	add_share(g, s->acc);
	add_share(g, s->acc_norm);
	grid_number(g, s->single ? s->ppl : NAN, s->single ? "%.4g" : "-", s->ppl);
}

static void add_columns(struct grid *g)
{
	grid_column(g, "set", "set", COLUMN_TEXT);
	grid_column(g, "questions", "questions", COLUMN_NUMBER);
	grid_column(g, "chance", "chance", COLUMN_NUMBER);
	grid_column(g, "acc", "acc", COLUMN_NUMBER);
	grid_column(g, "acc_error", "+-", COLUMN_NUMBER);
	grid_column(g, "acc_norm", "acc_norm", COLUMN_NUMBER);
	grid_column(g, "acc_norm_error", "+-", COLUMN_NUMBER);
	grid_column(g, "ppl", "ppl of the answer", COLUMN_NUMBER);
}

/* What is asked then may not be what the question says: of `copy` nothing may be left to copy. */
static void warn_of_cuts(struct grid *g, const struct trained *t, const struct answer_score *scores, int n)
{
	long context = config_find(&t->config, "train.context")->integer;

	for (int i = 0; i < n; i++)
		if (scores[i].n_cut)
			notes_add(&g->notes, NOTE_WARNING, "%s: %ld of %ld contexts are longer than the training context of "
				"%ld tokens and are cut in front: `moelab data ask --context` makes shorter ones",
				scores[i].set, scores[i].n_cut, scores[i].n, context);
}

static void add_notes(struct grid *g, const struct trained *t, const struct device *device, const char *path,
	const char *hash)
{
	notes_add(&g->notes, NOTE_PLAIN, "questions of %s (%.8s); +-: standard error", path, hash);
	notes_add(&g->notes, NOTE_PLAIN, "acc: the most probable choice is the answer, of k as probable ones a k-th; "
		"acc_norm: the same of log p / characters; of one choice, every token is the model's best guess");
	notes_add(&g->notes, NOTE_PLAIN, "checkpoint of step %ld; %s; %s", t->step, trained_rule(t),
		device->precision);
}

int eval_questions(const struct lab *lab, const struct trained *t, const struct device *device,
	const char *path)
{
	struct answer_score *scores;
	struct questions q;
	char hash[HASH_HEX];
	struct grid g;
	int n, ret = EXIT_USAGE;

	if (hash_file(path, hash) || questions_read(&q, path))
		return EXIT_USAGE;
	scores = answers_run(t, device, &q, &n);
	if (scores) {
		grid_init(&g, "questions");
		grid_title(&g, "right answers");
		add_columns(&g);
		for (int i = 0; i < n; i++)
			add_row(&g, &scores[i]);
		add_notes(&g, t, device, path, hash);
		warn_of_cuts(&g, t, scores, n);
		ret = lab_print(lab, &g);
	}
	questions_release(&q);
	free(scores);
	return ret;
}
