#include "cmd/eval_tests.h"

#include "base/error.h"
#include "train/checkpoint.h"
#include "train/recall.h"

static void add_columns(struct grid *g, bool forecasts)
{
	grid_column(g, "test", "test", COLUMN_TEXT);
	grid_column(g, "examples", "examples", COLUMN_NUMBER);
	grid_column(g, "loss", forecasts ? "mean squared error" : "loss", COLUMN_NUMBER);
	if (forecasts) {
		grid_column(g, "mae", "mean absolute error", COLUMN_NUMBER);
		return;
	}
	grid_column(g, "n_tokens", "tokens", COLUMN_NUMBER);
	grid_column(g, "accuracy", "right", COLUMN_NUMBER);
	grid_column(g, "n_answers", "answers", COLUMN_NUMBER);
	grid_column(g, "answer_accuracy", "whole", COLUMN_NUMBER);
}

static void add_share(struct grid *g, long part, long all)
{
	double share = (double)part / (double)all;

	grid_number(g, (double)all, "%ld", all);
	grid_number(g, share, "%.1f %%", 100 * share);
}

static void add_row(struct grid *g, const struct dataset_split *of, const struct recall_score *score, bool forecasts)
{
	double tokens = (double)score->tokens;

	grid_row(g);
	grid_text(g, "%s", of->name);
	grid_number(g, (double)of->n_documents, "%ld", of->n_documents);
	grid_number(g, score->nll / tokens, "%.4f", score->nll / tokens);
	if (forecasts) {
		grid_number(g, score->error / tokens, "%.4f", score->error / tokens);
		return;
	}
	add_share(g, score->right, score->tokens);
	add_share(g, score->whole, score->answers);
}

/* -1 after a message. */
static int add_tests(struct grid *g, const struct setup *s, const struct dataset *data)
{
	for (int i = N_SPLITS; i < data->n_splits; i++) {
		struct recall_score score;
		if (recall_test(&score, s, data, (enum split)i))
			return -1;
		add_row(g, &data->splits[i], &score, s->model.forecasts);
	}
	return 0;
}

static void add_notes(struct grid *g, const struct setup *s, const struct trained *t, const struct dataset *data)
{
	if (s->model.forecasts)
		notes_add(&g->notes, NOTE_PLAIN, "errors in units of the data as they are stored: deviations of each column");
	else
		notes_add(&g->notes, NOTE_PLAIN, "right: of the tokens asked for, those that are the model's best guess, the "
			"true ones before given; whole: of the answers, those with every token right; loss: nats per token");
	notes_add(&g->notes, NOTE_PLAIN, "data %.8s; checkpoint of step %ld; trained with %ld tokens at once; %s; %s",
		data->hash, t->step, s->spec.context, trained_rule(t), s->device->precision);
}

int eval_tests(const struct lab *lab, const struct trained *t, const struct device *device,
	const struct dataset *data)
{
	const struct setup_data of = setup_data_of(data);
	struct setup s = {0};
	int ret = EXIT_USAGE;
	struct grid g;

	if (!of.n_tests)
		return error("%s: has no test sets: `moelab data make` makes them", data->folder), EXIT_USAGE;
	if (setup_open_tests(&s, &t->config, device, &of))
		return EXIT_USAGE;
	grid_init(&g, "tests");
	grid_title(&g, s.model.forecasts ? "forecasts" : "right answers");
	add_columns(&g, s.model.forecasts);
	if (setup_allocate(&s) || checkpoint_weights(&s, t->checkpoint, false) || add_tests(&g, &s, data)) {
		grid_release(&g);
	} else {
		add_notes(&g, &s, t, data);
		ret = lab_print(lab, &g);
	}
	setup_close(&s);
	return ret;
}
