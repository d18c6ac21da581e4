/* What the tests of sweeps share: loading one from text, and what came of it. */
#ifndef TESTS_SPEC_SWEEP_FIXTURE_H
#define TESTS_SPEC_SWEEP_FIXTURE_H

#include "fixture.h"

#define AT "sweeps/micro/s.yaml"

static inline int load_with(struct sweep *s, const struct sweep_options *options)
{
	clear_message();
	return sweep_load(&arena, AT, options, &schema, s);
}

static inline struct sweep load(const char *text)
{
	struct sweep s;

	write_file(AT, text);
	if (load_with(&s, NULL))
		fail_msg("%s", message);
	assert_string_equal(message, "");
	return s;
}

static inline void refuses(const char *text, const char *line)
{
	struct sweep s;

	write_file(AT, text);
	assert_int_equal(load_with(&s, NULL), -1);
	assert_message(line);
}

/* "label label ...", seeds as label#seed where several. */
static inline void assert_labels(const struct sweep *s, const char *wanted)
{
	struct str got;

	str_init(&got);
	for (int i = 0; i < s->n_runs; i++)
		str_printf(&got, "%s%s#%ld", i ? " " : "", s->runs[i].label, s->runs[i].seed);
	assert_string_equal(got.text, wanted);
	str_release(&got);
}

static inline void assert_summary(const struct sweep *s, const char *wanted)
{
	struct str got;

	str_init(&got);
	sweep_summary(s, &got);
	assert_string_equal(got.text, wanted);
	str_release(&got);
}

static inline const char *run_value(const struct sweep *s, int run, const char *key)
{
	return value_text(&s->runs[run].config, key);
}

static inline void write_bases(void)
{
	write_file("experiments/mamba.yaml", "model.arch: mamba\n");
	write_file("experiments/moe.yaml", "model: {arch: moe_mamba, moe: {n_experts: 4}}\n");
}
#endif
