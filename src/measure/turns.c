#include "measure/turns.h"

#include <math.h>
#include <omp.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "measure/median.h"
#include "measure/rate.h"
#include "store/record.h"
#include "tensor/queue.h"
#include "train/build_info.h"
#include "train/products.h"

/* A step longer than this is timed once a turn. */
static const double long_step_s = 2;

static int time_config(struct timed *t, const struct config *config, int turn)
{
	const struct device *device = device_find(t->device);
	struct setup s;
	int n = 3;

	if (turn && t->seconds[0] > long_step_s)
		n = 1;
	else if (device && !device_is_host(device))
		n = 15;		/* short ones */
	if (!device || products_open(device, t->runs[0].dir) || setup_open(&s, config, device, t->vocab))
		return -1;
	if (setup_allocate(&s)) {
		setup_close(&s);
		return -1;
	}
	t->seconds[turn] = (double)(s.spec.batch * s.spec.context) / rate_train(&s, n);
	t->n_steps += n;
	setup_close(&s);
	return 0;
}

static int time_turn(struct timed *t, int turn)
{
	struct arena a = {0};
	struct config config;
	int ret = config_read(&a, arena_printf(&a, "%s/config.yaml", t->runs[0].dir), spec_schema(), &config)
		|| time_config(t, &config, turn) ? -1 : 0;

	arena_release(&a);
	return ret;
}

static double own_s(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

int turns_measure(struct timed *all, int n, double *busy)
{
	double start = clock_s(), others = cpu_busy_s() - own_s();

	for (int turn = 0; turn < TURNS; turn++) {
		info("turn %d of %d: %d configurations", turn + 1, TURNS, n);
		for (int i = 0; i < n; i++)
			if (time_turn(&all[i], turn))
				return -1;
	}
	for (int i = 0; i < n; i++)
		sort_values(all[i].seconds, TURNS);
	others = cpu_busy_s() - own_s() - others;
	*busy = fmax(0, others) / (clock_s() - start) / (double)sysconf(_SC_NPROCESSORS_ONLN);
	return 0;
}

/* ---- kept with the runs ------------------------------------------------------------------------- */

static int keep_records(const struct timed *all, int n, struct recorder *recorder, double busy)
{
	struct record r = record_new(RECORD_IS_CALIBRATION);
	char wall[32], host[128] = "", cpu[128];
	int ret = 0;

	gethostname(host, sizeof host - 1);
	r.calibration = (struct calibration_record){.busy = busy, .host = host,
		.measured = clock_iso(clock_wall_s(), wall), .threads = omp_get_max_threads(),
		.cpu = cpu_name(cpu, sizeof cpu), .git = build_commit,
		.build = build_flags};
	for (const struct timed *t = all; t < all + n; t++) {
		const struct device *device = device_find(t->device);
		r.calibration.blas_core = device_is_host(device) ? blas_core() : device_queue(device)->gpu;
		r.calibration.device = t->device;
		r.calibration.n_steps = t->n_steps;
		r.calibration.seconds_per_step = t->seconds[TURNS / 2];
		for (const struct timed_run *run = t->runs; run < t->runs + t->n_runs; run++) {
			ret |= record_append(&r, run->dir);
			recorder_add(recorder, run->id, &r);
		}
	}
	return ret;
}

int turns_keep(const struct timed *all, int n, double busy, struct db *db)
{
	struct recorder recorder;
	int ret = db_begin(db);

	if (ret)
		return ret;
	recorder_open(&recorder, db);
	ret = keep_records(all, n, &recorder, busy);
	if (recorder_close(&recorder)) {
		db_rollback(db);
		return -1;
	}
	return db_commit(db) || ret ? -1 : 0;
}
