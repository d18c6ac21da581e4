/* Who chose the learning rates, and what the trials of `tune` found. */
#include "study/study.h"

#include <math.h>
#include <string.h>

static const char suffix[] = ".tune";

bool study_is_trials(const struct study *s)
{
	return s->n_sweeps == 1 && str_ends(s->name, suffix);
}

const char *study_trials(struct study *s, const struct sweep_row *w)
{
	const char *trials = arena_printf(&s->arena, "%s%s", w->name, suffix);
	struct db_statement row;
	bool found;

	db_prepare(&row, s->db,
		"SELECT 1 FROM runs WHERE sweep = :trials AND state IN ('done', 'diverged') LIMIT 1");
	db_bind_text(&row, ":trials", trials);
	found = db_step(&row);
	return !db_finish(&row) && found && study_tuned_key(s, trials) ? trials : NULL;
}

const char *study_tuned_key(struct study *s, const char *trials)
{
	struct db_statement row;
	const char *key = NULL;
	char *name = arena_strdup(&s->arena, trials);

	name[strlen(name) - strlen(suffix)] = '\0';
	db_prepare(&row, s->db, "SELECT DISTINCT a.key FROM axis a JOIN sweep t USING (sweep_id)"
		" WHERE t.name = :trials AND a.key NOT IN"
		" (SELECT b.key FROM axis b JOIN sweep w USING (sweep_id) WHERE w.name = :name)");
	db_bind_text(&row, ":trials", trials);
	db_bind_text(&row, ":name", name);
	if (db_step(&row))
		key = arena_strdup(&s->arena, db_text(&row, 0));
	return db_finish(&row) ? NULL : key;
}

bool arms_agree(const struct arm *a, const struct arm *b, const char *key)
{
	const char *x = run_text(a->runs[0], key), *y = run_text(b->runs[0], key);

	return x && y ? !strcmp(x, y) : x == y;
}

static bool alike(const struct study *s, const struct arm *a, const struct arm *b, const char *but)
{
	if (strcmp(a->variant, b->variant))
		return false;
	for (int i = 0; i < s->n_axes; i++)
		if (strcmp(s->axes[i], but) && !arms_agree(a, b, s->axes[i]))
			return false;
	return true;
}

const struct arm **arms_like(struct study *s, const struct arm *v, const char *key, int *n)
{
	const struct arm **sorted = arms_sorted(s, arms_numbers(s, key));

	*n = 0;
	for (int i = 0; i < s->n_arms; i++)
		if (alike(s, v, sorted[i], key))
			sorted[(*n)++] = sorted[i];
	return sorted;
}

const struct arm *arm_same_before(const struct study *s, const struct arm *v)
{
	for (const struct arm *u = s->arms; u < v; u++)
		if (u->runs[0]->id == v->runs[0]->id)
			return u;
	return NULL;
}

const char *label_add(struct arena *a, const char *label, const struct arm *v, const char *key)
{
	const char *value = run_text(v->runs[0], key), *dot = strrchr(key, '.');

	return value ? arena_printf(a, "%s-%s=%s", label, dot ? dot + 1 : key, value) : label;
}

const char *label_without(struct study *s, const struct arm *v, const char *key)
{
	const char *label = v->variant;

	for (int i = 0; i < s->n_axes; i++)
		if (strcmp(s->axes[i], key))
			label = label_add(&s->arena, label, v, s->axes[i]);
	return label;
}

double trial_loss(const struct arm *v)
{
	return arm_diverged(v) ? INFINITY : ARM_MEAN(v, final_loss).mean;
}

int trials_best(const struct arm **trials, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (trial_loss(trials[i]) < trial_loss(trials[best]))
			best = i;
	return best;
}

struct tuning {
	bool found;		/* the rate is among those tried for the variant, */
	bool at_edge;		/* as the smallest or the largest of several, */
	double tokens;		/* in trials of at most so many */
};

static struct tuning tuning_of(struct study *s, const struct arm *v)
{
	const char *trials = arena_printf(&s->arena, "%s%s", v->own->sweep->name, suffix);
	const char *key = study_tuned_key(s, trials);
	double rate = arm_number(v, "train.lr");
	struct tuning t = {false};
	struct db_statement row;

	if (!key || strcmp(key, "train.lr"))
		return t;
	db_prepare(&row, s->db, "SELECT max(p.value = :rate), min(p.value), max(p.value),"
		" max(CAST(q.value AS REAL)) FROM runs r JOIN param p USING (run_id)"
		" LEFT JOIN param q ON q.run_id = r.run_id AND q.key = 'train.tokens'"
		" WHERE r.sweep = :trials AND r.variant = :variant AND p.key = 'train.lr'");
	db_bind_text(&row, ":trials", trials);
	db_bind_text(&row, ":variant", v->own->variant);
	db_bind_real(&row, ":rate", rate);
	if (db_step(&row)) {
		double least = db_real(&row, 1), most = db_real(&row, 2);
		t.found = db_int(&row, 0) > 0;
		t.at_edge = t.found && least < most && (rate <= least || rate >= most);
		t.tokens = db_real(&row, 3);
	}
	return db_finish(&row) ? (struct tuning){false} : t;
}

bool study_tuned_at_edge(struct study *s, const struct arm *v)
{
	return tuning_of(s, v).at_edge;
}

bool study_tuned_in_short(struct study *s, const struct arm *v)
{
	struct tuning t = tuning_of(s, v);

	return t.found && t.tokens < 0.5 * arm_number(v, "train.tokens");
}

static bool is_published(const struct study *s, const struct arm *v)
{
	for (int i = 0; i < s->n_published; i++)
		if (s->published[i].sweep_id == v->own->sweep->sweep_id &&
			(!strcmp(s->published[i].label, v->own->label) ||
				!strcmp(s->published[i].label, v->own->variant)))
			return true;
	return false;
}

const char *study_rate_choice(struct study *s, const struct arm *v)
{
	const char *recipe = run_text(v->runs[0], "recipe");

	if (arm_foreign(v))
		return "-";
	if (tuning_of(s, v).found)
		return "tuned";
	return recipe && !strcmp(recipe, "paper") && is_published(s, v) ? "paper" : "untuned";
}
