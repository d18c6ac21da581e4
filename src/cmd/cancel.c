/* moelab cancel SWEEP: ends its jobs, those that Slurm still knows. */
#include <stdio.h>

#include "base/error.h"
#include "cluster/slurm.h"
#include "cluster/submission.h"
#include "cmd/options.h"

extern const struct cmd cmd_cancel;

struct jobs {
	long long *ids;
	int n;
};

/* The ids of a sweep's submissions and of those of its trials, in the arena. */
static struct jobs jobs_of(const char *root, const char *sweep, struct arena *a)
{
	const char *names[] = {sweep, arena_printf(a, "%s.tune", sweep)};
	struct submission *list[2];
	struct jobs jobs = {0};
	int n[2], all = 0;

	for (int k = 0; k < 2; k++) {
		submission_list(root, names[k], a, &list[k], &n[k]);
		for (int i = 0; i < n[k]; i++)
			all += list[k][i].n_jobs;
	}
	jobs.ids = ARENA_ARRAY(a, long long, all);
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < n[k]; i++)
			for (int j = 0; j < list[k][i].n_jobs; j++)
				jobs.ids[jobs.n++] = list[k][i].jobs[j];
	return jobs;
}

static int count(const struct slurm_job *jobs, int n, long long array, enum slurm_phase phase)
{
	int found = 0;

	for (int i = 0; i < n; i++)
		found += jobs[i].array == array && jobs[i].phase == phase;
	return found;
}

/* Cancels what is not over, and says of each job what it was at. */
static int cancel(const char *sweep, const struct jobs *all, struct arena *a)
{
	long long *live = ARENA_ARRAY(a, long long, all->n);
	struct slurm_job *told;
	int n, n_live = 0;

	if (slurm_jobs(all->ids, all->n, a, &told, &n))
		return EXIT_ENVIRONMENT;
	for (int i = 0; i < all->n; i++)
		if (count(told, n, all->ids[i], SLURM_ACTIVE) + count(told, n, all->ids[i], SLURM_WAITING))
			live[n_live++] = all->ids[i];
	if (n_live && slurm_cancel(live, n_live))
		return EXIT_ENVIRONMENT;
	for (int i = 0; i < n_live; i++)
		printf("job %lld: cancelled, %d tasks at work and %d waiting\n", live[i],
			count(told, n, live[i], SLURM_ACTIVE), count(told, n, live[i], SLURM_WAITING));
	printf("%s: %d jobs cancelled, %d were over already; runs keep their checkpoints, `submit` goes on with "
		"them\n", sweep, n_live, all->n - n_live);
	return EXIT_DONE;
}

static int run(int argc, char **argv)
{
	const char *root = "results";
	const struct option_row rows[] = {
		{"results", 0, "DIR", "folder of run directories (default results)", .text = &root},
		{0},
	};
	struct arguments words;
	struct arena a = {0};
	int ret = options_parse(&cmd_cancel, rows, argc, argv, &words);

	if (ret != GO_ON)
		return ret;
	if (words.n_words != 1)
		return error("cancel takes the name of one sweep, as `status` shows it"), EXIT_USAGE;
	struct jobs jobs = jobs_of(root, words.words[0], &a);
	if (!jobs.n) {
		error("no submission of sweep \"%s\" in %s/submit", words.words[0], root);
		ret = EXIT_USAGE;
	} else {
		ret = cancel(words.words[0], &jobs, &a);
	}
	arena_release(&a);
	return ret;
}

const struct cmd cmd_cancel = {
	.name = "cancel",
	.arguments = "SWEEP",
	.help = "end the Slurm jobs of a sweep; its runs keep their checkpoints",
	.run = run,
};
