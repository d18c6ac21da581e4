/* Slurm's answers, given by a squeue of the test's own in PATH; and the script that it is given. */
#include "cluster/slurm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "base/str.h"
#include "caught.h"
#include "cluster/script.h"

static char folder[64] = "/tmp/moelab-slurm-XXXXXX";

static void write_program(const char *name, const char *body)
{
	char *path = path_join(folder, name), *text = xasprintf("#!/bin/sh\n%s\n", body);

	assert_int_equal(path_write(path, text, strlen(text)), 0);
	assert_int_equal(chmod(path, 0755), 0);
	free(text);
	free(path);
}

static int enter(void **state)
{
	char *path;

	(void)state;
	if (!mkdtemp(folder))
		return -1;
	path = xasprintf("%s:%s", folder, getenv("PATH"));
	setenv("PATH", path, 1);
	free(path);
	return 0;
}

static int leave(void **state)
{
	(void)state;
	return path_remove_tree(folder);
}

#define ROW "printf '%%-20s%%-20s%%-20s%%-24s%%-12s%%-200s%%-200s\\n' "

static void test_jobs(void **state)
{
	static const long long ids[] = {7, 12};
	struct arena a = {0};
	struct slurm_job *jobs;
	const struct slurm_job *job;
	int n;
	char *body = xasprintf("echo \"$@\" >%s/asked\n" ROW "12 12 3 PENDING 2 '' '(launch failed requeued held)'\n"
		ROW "14 12 2 RUNNING 0 'n[1-2]' None\n" ROW "7 7 N/A TIMEOUT 0 n1 TimeLimit", folder);
	char *asked;

	(void)state;
	write_program("squeue", body);
	assert_int_equal(slurm_jobs(ids, 2, &a, &jobs, &n), 0);
	assert_int_equal(n, 3);
	job = slurm_find(jobs, n, 12, 3);
	assert_non_null(job);
	assert_int_equal(job->phase, SLURM_WAITING);
	assert_int_equal(job->restarts, 2);
	assert_string_equal(job->nodes, "");
	assert_string_equal(job->reason, "(launch failed requeued held)");
	job = slurm_find(jobs, n, 12, 2);
	assert_int_equal(job->id, 14);
	assert_int_equal(job->phase, SLURM_ACTIVE);
	assert_string_equal(job->nodes, "n[1-2]");
	assert_int_equal(slurm_find(jobs, n, 7, -1)->phase, SLURM_ENDED);
	assert_null(slurm_find(jobs, n, 12, 4));
	asked = path_first_line(arena_printf(&a, "%s/asked", folder), &a);
	assert_has(asked, "-j 7,12");
	arena_release(&a);
	free(body);
}

static void test_forgotten(void **state)
{
	static const long long id = 7;
	struct arena a = {0};
	struct slurm_job *jobs;
	int n = 5;

	(void)state;
	write_program("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1");
	assert_int_equal(slurm_jobs(&id, 1, &a, &jobs, &n), 0);
	assert_int_equal(n, 0);
	arena_release(&a);
}

static void test_no_answer(void **state)
{
	static const long long id = 7;
	struct arena a = {0};
	struct slurm_job *jobs;
	int n;

	(void)state;
	catch_messages();
	write_program("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1");
	assert_int_equal(slurm_jobs(&id, 1, &a, &jobs, &n), -1);
	assert_caught("squeue: Unable to contact slurm controller");
	error_sink = NULL;
	arena_release(&a);
}

static void test_submit(void **state)
{
	(void)state;
	catch_messages();
	write_program("sbatch", "[ \"$*\" = '--parsable --array=0-3%2 x' ] && echo '31;here'");
	assert_int_equal(slurm_submit("x", "0-3%2"), 31);
	write_program("sbatch", "echo 'sbatch: error: invalid partition specified: q' >&2; exit 1");
	assert_int_equal(slurm_submit("x", NULL), -1);
	assert_caught("invalid partition specified: q");
	error_sink = NULL;
}

/* Of jobs that it has forgotten Slurm complains, though they are over. */
static void test_cancel(void **state)
{
	static const long long ids[] = {7, 12};

	(void)state;
	write_program("scancel", "[ \"$*\" = '7 12' ] && echo 'Invalid job id 7' >&2; exit 1");
	assert_int_equal(slurm_cancel(ids, 2), 0);
	catch_messages();
	write_program("scancel", "echo 'Unable to contact slurm controller' >&2; exit 1");
	assert_int_equal(slurm_cancel(ids, 2), -1);
	assert_caught("scancel: Unable to contact slurm controller");
	error_sink = NULL;
}

static void test_config(void **state)
{
	(void)state;
	write_program("scontrol", "echo 'MaxArraySizeX = 5'; echo 'MaxArraySize            = 1001'; echo 'Other = a'");
	assert_int_equal(slurm_config("MaxArraySize", 3), 1001);
	assert_int_equal(slurm_config("Other", 3), 3);
	assert_int_equal(slurm_config("None", 3), 3);
}

static void test_requeue(void **state)
{
	struct slurm_place task = {.job = 12, .array = 12, .task = 0}, job = {.job = 7, .array = 7, .task = -1};

	(void)state;
	write_program("scontrol", "[ \"$*\" = 'requeue 12_0' ] || [ \"$*\" = 'requeue 7' ]");
	assert_int_equal(slurm_requeue(&task), 0);
	assert_int_equal(slurm_requeue(&job), 0);
	catch_messages();
	write_program("scontrol", "echo 'Job is not requeueable' >&2; exit 1");
	assert_int_equal(slurm_requeue(&job), -1);
	assert_caught("Job is not requeueable");
	error_sink = NULL;
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		double seconds;
	} good[] = {{"90", 5400}, {"1:30", 90}, {"01:30:00", 5400}, {"2-12", 216000}, {"1-0:30", 88200},
		{"0-0:0:5", 5}};
	static const char *const bad[] = {"", "x", "1:", "1:2:3:4", "1-", "-1", "1h", "1:2x"};
	char text[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(slurm_seconds(good[i].text) == good[i].seconds);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(isnan(slurm_seconds(bad[i])));
	assert_string_equal(slurm_time(61, text), "00:02:00");
	assert_string_equal(slurm_time(216000, text), "2-12:00:00");
}

static void test_place(void **state)
{
	struct arena a = {0};
	struct slurm_place p;

	(void)state;
	setenv("SLURM_JOB_ID", "15", 1);
	setenv("SLURM_ARRAY_JOB_ID", "12", 1);
	setenv("SLURM_ARRAY_TASK_ID", "3", 1);
	setenv("SLURM_RESTART_COUNT", "2", 1);
	slurm_place(&p, &a);
	assert_int_equal(p.job, 15);
	assert_int_equal(p.array, 12);
	assert_int_equal(p.task, 3);
	assert_int_equal(p.restarts, 2);
	unsetenv("SLURM_ARRAY_JOB_ID");
	unsetenv("SLURM_ARRAY_TASK_ID");
	slurm_place(&p, &a);
	assert_int_equal(p.array, 15);
	unsetenv("SLURM_JOB_ID");
	slurm_place(&p, &a);
	assert_int_equal(p.job, 0);
	assert_int_equal(p.task, -1);
	arena_release(&a);
}

static void test_script(void **state)
{
	static const char *const options[] = {"--exclusive"}, *const setup[] = {"module load x"};
	struct script s = {.name = "m/a", .folder = "/lab/results/submit/m.a-1", .program = "/lab/it's/moelab",
		.here = "/lab", .array = "0-3%2", .time = "1:00:00", .lead_s = 60, .cpus = 4, .gpus = 2,
		.memory_bytes = 1048577, .partition = "p", .account = "", .qos = "", .constraint = "", .gpu_type = "h200",
		.options = options, .n_options = 1, .setup = setup, .n_setup = 1};
	struct str text;

	(void)state;
	str_init(&text);
	script_text(&s, &text);
	assert_has(text.text, "#!/bin/bash\n#SBATCH --job-name=m/a\n#SBATCH --array=0-3%2\n#SBATCH --time=1:00:00\n");
	assert_has(text.text, "#SBATCH --cpus-per-task=4\n#SBATCH --mem=2M\n#SBATCH --gres=gpu:h200:2\n"
		"#SBATCH --partition=p\n#SBATCH --output=\"/lab/results/submit/m.a-1/log/%A_%a.txt\"\n");
	assert_has(text.text, "#SBATCH --signal=B:USR1@60\n#SBATCH --exclusive\n\n");
	assert_has(text.text, "\ncd /lab || exit 4\nmodule load x\nexec '/lab/it'\\''s/moelab' task "
		"/lab/results/submit/m.a-1\n");
	str_clear(&text);
	s.gpu_type = "";
	script_text(&s, &text);
	assert_has(text.text, "#SBATCH --gres=gpu:2\n");
	str_release(&text);
	assert_int_equal(script_lead(3600, 10), 60);
	assert_int_equal(script_lead(3600, 100), 230);
	assert_int_equal(script_lead(600, 100), 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jobs), cmocka_unit_test(test_forgotten), cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_submit), cmocka_unit_test(test_config), cmocka_unit_test(test_place),
		cmocka_unit_test(test_requeue), cmocka_unit_test(test_times), cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_script),
	};

	return cmocka_run_group_tests(tests, enter, leave);
}
