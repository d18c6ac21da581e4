/* Seconds from calibrated step times: where they are used, what they give, where they are not. */
#include "shown.h"

static const struct lab_run runs[] = {THREE("mamba", 1, .jobs = 2), THREE("fast", 2, .jobs = 2)};

/* What `table --calibrate` keeps: a step of mamba takes 0.2 s, of fast 0.3 s, with two threads. busy: while the first
   run was timed. */
static void calibrate(struct lab *lab, int n, const char *measured, double busy)
{
	struct record r = record_new(RECORD_IS_CALIBRATION);
	struct recorder rec;
	char id_hex[HASH_HEX];

	assert_int_equal(db_begin(&lab->db), 0);
	recorder_open(&rec, &lab->db);
	for (int i = 0; i < n; i++) {
		r.calibration = (struct calibration_record){.measured = measured, .host = "quiet",
			.threads = 2, .busy = i ? 0.01 : busy, .n_steps = 15,
			.seconds_per_step = !strcmp(runs[i].label, "mamba") ? 0.2 : 0.3};
		recorder_add(&rec, catalog_run_id(&lab->db, lab_identity(&runs[i], id_hex)), &r);
	}
	assert_int_equal(recorder_close(&rec), 0);
	assert_int_equal(db_commit(&lab->db), 0);
}

static void begin(struct shown *w)
{
	lab_open(&w->lab, "mamba");
	lab_fill(&w->lab, runs, ARRAY_SIZE(runs));
}

/* The seconds of `fast` in table speedup. */
static void expect(struct shown *w, const char *seconds, const char *said)
{
	const struct study_options o = {.rule = NULL};
	char text[600];

	assert_true(show_with(w, "speedup", "md", &o));
	assert_has(line(w, "fast", text, sizeof text), seconds);
	assert_has(w->text.text, said);
	hide(w);
}

/* fast needs half the steps, each of which takes 1.5 times as long: 1000 x 0.2 / (500 x 0.3). */
static void seconds_get_ratios(void **state)
{
	const struct study_options o = {.rule = NULL};
	struct shown w;
	char text[600];

	(void)state;
	begin(&w);
	expect(&w, " ~50.0 |", "~: seconds measured beside other runs");
	calibrate(&w.lab, 6, "2026-05-01T10:00:00Z", 0.01);
	expect(&w, " 150 (1.33x) |", "calibrated on quiet, 2 threads, 2026-05-01: every");
	assert_true(show_with(&w, "speedup", "md", &o));
	assert_lacks(w.text.text, " ~");
	hide(&w);
	assert_true(show_with(&w, "cost", "md", &o));
	assert_has(line(&w, "fast", text, sizeof text), " 13653 |");	/* 4096 / 0.3 */
	assert_has(text, " 2 |      0 |");
	end(&w);
}

static void only_of_one_calibration_on_a_quiet_machine(void **state)
{
	struct shown w;

	(void)state;
	begin(&w);
	calibrate(&w.lab, 6, "2026-05-01T10:00:00Z", 0.3);
	expect(&w, " ~50.0 |", "not used: other programs took 30 % of the processors");
	calibrate(&w.lab, 6, "2026-05-01T10:00:00Z", 0.01);
	calibrate(&w.lab, 3, "2026-05-02T10:00:00Z", 0.01);
	expect(&w, " ~50.0 |", "not used: one calibration timed 3 of these 6 runs");
	assert_int_equal(db_exec(&w.lab.db, "DELETE FROM calibration WHERE measured < '2026-05-02'"), 0);
	expect(&w, " ~50.0 |", "not used: one calibration timed 3 of these 6 runs");
	lab_close(&w.lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seconds_get_ratios),
		cmocka_unit_test(only_of_one_calibration_on_a_quiet_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
