/* moelab worker: started by the supervisor, one process for each run; or to see how fast it goes. */
#include "measure/pace.h"

#include "base/error.h"
#include "cmd/options.h"

extern const struct cmd cmd_worker;

static int run(int argc, char **argv)
{
	struct worker_options o = {.pipe = -1};
	const char *device = NULL, *claim = NULL;
	long threads = 0, fd = -1;
	bool pace = false;
	struct arguments a;
	const struct option_row rows[] = {
		{"fd", 0, "N", "pipe of the supervisor", .number = &fd},
		{"threads", 0, "T", "threads; 0: all cores", .number = &threads},
		{"claim", 0, "TOKEN", "what the run is claimed with", .text = &claim},
		{"device", 0, "NAME", "ref, cpu, cuda_scan, cuda or cuda_f32", .text = &device},
		{"pace", 0, NULL, "train on random tokens and tell the time only", .flag = &pace},
		{0},
	};
	int ret = options_parse(&cmd_worker, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1)
		return error("worker takes one run directory"), EXIT_USAGE;
	o.device = device;
	o.claim = claim;
	o.threads = (int)threads;
	o.pipe = (int)fd;
	return pace ? pace_worker(a.words[0], &o) : worker_main(a.words[0], &o);
}

const struct cmd cmd_worker = {
	.name = "worker",
	.arguments = "RUN_DIR [--fd N] [--threads T] [--device NAME] [--claim TOKEN] [--pace]",
	.help = NULL,	/* not for people: not listed */
	.run = run,
};
