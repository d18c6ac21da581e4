/* Rules that bring tokens to experts, side by side: what each reaches, costs, and does with its experts. */
#include "report/table.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool applies(const struct study *s)
{
	for (int i = 0; i < s->n_runs; i++)
		if (s->runs[i].routers > 0)
			return true;
	return false;
}

/* Of an arm's last records, means over routers and seeds. */
struct routed {
	const struct arm *switch_arm;	/* first in the study with Switch routing; NULL: none */
	const char *routers;
	double most, entropy, dead, choices, width;
};

static CELL(cell_router)
{
	const struct routed *x = r->more;

	grid_text(g, "%s", x->routers);
}

static CELL(cell_to_switch)
{
	const struct routed *x = r->more;

	put_difference(g, r->s, r->v, x->switch_arm, "switch");
}

static CELL(null_to_switch)
{
	const struct routed *x = r->more;

	put_null_difference(g, x->switch_arm);
}

static CELL(cell_flops_per_token)
{
	put_flops(g, ARM_MEAN(r->v, flops).mean / ARM_MEAN(r->v, tokens).mean, 0);
}

static CELL(cell_routed)
{
	c->put(g, *(const double *)(const void *)((const char *)r->more + c->member), c->digits);
}

/* Runs of an arm whose rule is the least and the most, as numbers; NULL: none tells one. With drop_target each seed
   ends elsewhere. */
static void range_of_rules(const struct arm *v, const struct run_data **least, const struct run_data **most)
{
	*least = *most = NULL;
	for (int i = 0; i < v->n; i++) {
		const struct run_data *run = v->runs[i];
		if (!*run->capacity_rule || !(run->routers > 0))
			continue;
		if (!*least || atof(run->capacity_rule) < atof((*least)->capacity_rule))
			*least = run;
		if (!*most || atof(run->capacity_rule) > atof((*most)->capacity_rule))
			*most = run;
	}
}

/* By which the last validation gave tokens to experts. */
static CELL(cell_rule)
{
	const struct run_data *least, *most;
	const char *rule, *select = run_text(r->v->runs[0], "model.moe.select");

	range_of_rules(r->v, &least, &most);
	rule = least ? least->capacity_rule : "";
	if (!*rule)
		grid_text(g, "-");
	else if (isdigit((unsigned char)*rule) && strcmp(rule, most->capacity_rule))
		grid_text(g, "capacity %s to %s", rule, most->capacity_rule);
	else if (!strcmp(rule, "0"))
		grid_text(g, "all");
	else if (!isdigit((unsigned char)*rule))
		grid_text(g, "%s", rule);
	else	/* of older runs also ranks */
		grid_text(g, "%s %s", select && !strcmp(select, "expert_choice_batch") ? "rank" : "capacity", rule);
}

static CELL(cell_depends)
{
	const char *depends = r->v->runs[0]->depends;

	grid_text(g, "%s", *depends ? depends : "-");
}

#define ROUTED(name, title, form, ...)                                                             \
	{#name, title, COLUMN_NUMBER, .cell = cell_routed, .member = offsetof(struct routed, name), \
		.put = form, __VA_ARGS__}
static const struct column columns[] = {
	COLUMNS_OF_MODEL,
	{"router", "router", COLUMN_TEXT, .cell = cell_router},
	COLUMN_SEEDS,
	COLUMN_LOSS,
	{"to_switch", "to switch", COLUMN_INTERVAL, .cell = cell_to_switch, .null = null_to_switch},
	COLUMN_DIFFERENCE,
	ROUTED(choices, "experts a token", put_value, .digits = 2),
	ROUTED(width, "width", put_value, .digits = 2),
	{"eval_choices", "in evaluation", COLUMN_NUMBER, .cell = cell_average, OF(eval_choices), .put = put_value,
		.digits = 2},
	{"eval_rule", "evaluated by", COLUMN_TEXT, .cell = cell_rule},
	{"unserved", "no expert", COLUMN_NUMBER, .cell = cell_average, OF(unserved), .put = put_share},
	ROUTED(most, "MaxVio", put_value, .digits = 2),
	ROUTED(entropy, "entropy / ln E", put_value, .digits = 3),
	COLUMN_DROP,
	ROUTED(dead, "dead experts", put_value, .digits = 1),
	{"flops_per_token", "FLOPs/token", COLUMN_NUMBER, .cell = cell_flops_per_token},
	{"tokens_per_s", "tokens/s", COLUMN_INTERVAL, .cell = cell_speed},
	{"depends", "depends on", COLUMN_TEXT, .cell = cell_depends},
};

static const char sql[] =
	"WITH last AS (SELECT run_id, max(step) AS step FROM expert"
	"  WHERE run_id IN (SELECT value FROM json_each(:runs)) GROUP BY run_id),"
	" by_router AS (SELECT e.run_id, e.step, e.router, count(*) AS n, "
	"  CASE WHEN max(e.load) > 0 THEN max(e.load) * count(*) - 1 END AS most"
	"  FROM expert e JOIN last USING (run_id, step) GROUP BY e.run_id, e.router)"
	" SELECT avg(b.most), avg(l.entropy / ln(b.n)), sum(l.dead) * 1.0 / count(DISTINCT b.run_id),"
	" avg(l.choices), avg(l.width) FROM by_router b JOIN run r ON r.run_id = b.run_id"
	" LEFT JOIN router l ON l.run_id = b.run_id AND l.step = b.step AND l.router = b.router"
	" WHERE r.state = 'done'";

static int read_routed(struct study *s, const struct arm *v, struct routed *x)
{
	struct db_statement found;

	db_prepare(&found, s->db, sql);
	db_bind_text(&found, ":runs", arm_run_ids(s, v));
	x->most = x->entropy = x->dead = x->choices = x->width = NAN;
	if (db_step(&found)) {
		x->most = db_real(&found, 0);
		x->entropy = db_real(&found, 1);
		x->dead = db_real(&found, 2);
		x->choices = db_real(&found, 3);
		x->width = db_real(&found, 4);
	}
	return db_finish(&found);
}

/* Entries of model.pattern may name their own. */
static const char sql_routers[] =
	"SELECT group_concat(router, ' + ') FROM (SELECT router FROM (SELECT id, coalesce("
	"  CASE WHEN type = 'object' AND key = 'moe' THEN json_extract(value, '$.router') END, :router) AS router"
	"  FROM json_tree(:pattern) WHERE (type = 'object' AND key IN ('moe', 'inner'))"
	"   OR (type = 'text' AND atom IN ('moe', 'inner'))) GROUP BY router ORDER BY min(id))";

/* The names of a run's routers, each once; those that mix tokens have no loads to tell. "-": there are none. */
static int name_routers(struct study *s, const struct run_data *r, const char **names)
{
	const char *router = run_text(r, "model.moe.router"), *pattern = run_text(r, "model.pattern");
	struct db_statement found;
	int ret = 0;

	*names = router ? router : "switch";
	if (pattern) {
		db_prepare(&found, s->db, sql_routers);
		db_bind_text(&found, ":router", *names);
		db_bind_text(&found, ":pattern", pattern);
		*names = db_step(&found) && !db_null(&found, 0) ? arena_strdup(&s->arena, db_text(&found, 0)) : "-";
		ret = db_finish(&found);
	}
	if (!(r->routers > 0) && strcmp(*names, "tokens"))
		*names = "-";
	return ret;
}

static int fill(struct study *s, struct grid *g)
{
	struct routed *rows = ARENA_ARRAY(&s->arena, struct routed, s->n_arms), none = {0};

	for (int i = 0; i < s->n_arms; i++) {
		if (read_routed(s, &s->arms[i], &rows[i]) || name_routers(s, s->arms[i].runs[0], &rows[i].routers))
			return -1;
		if (!none.switch_arm && !strcmp(rows[i].routers, "switch"))
			none.switch_arm = &s->arms[i];
	}
	for (int i = 0; i < s->n_arms; i++) {
		rows[i].switch_arm = none.switch_arm;
		grid_fill(g, &(struct subject){s, &s->arms[i], &rows[i]});
	}
	if (s->baseline)
		grid_fill_null(g, &(struct subject){.s = s, .more = &none});
	note_flops(g, s, ", of choices that were computed");
	notes_add(&g->notes, NOTE_PLAIN, "router: the name whose defaults a row has, beside keys of its own; to switch: %s%s%s",
		none.switch_arm ? "difference to " : "no row has that router", none.switch_arm ? none.switch_arm->label : "",
		none.switch_arm ? ", the first row of that name" : "");
	return 0;
}

const struct table table_routers = {
	.name = "routers",
	.place = 8,
	.help = "routers: loss against Switch, balance, drops, cost, and what a token's output depends on",
	.applies = applies,
	.needs = "record of expert loads",
	.title = "rules that bring tokens to experts",
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.fill = fill,
	.notes = {"MaxVio: load of the busiest expert / the mean, less 1; width: of the experts computed over the mean"
		" of all, where they differ (active parameters take it for 1); experts a token, width, MaxVio and entropy are"
		" means over routers and seeds at the end, dead experts a sum over routers; in evaluation, no expert,"
		" dropped: at the last one, experts a token, tokens without any, and what is dropped of choices, or of"
		" tokens where experts choose by rank; evaluated by: a capacity factor (of seeds that end"
		" with several, the range), rank among the tokens at a"
		" position, a cutoff that scores are held against, all that tokens choose, or by mixtures of several"
		" rules (mixed)",
		"depends on, beside the token's own past: A nothing, B other sequences of the batch,"
		" F its own future, where the training loss is not that of a language model, nor the validation loss"
		" unless by a cutoff"},
};
