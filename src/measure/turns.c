#include "measure/turns.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "measure/rate.h"
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
	if (!device || products_open(device, t->dir) || setup_open(&s, config, device, t->vocab))
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
	int ret = config_read(&a, arena_printf(&a, "%s/config.yaml", t->dir), spec_schema(), &config)
		|| time_config(t, &config, turn) ? -1 : 0;

	arena_release(&a);
	return ret;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
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
		qsort(all[i].seconds, TURNS, sizeof *all[i].seconds, by_size);
	others = cpu_busy_s() - own_s() - others;
	*busy = fmax(0, others) / (clock_s() - start) / (double)sysconf(_SC_NPROCESSORS_ONLN);
	return 0;
}
