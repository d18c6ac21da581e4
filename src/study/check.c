#include "study/check.h"

#include "base/str.h"
#include "study/provenance.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- refusals -------------------------------------------------------------------------------- */

static int refuse(struct study *s, const char *format, ...) PRINTF_LIKE(2, 3);

static int refuse(struct study *s, const char *format, ...)
{
	char reason[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	if (s->options.force) {
		notes_add(&s->notes, NOTE_STAMP, "%s", reason);
		return 0;
	}
	return error("sweep %s: refused: %s (--force shows it all the same, stamped)",
		s->name, reason);
}

/*
 * What rows must agree in, unless one of the keys is an axis of the sweep. Unlike values of the
 * refused make losses that no table may put side by side, of the doubted unlike training.
 */
static const struct sameness {
	const char *what;	/* NULL: the key says it */
	size_t member;		/* of struct run_data, a text; 0: the first of the keys */
	const char *keys[4];
	const char *usual;	/* of the first key where a run's record is older than the key */
	const struct sameness *also;	/* another key that it may come of, and that is no axis of it; NULL */
} doubted[] = {
	{NULL, 0, {"data.sampling"}, "shuffle", NULL},
	{NULL, 0, {"data.seed"}, "-1", NULL},
	{NULL, 0, {"train.batch"}, NULL, NULL},
	{"initial weights", 0, {"train.init_hash"}, "", NULL},
}, refused[] = {
	{"data", offsetof(struct run_data, data_hash), {"data.path"}, NULL, NULL},
	{"tokenizer", offsetof(struct run_data, tokenizer), {"data.path"}, NULL, NULL},
	{"vocabulary", 0, {"data.vocab"}, NULL, NULL},
	{"context", 0, {"train.context"}, NULL, NULL},
	/* With another context losses are of other tokens in front; evaluation goes by this key, too. */
	{"context across documents", 0, {"data.reset_at_eot"}, "false", NULL},
	{"token budget", 0, {"train.tokens"}, NULL, NULL},
	{"split evaluated", 0, {"eval.split"}, "val", NULL},
	{"evaluation windows", offsetof(struct run_data, windows),
		{"eval.tokens", "eval.split", "data.path", "train.context"}, NULL, &doubted[0]},
	{"precision", offsetof(struct run_data, precision), {NULL}, NULL, NULL},
};

static bool is_axis(const struct study *s, const struct sameness *same)
{
	for (int i = 0; i < (int)ARRAY_SIZE(same->keys) && same->keys[i]; i++)
		if (study_has_axis(s, same->keys[i]))
			return true;
	return false;
}

static const char *shown_label(const struct study *s, const struct run_data *r)
{
	for (int i = 0; i < s->n_arms; i++)
		for (int k = 0; k < s->arms[i].n; k++)
			if (s->arms[i].runs[k] == r)
				return s->arms[i].label;
	return r->label;
}

/* NULL: the record does not tell. */
static const char *value_of(const struct run_data *r, const struct sameness *same)
{
	const char *value = same->member ? run_member_text(r, same->member)
		: run_text(r, same->keys[0]);

	if (!value && !run_text(r, "foreign"))
		value = same->usual;
	return value && !*value ? "none" : value;
}

/* The first two runs of other values. */
static bool differ(const struct study *s, const struct sameness *same, const struct run_data *two[2])
{
	two[0] = NULL;
	for (int i = 0; i < s->n_runs; i++) {
		two[1] = &s->runs[i];
		if (!value_of(two[1], same))
			continue;
		if (!two[0])
			two[0] = two[1];
		if (strcmp(value_of(two[0], same), value_of(two[1], same)))
			return true;
	}
	return false;
}

/* Do the records of both have the key, with other values? */
static bool key_differs(const struct run_data *two[2], const char *key)
{
	const char *a = run_text(two[0], key), *b = run_text(two[1], key);

	return a && b && strcmp(a, b) != 0;
}

/* What the values come of: the other key where no own one has other values in the two runs. */
static const struct sameness *source_of(const struct sameness *same, const struct run_data *two[2])
{
	const char *a = same->also ? value_of(two[0], same->also) : NULL;
	const char *b = same->also ? value_of(two[1], same->also) : NULL;

	for (int i = 0; i < (int)ARRAY_SIZE(same->keys) && same->keys[i]; i++)
		if (key_differs(two, same->keys[i]))
			return same;
	return a && b && strcmp(a, b) ? same->also : same;
}

/* The key that has other values in the two runs; else the first, or NULL. */
static const char *key_of(const struct sameness *same, const struct run_data *two[2])
{
	for (int i = 0; i < (int)ARRAY_SIZE(same->keys) && same->keys[i]; i++)
		if (key_differs(two, same->keys[i]))
			return same->keys[i];
	return same->keys[0];
}

/* "context (train.context): mamba has 256, odd has 512" */
static const char *difference(struct study *s, const struct sameness *same,
	const struct run_data *two[2])
{
	const struct sameness *source = source_of(same, two);
	const char *key = key_of(source, two), *name = !same->what ? key : !key ? same->what
		: arena_printf(&s->arena, "%s (%s)", same->what, key);

	return arena_printf(&s->arena, "%s: %s has %.12s, %s has %.12s", name, shown_label(s, two[0]),
		value_of(two[0], source), shown_label(s, two[1]), value_of(two[1], source));
}

static int check_same(struct study *s, const struct sameness *same, bool refuses)
{
	const struct run_data *two[2];

	if (!differ(s, same, two))
		return 0;
	if (is_axis(s, same)) {
		notes_add(&s->notes, NOTE_PLAIN, "rows differ in %s on purpose: it is swept",
			same->what ? same->what : same->keys[0]);
		return 0;
	}
	if (refuses)
		return refuse(s, "rows differ in %s", difference(s, same, two));
	notes_add(&s->notes, NOTE_WARNING, "rows differ in %s; they were not trained alike",
		difference(s, same, two));
	return 0;
}

/* As where a sweep's file has changed and a part of its runs was done since: their mean would be of nothing. */
static int check_rows(struct study *s)
{
	const struct run_data *two[2];

	for (const struct arm *v = s->arms; v < s->arms + s->n_arms; v++) {
		const char *key = arm_key_apart(v, two);
		if (key && refuse(s, "runs of row %s differ in %s: %s of seed %ld, %s of seed %ld; `moelab run` of the sweep "
				"drops from it those that its file no longer names, `moelab exclude` a run from all sweeps",
				v->label, key, run_text(two[0], key), two[0]->seed, run_text(two[1], key), two[1]->seed))
			return -1;
	}
	return 0;
}

static int check_semantics(struct study *s)
{
	struct db_statement row;
	int result = 0;

	db_prepare(&row, s->db,
		"SELECT j.key, min(j.value), max(j.value) FROM run r, json_each(r.semantics) j"
		" WHERE r.state IN ('done', 'diverged')"
		" AND r.run_id NOT IN (SELECT run_id FROM exclusion)"
		" AND r.run_id IN (SELECT run_id FROM member"
		"  WHERE sweep_id IN (SELECT value FROM json_each(:sweeps)))"
		" GROUP BY j.key HAVING min(j.value) < max(j.value)");
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	while (!result && db_step(&row))
		result = refuse(s,
			"rows differ in semantics: %s was computed by version %s"
			" and by version %s",
			db_text(&row, 0), db_text(&row, 1), db_text(&row, 2));
	return db_finish(&row) || result ? -1 : 0;
}

static int check_rule(struct study *s)
{
	double shortest = INFINITY;

	for (int i = 0; i < s->n_runs; i++)
		if (!s->runs[i].diverged)
			shortest = fmin(shortest, s->runs[i].steps);
	if (shortest < (double)s->rule->min_steps)
		return refuse(s,
			"rule %s needs runs of %ld steps, these have %.0f; paper-scaled is"
			" for short runs",
			s->rule->name, s->rule->min_steps, shortest);
	if (s->rule->training && study_epochs(s) > 1)
		return refuse(s,
			"rule %s reads the training loss, but runs see their data %.1f times",
			s->rule->name, study_epochs(s));
	if (s->rule->from_first && shortest * s->rule->alpha < 50)
		notes_add(&s->notes, NOTE_WARNING,
			"the average of rule %s lags %.0f steps, %.0f %% of"
			" the run: ratios are pulled towards 1",
			s->rule->name, 1 / s->rule->alpha, 100 / (s->rule->alpha * shortest));
	return 0;
}

/* --- warnings -------------------------------------------------------------------------------- */

static bool few_seeds(struct study *s, const struct arm *v)
{
	(void)s;
	return v->n < 3;
}

static bool diverged(struct study *s, const struct arm *v)
{
	(void)s;
	return arm_diverged(v) > 0;
}

static bool short_warmup(struct study *s, const struct arm *v)
{
	double per_step = arm_number(v, "train.batch") * arm_number(v, "train.context");
	double steps = arm_number(v, "train.tokens") / per_step;

	(void)s;
	return fmax(arm_number(v, "train.warmup") * steps, arm_number(v, "train.warmup_min")) < 99.5;
}

static bool unequal_active(struct study *s, const struct arm *v)
{
	if (!s->baseline)
		return false;
	return fabs(v->runs[0]->params_active / s->baseline->runs[0]->params_active - 1) > 0.03;
}

static bool drops(struct study *s, const struct arm *v)
{
	(void)s;
	return ARM_MEAN(v, drop).mean > 0.01;
}

static bool starved(struct study *s, const struct arm *v)
{
	(void)s;
	return ARM_MEAN(v, least_load).mean < 0.1;
}

static bool clips(struct study *s, const struct arm *v)
{
	(void)s;
	return ARM_MEAN(v, clipped).mean > 0.5;
}

/* Losses of no token counted, as where documents end in front of train.position_from. */
static bool stands_still(struct study *s, const struct arm *v)
{
	(void)s;
	return ARM_MEAN(v, still).mean > 0.01;
}

/* The best of those that differ in the rate alone has the smallest or the largest of these rates. */
static bool rate_at_edge(struct study *s, const struct arm *v)
{
	const struct arm **rates;
	int n, best;

	if (!study_has_axis(s, "train.lr"))
		return study_tuned_at_edge(s, v);
	rates = arms_like(s, v, "train.lr", &n);
	best = trials_best(rates, n);
	return n > 1 && rates[best] == v && (best == 0 || best == n - 1);
}

/* What is best after a short trial need not be after a whole run. */
static bool rate_apart(struct study *s, const struct arm *v)
{
	return s->baseline && fabs(arm_number(v, "train.lr") - arm_number(s->baseline, "train.lr")) > 0 &&
		study_tuned_in_short(s, v) && study_tuned_in_short(s, s->baseline);
}

static bool coarse_curve(const struct curve *c, double target)
{
	struct crossing at = curve_cross(c, target);
	const double *x = c->x[AXIS_TOKENS];

	if (!at.reached)
		return false;
	return x[at.at] - (at.at ? x[at.at - 1] : 0) > 0.02 * curve_x(c, at, AXIS_TOKENS);
}

static bool coarse(struct study *s, const struct arm *v)
{
	for (int t = 0; t < s->n_targets; t++) {
		double target = s->targets[t];
		if (isnan(target) && s->baseline)
			target = ARM_MEAN(s->baseline, final_loss).mean;
		for (int i = 0; i < v->n; i++)
			if (coarse_curve(&v->runs[i]->curve, target))
				return true;
	}
	return false;
}

static bool foreign(struct study *s, const struct arm *v)
{
	(void)s;
	return arm_foreign(v);
}

static bool sees_its_future(struct study *s, const struct arm *v)
{
	(void)s;
	return !strcmp(v->runs[0]->depends, "F");
}

static const struct suspicion {
	bool (*holds)(struct study *s, const struct arm *v);
	const char *text;
} suspicions[] = {
	{diverged, "diverged runs count as not reached"},
	{foreign, "foreign curves, not run by moelab: data, context, budget and windows unchecked"},
	{sees_its_future, SEES_FUTURE},
	{few_seeds, "fewer than 3 seeds"},
	{short_warmup, "warm-up shorter than 100 steps"},
	{rate_at_edge, "best learning rate at the edge of its grid"},
	{rate_apart, "another learning rate than the baseline's, by trials of less than half of the budget, so that what "
		"rows differ by may be the rate's"},
	{unequal_active, "active parameters more than 3 % from the baseline's"},
	{drops, "more than 1 % of the routed tokens dropped at the end"},
	{starved, "an expert with less than a tenth of its even share at the end"},
	{clips, "gradients clipped in more than half of the steps"},
	{stands_still, "no gradient in more than 1 % of the steps"},
	{coarse, "evaluations further apart than 2 % of the way to the target"},
};

static void warn(struct study *s, const struct suspicion *suspicion)
{
	struct str list;
	int n = 0;

	str_init(&list);
	for (int i = 0; i < s->n_arms; i++)
		if (suspicion->holds(s, &s->arms[i])) {
			str_add_item(&list, "%s", s->arms[i].label);
			n++;
		}
	if (n > 0)
		notes_add(&s->notes, NOTE_WARNING, "%s: %s", suspicion->text,
			n == s->n_arms && n > 1 ? "all rows" : list.text);
	str_release(&list);
}

static const char *label_in_sweep(const struct study *s, long long sweep_id, const char *label)
{
	for (const struct arm *v = s->arms; v < s->arms + s->n_arms; v++)
		if (v->own->sweep->sweep_id == sweep_id && !strcmp(v->own->label, label))
			return v->label;
	return label;
}

/* Each by name: a mean without the runs that somebody did not like must not look like one of all. */
static int name_excluded(struct study *s)
{
	struct db_statement row;

	db_prepare(&row, s->db, "SELECT m.sweep_id, m.label, r.seed, e.reason"
		" FROM json_each(:sweeps) j JOIN member m ON m.sweep_id = j.value"
		" JOIN run r USING (run_id) JOIN exclusion e USING (run_id) ORDER BY j.key, m.n");
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	while (db_step(&row))
		notes_add(&s->notes, NOTE_WARNING, "excluded by hand: %s s%lld: %s",
			label_in_sweep(s, db_int(&row, 0), db_text(&row, 1)), db_int(&row, 2),
			db_text(&row, 3));
	return db_finish(&row);
}

/* Each by name: that is what `moelab rm` takes. */
static int name_cut(struct study *s)
{
	struct db_statement row;

	if (!s->n_cut)
		return 0;
	db_prepare(&row, s->db, "SELECT w.sweep_id, label, seed FROM json_each(:sweeps) j"
		" JOIN sweep w ON w.sweep_id = j.value JOIN runs ON runs.sweep = w.name WHERE " RUN_IS_CUT
		" ORDER BY j.key, n");
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	while (db_step(&row))
		notes_add(&s->notes, NOTE_WARNING, "left out, as its records lack the last evaluation "
			"(metrics.jsonl was damaged): %s s%lld: `moelab rm` takes it away, `moelab run` does it anew",
			label_in_sweep(s, db_int(&row, 0), db_text(&row, 1)), db_int(&row, 2));
	return db_finish(&row);
}

static void warn_all(struct study *s)
{
	if (s->n_unfinished)
		notes_add(&s->notes, NOTE_WARNING, "%d unfinished runs are left out",
			s->n_unfinished);
	if (study_epochs(s) > 1)
		notes_add(&s->notes, NOTE_WARNING,
			"runs see their data %.1f times: more than one epoch", study_epochs(s));
	for (int i = 0; i < s->n_targets; i++) {
		double first = study_begins_below(s, s->targets[i]);
		if (!isnan(first))
			notes_add(&s->notes, NOTE_WARNING, "target %g gives no ratio: %s begins below it, at %.3f %s",
				s->targets[i], s->baseline->label, first, study_loss_unit(s));
	}
	for (int i = 0; i < (int)ARRAY_SIZE(suspicions); i++)
		warn(s, &suspicions[i]);
}

/* --- facts ----------------------------------------------------------------------------------- */

/* Of equal configurations under two labels there is one run a seed: two rows are one measurement. */
static void note_shared_runs(struct study *s)
{
	struct str list;

	str_init(&list);
	for (int i = 0; i < s->n_arms; i++)
		for (int k = 0; k < i; k++)
			if (s->arms[k].runs[0]->id == s->arms[i].runs[0]->id) {
				str_add_item(&list, "%s and %s", s->arms[i].label, s->arms[k].label);
				break;
			}
	if (list.length)
		notes_add(&s->notes, NOTE_PLAIN, "equal configurations, whose rows are the same runs: %s", list.text);
	str_release(&list);
}

static void state_facts(struct study *s)
{
	const struct run_data *r = &s->runs[0];
	char tokens[32], evaluated[32];

	if (s->n_sweeps > 1)
		notes_add(&s->notes, NOTE_PLAIN,
			"%d sweeps together: baseline and targets are those of %s; a configuration"
			" of several stands once",
			s->n_sweeps, s->sweeps[0].name);
	notes_add(&s->notes, NOTE_PLAIN,
		"rule %s: %s; first crossing, interpolated between evaluations%s", s->rule->name,
		s->rule->help, s->rule->baseline_at_end ? "" : ", for baseline and variants alike");
	str_count((long long)r->tokens, tokens);
	str_count((long long)r->eval_tokens, evaluated);
	notes_add(&s->notes, NOTE_PLAIN,
		"budget %s tokens, %.0f steps; data %.8s (%s); validation on %s tokens; %s", tokens,
		r->steps, r->data_hash ? r->data_hash : "unknown",
		r->tokenizer ? r->tokenizer : "?", evaluated,
		r->precision ? r->precision : "precision unknown");
	note_provenances(s);
	note_shared_runs(s);
}

int check_study(struct study *s)
{
	for (int i = 0; i < (int)ARRAY_SIZE(refused); i++)
		if (check_same(s, &refused[i], true))
			return -1;
	if (check_rows(s) || check_semantics(s) || check_rule(s))
		return -1;
	state_facts(s);
	for (int i = 0; i < (int)ARRAY_SIZE(doubted); i++)
		check_same(s, &doubted[i], false);
	if (name_excluded(s) || name_cut(s))
		return -1;
	warn_all(s);
	return 0;
}
