/* Several sweeps in one study: what they share stands once, what differs keeps apart. */
#include "shown.h"

#include "report/plot.h"
#include "report/report.h"

#define RUN(label_, variant_, seed_, ...) {.label = label_, .variant = variant_, .seed = seed_, __VA_ARGS__}

static const struct study_options plain = {.rule = NULL};

static const struct lab_run first[] = {
	RUN("mamba", "mamba", 1, .noise = 0.002), RUN("mamba", "mamba", 2, .noise = 0.002),
	RUN("m-n_experts=8", "m", 1, .fast = 1.8, .experts = 8), RUN("odd", "odd", 1, .fast = 1.2)};

static void open_two(struct shown *w, const struct lab_run *second, int n)
{
	lab_open(&w->lab, "mamba");
	published(&w->lab, "odd", "loss", 3.1, "3.1");
	lab_fill(&w->lab, first, ARRAY_SIZE(first));
	lab_next(&w->lab, "lab/two", "m-n_experts=4");
	published(&w->lab, "odd", "loss", 3.2, "3.2");
	lab_fill(&w->lab, second, n);
}

static const struct arm *arm_named(const struct study *s, const char *label)
{
	for (int i = 0; i < s->n_arms; i++)
		if (!strcmp(s->arms[i].label, label))
			return &s->arms[i];
	fail_msg("no %s", label);
	return NULL;
}

/* mamba, seeds 2 and 3: 2 is a run of both, 3 has the configuration of the first's; `odd` has its name
   only; m has a run in common, so it is one variant. */
static const struct lab_run second[] = {
	RUN("mamba", "mamba", 2, .noise = 0.002), RUN("mamba", "mamba", 3, .noise = 0.002),
	RUN("m-n_experts=8", "m", 1, .fast = 1.8, .experts = 8),
	RUN("m-n_experts=4", "m", 1, .fast = 1.5, .experts = 4),
	RUN("odd", "odd", 1, .fast = 1.4, .lr = 2e-3, .run = "other"), RUN("late", "late", 1, .unfinished = true)};

static void what_sweeps_share_stands_once(void **state)
{
	struct shown w;

	(void)state;
	open_two(&w, second, ARRAY_SIZE(second));
	assert_true(show_sweeps(&w, "lab/one,sweeps/lab/two.yaml", "final", "md", &plain));
	assert_string_equal(w.study.name, "lab/one+lab/two");
	assert_string_equal(w.study.question, "does it tell a factor from nothing?");	/* of both */
	assert_int_equal(w.study.n_runs, 7);
	assert_int_equal(w.study.n_arms, 5);
	assert_int_equal(arm_named(&w.study, "mamba")->n, 3);
	assert_int_equal(arm_named(&w.study, "m-n_experts=8")->n, 1);
	assert_ptr_equal(w.study.baseline, arm_named(&w.study, "mamba"));
	assert_has(w.text.text, "1 unfinished runs are left out");
	assert_has(w.text.text, "2 sweeps together: baseline and targets are those of lab/one;");
	hide(&w);
	assert_true(show_sweeps(&w, "lab/two,lab/one", "final", "md", &plain));
	assert_ptr_equal(w.study.baseline, arm_named(&w.study, "m-n_experts=4"));
	end(&w);
}

/* Seeds of two machines, which had the same files in other places. */
static void places_of_files_do_not_keep_apart(void **state)
{
	static const char *const keys[] = {"data.path", "train.init_from", "train.init_hash"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		const struct lab_run here[] = {RUN("mamba", "mamba", 1, .key = keys[i], .value = "/here/x")};
		const struct lab_run there[] = {RUN("mamba", "mamba", 2, .key = keys[i], .value = "/there/x")};
		struct shown w;
		lab_open(&w.lab, "mamba");
		lab_fill(&w.lab, here, 1);
		lab_next(&w.lab, "lab/two", "mamba");
		lab_fill(&w.lab, there, 1);
		assert_true(show_sweeps(&w, "lab/one,lab/two", "final", "md", &plain));
		assert_int_equal(w.study.n_arms, i < 2 ? 1 : 2);
		end(&w);
	}
}

static void names_are_prefixed_where_they_clash(void **state)
{
	struct shown w;
	char text[600];

	(void)state;
	open_two(&w, second, ARRAY_SIZE(second));
	assert_true(show_sweeps(&w, "lab/one,lab/two", "final", "md", &plain));
	assert_has(line(&w, "lab/one:odd", text, sizeof text), " 3.1 ");
	assert_has(line(&w, "lab/two:odd", text, sizeof text), " 3.2 ");
	assert_string_equal(arm_named(&w.study, "lab/two:odd")->variant, "lab/two:odd");
	assert_string_equal(arm_named(&w.study, "m-n_experts=4")->variant, "m");
	assert_lacks(w.text.text, "lab/one:m");
	hide(&w);
	const struct study_options o = {.labels = {.items = {"lab/two:odd=Odd"}, .n = 1}, .order = "lab/two:odd"};
	assert_true(show_sweeps(&w, "lab/one,lab/two", "final", "md", &o));
	assert_string_equal(w.study.arms[0].label, "Odd");
	arm_named(&w.study, "lab/one:odd");
	end(&w);
}

/* A variant of both, as they share a run, is one line; all of its points are there. */
static void variants_in_common_are_one_line(void **state)
{
	struct shown w;
	struct chart c;

	(void)state;
	open_two(&w, second, ARRAY_SIZE(second));
	assert_true(show_sweeps(&w, "lab/one,lab/two", "experts", "md", &plain));
	assert_int_equal(plot_make(plot_find("experts"), &w.study, &(struct plot_options){.x = AXIS_STEPS}, &c), 0);
	int lines = 0;
	for (int i = 0; i < c.panels[0].n_series; i++)
		if (!c.panels[0].series[i].flat) {
			assert_string_equal(c.panels[0].series[i].label, "m");
			assert_int_equal(c.panels[0].series[i].n, 2);
			lines++;
		}
	assert_int_equal(lines, 1);
	chart_release(&c);
	end(&w);
}

static void variants_that_share_no_run_keep_apart(void **state)
{
	const struct lab_run other[] = {RUN("m-n_experts=4", "m", 1, .fast = 1.5, .experts = 4, .lr = 2e-3)};
	struct shown w;

	(void)state;
	open_two(&w, other, 1);
	assert_true(show_sweeps(&w, "lab/one,lab/two", "experts", "md", &plain));
	assert_string_equal(arm_named(&w.study, "m-n_experts=8")->variant, "lab/one:m");
	assert_string_equal(arm_named(&w.study, "m-n_experts=4")->variant, "lab/two:m");
	end(&w);
}

/* Of the configuration, but no seed more: a mean that had both would count it twice. */
static void seeds_stand_once_in_a_row(void **state)
{
	const struct lab_run other[] = {RUN("mamba", "mamba", 1, .run = "other")};
	struct shown w;

	(void)state;
	open_two(&w, other, 1);
	assert_true(show_sweeps(&w, "lab/one,lab/two", "final", "md", &plain));
	assert_int_equal(arm_named(&w.study, "lab/one:mamba")->n, 2);
	assert_int_equal(arm_named(&w.study, "lab/two:mamba")->n, 1);
	end(&w);
}

static void sweeps_that_do_not_compare_are_refused(void **state)
{
	const struct lab_run other[] = {RUN("mamba", "mamba", 3, .data_hash = "fedcba9876543210", .run = "other")};
	struct shown w;

	(void)state;
	open_two(&w, other, 1);
	assert_false(show_sweeps(&w, "lab/one,lab/two", "final", "md", &plain));
	assert_caught("lab/one+lab/two: refused: rows differ in data (data.path): lab/one:mamba has 0123456789ab, "
		"lab/two:mamba has fedcba987654");
	hide(&w);
	assert_true(show_sweeps(&w, "lab/one,lab/two", "final", "md", &(struct study_options){.force = true}));
	assert_has(w.text.text, "FORCED: rows differ in data (data.path)");
	hide(&w);
	assert_false(show_sweeps(&w, "lab/one,lab/one", "final", "md", &plain));
	assert_caught("sweep lab/one is named twice");
	hide(&w);
	assert_false(show_sweeps(&w, "lab/one,lab/three", "final", "md", &plain));
	assert_caught("no sweep \"lab/three\"");
	end(&w);
}

static int times(const char *text, const char *what)
{
	int n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static void pages_list_each_run_once(void **state)
{
	struct shown w;
	struct str page;

	(void)state;
	open_two(&w, second, ARRAY_SIZE(second));
	assert_true(show_sweeps(&w, "lab/one,lab/two", "final", "md", &plain));
	str_init(&page);
	assert_int_equal(page_runs(&page, &w.study, "."), 0);
	assert_int_equal(times(page.text, "<tr><td>"), 8);
	assert_int_equal(times(page.text, ">late</a>"), 1);
	str_release(&page);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_sweeps_share_stands_once),
		cmocka_unit_test(places_of_files_do_not_keep_apart),
		cmocka_unit_test(names_are_prefixed_where_they_clash),
		cmocka_unit_test(variants_in_common_are_one_line),
		cmocka_unit_test(variants_that_share_no_run_keep_apart),
		cmocka_unit_test(seeds_stand_once_in_a_row),
		cmocka_unit_test(sweeps_that_do_not_compare_are_refused),
		cmocka_unit_test(pages_list_each_run_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
