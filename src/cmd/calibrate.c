#include "cmd/calibrate.h"

#include <omp.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "measure/turns.h"
#include "store/query.h"
#include "store/record.h"
#include "tensor/device.h"
#include "tensor/queue.h"
#include "train/build_info.h"

/* The runs of a study, whose configurations are timed. */
struct subjects {
	struct arena arena;
	struct timed *timed;
	int n;
	struct subject {
		long long id;
		const char *dir;
		int i;			/* its configuration */
	} *runs;
	int n_runs;
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
	struct subject *r = &all->runs[all->n_runs];

	for (int i = 0; i < v->n; i++, r++) {
		*r = (struct subject){v->runs[i]->id, dir_of(db, v->runs[i]->id, &all->arena), all->n};
		if (!r->dir)
			return -1;
	}
	all->timed[all->n++] = (struct timed){.label = arena_strdup(&all->arena, v->label),
		.dir = all->runs[all->n_runs].dir, .vocab = (long)first->vocab,
		.device = first->device ? arena_strdup(&all->arena, first->device) : "cpu"};
	all->n_runs += v->n;
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
	all->runs = ARENA_ARRAY(&all->arena, struct subject, s.n_runs);
	for (int i = 0; i < s.n_arms && !code; i++)
		if (!arm_foreign(&s.arms[i]) && add_arm(all, &db, &s.arms[i]))
			code = EXIT_ENVIRONMENT;
	study_end(&s, &db);
	return code;
}

static int keep_records(const struct subjects *all, struct recorder *recorder, double busy)
{
	struct record r = record_new(RECORD_IS_CALIBRATION);
	char wall[32], host[128] = "", cpu[128];
	int ret = 0;

	gethostname(host, sizeof host - 1);
	r.calibration = (struct calibration_record){.busy = busy, .host = host,
		.measured = clock_iso(clock_wall_s(), wall), .threads = omp_get_max_threads(),
		.cpu = cpu_name(cpu, sizeof cpu), .git = build_commit,
		.build = build_flags};
	for (const struct subject *run = all->runs; run < all->runs + all->n_runs; run++) {
		const struct device *device = device_find(all->timed[run->i].device);
		r.calibration.blas_core = device_is_host(device) ? blas_core() : device_queue(device)->gpu;
		r.calibration.device = all->timed[run->i].device;
		r.calibration.n_steps = all->timed[run->i].n_steps;
		r.calibration.seconds_per_step = all->timed[run->i].seconds[TURNS / 2];
		ret |= record_append(&r, run->dir);
		recorder_add(recorder, run->id, &r);
	}
	return ret;
}

static int keep(const struct subjects *all, struct db *db, double busy)
{
	struct recorder recorder;
	int ret = db_begin(db);

	if (ret)
		return ret;
	recorder_open(&recorder, db);
	ret = keep_records(all, &recorder, busy);
	if (recorder_close(&recorder)) {
		db_rollback(db);
		return -1;
	}
	return db_commit(db) || ret ? -1 : 0;
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
		code = turns_measure(all.timed, all.n, &busy) || keep(&all, &db, busy) ?
			EXIT_ENVIRONMENT : EXIT_DONE;
		db_close(&db);
	}
	if (!code)
		tell(&all);
	arena_release(&all.arena);
	return code;
}
