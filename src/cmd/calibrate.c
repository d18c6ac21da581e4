#include "cmd/calibrate.h"

#include "base/cpu.h"
#include "base/error.h"
#include "measure/turns.h"
#include "store/query.h"

struct subjects {			/* the configurations of a study that are timed */
	struct arena arena;
	struct timed *timed;
	int n;
};

static const char *dir_of(struct db *db, long long run_id, struct arena *a)
{
	struct db_statement s;
	const char *dir = NULL;

	db_prepare(&s, db, "SELECT dir FROM run WHERE run_id = :run");
	db_bind_int(&s, ":run", run_id);
	if (db_step(&s))
		dir = query_dir(db, db_text(&s, 0), a);
	return db_finish(&s) ? NULL : dir;
}

static int add_arm(struct subjects *all, struct db *db, const struct arm *v)
{
	const struct run_data *first = v->runs[0];
	struct timed_run *runs = ARENA_ARRAY(&all->arena, struct timed_run, v->n);

	for (int i = 0; i < v->n; i++) {
		runs[i] = (struct timed_run){v->runs[i]->id, dir_of(db, v->runs[i]->id, &all->arena)};
		if (!runs[i].dir)
			return -1;
	}
	all->timed[all->n++] = (struct timed){.label = arena_strdup(&all->arena, v->label),
		.runs = runs, .n_runs = v->n, .vocab = (long)first->vocab,
		.device = first->device ? arena_strdup(&all->arena, first->device) : "cpu"};
	return 0;
}

/* An exit code. */
static int collect(struct subjects *all, const struct study_query *q)
{
	struct study s;
	struct db db;
	int code = study_begin(&s, &db, q);

	if (code)
		return code;
	all->timed = ARENA_ARRAY(&all->arena, struct timed, s.n_arms);
	for (int i = 0; i < s.n_arms && !code; i++)
		if (!arm_foreign(&s.arms[i]) && add_arm(all, &db, &s.arms[i]))
			code = EXIT_ENVIRONMENT;
	study_end(&s, &db);
	return code;
}

static void tell(const struct subjects *all)
{
	for (const struct timed *t = all->timed; t < all->timed + all->n; t++)
		info("%-32s %.4g s per step (%.4g to %.4g)", t->label, t->seconds[TURNS / 2],
			t->seconds[0], t->seconds[TURNS - 1]);
}

int calibrate(const struct study_query *q, long threads)
{
	struct subjects all = {0};
	struct db db;
	double busy;
	int code = collect(&all, q);

	if (!code && db_open(&db, q->db, DB_WRITE))
		code = EXIT_ENVIRONMENT;
	if (!code) {
		cpu_threads((int)threads);
		code = turns_measure(all.timed, all.n, &busy) || turns_keep(all.timed, all.n, busy, &db) ?
			EXIT_ENVIRONMENT : EXIT_DONE;
		db_close(&db);
	}
	if (!code)
		tell(&all);
	arena_release(&all.arena);
	return code;
}
