/* Series in CSV, good and bad: their windows, scale, gaps and names. */
#include <math.h>

#include "base/half.h"
#include "data/import_series.h"
#include "value_rows.h"

static struct series_options series_of(void)
{
	return (struct series_options){.input = at("x.csv"), .output = at("set"), .known = 4, .horizons = {2, 3},
		.n_horizons = 2, .stride = 1, .season = 2, .tune = 0.1, .val = 0.2, .test = 0.3, .force = true};
}

enum first_column { NO_MORE, DATES, NUMBERS };

/* 40 steps of a column that rises by 1 and one that falls by 2, in quotes where lines are numbered; one value is
   missing. */
static void put_csv(const char *head, const char *apart, enum first_column first)
{
	struct str s;

	str_init(&s);
	str_add(&s, head);
	for (int t = 0; t < 40; t++) {
		if (first == DATES)
			str_printf(&s, "2016-07-%02d 00:00%s", t % 28 + 1, apart);
		if (first == NUMBERS)
			str_printf(&s, "%d%s", t / 2, apart);
		str_printf(&s, first == NUMBERS ? "\"%d\" %s" : "%d%s", t, apart);
		if (t == 30)
			str_add(&s, "nan\r\n");
		else
			str_printf(&s, "%d.0\r\n", 100 - 2 * t);
	}
	put_text("x.csv", s.text);
	str_release(&s);
}

/* By the values, which say their steps: 16 to train, 4 to tune, 8 to validate, 12 in tests. */
static void check_windows(const struct dataset *d)
{
	const double deviation = sqrt((16.0 * 16 - 1) / 12);	/* of 0 .. 15 */
	const long first[] = {4, 20, 16, 28, 28}, last[] = {14, 26, 18, 38, 37};	/* train, val, tune, tests */
	const long horizon[] = {2, 2, 2, 2, 3};

	assert_int_equal(d->n_splits, N_SPLITS + 2);
	for (int s = 0; s < d->n_splits; s++) {
		assert_int_equal(d->splits[s].n_documents, 2 * (last[s] - first[s] + 1));
		for (long i = 0; i < d->splits[s].n_documents; i++) {
			long begin = first[s] + i / 2 - 4;
			read_row(d, (enum split)s, i);
			for (long k = 0; k < 4 + horizon[s]; k++) {
				int id = k < 4 ? tokens[k] : targets[k];
				double x = ((double)(begin + k) - 7.5) / deviation;
				assert_true(half_is_missing(k < 4 ? targets[k] : tokens[k]));
				assert_true(half_is_missing(id) == (i % 2 && begin + k == 30));
				if (!half_is_missing(id))
					assert_true(fabs(half_value(id) - (i % 2 ? -x : x)) < 2e-3);
			}
		}
	}
}

static void test_csv(void **state)
{
	static const struct {
		const char *head, *apart;
		enum first_column first;
		enum csv_head is;
	} forms[] = {
		{"date,up,down\n", ",", DATES, CSV_HEAD_SEEN}, {"", ",", NO_MORE, CSV_HEAD_SEEN},
		{"up;down\r\n", ";", NO_MORE, CSV_HEAD_SEEN}, {"", "\t", DATES, CSV_HEAD_SEEN},
		{"date, up, down\n\n", ", ", DATES, CSV_HEAD_SEEN}, {"\xef\xbb\xbf", ",", NO_MORE, CSV_HEAD_SEEN},
		{",up,down\n", ",", NUMBERS, CSV_HEAD_SEEN},
		{"\"\",\"up, \"\"steps\"\"\",\"down\"\n", ",", DATES, CSV_HEAD_SEEN},
		{"date,0,1\n", ",", DATES, CSV_HEAD_NAMES}, {",8,9\n", ",", NUMBERS, CSV_HEAD_NAMES},
		{"1.5,2\n", ",", NO_MORE, CSV_HEAD_NAMES}, {"", ",", DATES, CSV_HEAD_VALUES}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct series_options o = series_of();
		struct dataset d;
		o.head = forms[i].is;
		put_csv(forms[i].head, forms[i].apart, forms[i].first);
		assert_int_equal(import_series(&o), 0);
		assert_int_equal(dataset_open(&d, o.output), 0);
		assert_int_equal(d.season, 2);
		assert_string_equal(d.splits[N_SPLITS + 1].name, "4x3");
		check_windows(&d);
		dataset_close(&d);
	}
}

/* Every third window; a column that never changes, whose sum is rounded: 16 x 0.1 is not 1.6 of a binary computer. */
static void test_csv_stride(void **state)
{
	struct series_options o = series_of();
	struct dataset d;
	struct str s;

	(void)state;
	str_init(&s);
	for (int t = 0; t < 40; t++)
		str_add(&s, "0.1\n");
	put_text("x.csv", s.text);
	str_release(&s);
	o.stride = 3;
	assert_int_equal(import_series(&o), 0);
	assert_int_equal(dataset_open(&d, o.output), 0);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 4);		/* at 4, 7, 10, 13 */
	assert_int_equal(d.splits[N_SPLITS].n_documents, 11);
	read_row(&d, SPLIT_TRAIN, 0);
	assert_true(half_value(tokens[0]) == 0 && half_value(targets[5]) == 0);
	dataset_close(&d);
}

/* The mean and deviation are those of the values to train that there are: here -1 and 1, -2 and 2 in turn, some of the
   second missing; later ones may lie far off, to either side. */
static void test_csv_scale(void **state)
{
	struct series_options o = series_of();
	struct dataset d;
	struct str s;

	(void)state;
	str_init(&s);
	for (int t = 0; t < 40; t++)
		str_printf(&s, t == 6 || t == 7 ? "%d,\n" : "%d,%d\n", t == 39 ? -100000 : t % 2 ? 1 : -1,
			t % 2 ? 2 : -2);
	put_text("x.csv", s.text);
	str_release(&s);
	assert_int_equal(import_series(&o), 0);
	SAID("column \"1\": 1 values lie more than");
	assert_int_equal(dataset_open(&d, o.output), 0);
	for (long i = 0; i < d.splits[SPLIT_TRAIN].n_documents; i++) {
		read_row(&d, SPLIT_TRAIN, i);
		for (int t = 0; t < 6; t++) {
			int id = t < 4 ? tokens[t] : targets[t];
			assert_true(half_is_missing(id) || fabs(half_value(id)) == 1);
		}
	}
	dataset_close(&d);
}

/* Of a column with two values the windows that ask for one of them. */
static void test_csv_gaps(void **state)
{
	struct series_options o = series_of();
	struct dataset d;
	struct str s;

	(void)state;
	str_init(&s);
	for (int t = 0; t < 40; t++)
		str_printf(&s, "%d,%s\n", t, t == 8 || t == 39 ? "1" : "");
	put_text("x.csv", s.text);
	str_release(&s);
	assert_int_equal(import_series(&o), 0);
	assert_int_equal(dataset_open(&d, o.output), 0);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 11 + 2);	/* at 4 .. 14; at 7 and 8 */
	assert_int_equal(d.splits[SPLIT_VAL].n_documents, 7);
	assert_int_equal(d.splits[N_SPLITS].n_documents, 11 + 1);
	for (long i = 0; i < 13; i++) {
		int n = 0;
		read_row(&d, SPLIT_TRAIN, i);
		for (int t = 4; t < 6; t++)
			n += !half_is_missing(targets[t]);
		assert_true(n == 2 || (n == 1 && i > 2));
	}
	dataset_close(&d);
}

static void series_fail(const char *text, const char *why)
{
	struct series_options o = series_of();

	put_text("x.csv", text);
	n_messages = 0;
	assert_int_equal(import_series(&o), -1);
	assert_int_equal(n_messages, 1);
	SAID(why);
	assert_int_equal(n_entries("set"), 0);
}

static void test_bad_csv(void **state)
{
	struct str s;

	(void)state;
	str_init(&s);
	series_fail("date,a,b\n2016,1,2\n2017,1,x\n", "x.csv:3:8: column b: \"x\" is no number");
	series_fail("a,b\n1,2\n1\n", "x.csv:3:1: 1 cells, but the first line has 2");
	series_fail("a,b\n1,2\n1,2,3\n", "x.csv:3:1: 3 cells, but the first line has 2");
	series_fail("1,2\n1,inf\n", "x.csv:2:3: column 2: \"inf\" is no number");
	series_fail("1,2\n1,1e308\n", "x.csv:2:3: column 2: \"1e308\" is no number of at most 1e+100, and what is missing");
	series_fail("1,-1e308\n1,2\n", "x.csv:1:3: column 2: \"-1e308\" is no number");
	series_fail("a,b\n1e308,2\n1,2\n", "x.csv:2:1: \"1e308\" is a number, but the first column begins with none");
	series_fail("a,b\nNA,2\n1,2\n", "x.csv:3:1: \"1\" is a number, but the first column begins with none");
	series_fail("a,b\n", "no line with numbers");
	series_fail("", "no line with numbers");
	series_fail("1\n2\n3\n", "too few for 4 known values and a horizon of 2");
	for (int t = 0; t < 40; t++)
		str_printf(&s, "%d,%s\n", t, t < 20 ? "" : "3");
	series_fail(s.text, "x.csv: column \"2\", 2 of 2, has no value among the 16 steps to train: leave it out");
	s.length = 0;
	for (int t = 0; t < 40; t++)
		str_printf(&s, "%s,%s\n", t < 20 ? "1" : "", t < 20 || t > 30 ? "2" : "");
	series_fail(s.text, "x.csv: steps 21 to 28, which are to validate, have no value to ask for");
	str_release(&s);
	put("x.csv", "1,2\n\0,3\n", 8);
	struct series_options o = series_of();
	assert_int_equal(import_series(&o), -1);
	SAID("holds bytes 0");
}

/* Numbers that may be names, or the first values: asked about, and taken for what is said. */
static void test_csv_numbers_for_names(void **state)
{
	static const char *const asked[] = {"date,0,1\n2016-07-01,5,6\n", "date,400001,400017\n2016-07-01,5,6\n",
		",0\n0,5\n", "0,1,2\n5,6,7\n", "1,2,3\n5,6,7\n"};
	static const char *const values[] = {"2016-07-01,0,1\n", "0,1\n", "2,3,4\n", "a1,0\n", ",0.5\n", "0,1,3\n", "7\n"};
	struct series_options o = series_of();
	struct dataset d;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
		series_fail(asked[i], "x.csv:1:1: are the numbers of the first line names of columns, or values? --header yes");
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		series_fail(values[i], "too few for 4 known values");
	put_csv("", ",", NUMBERS);	/* "0,0,100.0" */
	o.head = CSV_HEAD_VALUES;
	assert_int_equal(import_series(&o), 0);
	assert_int_equal(dataset_open(&d, o.output), 0);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 3 * 11);
	dataset_close(&d);
	put_text("x.csv", "1,2,3\n4,5,6\n");
	assert_int_equal(import_series(&o), -1);
	SAID("of its 2 steps");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_csv), SCRATCH_TEST(test_csv_stride), SCRATCH_TEST(test_csv_gaps), SCRATCH_TEST(test_csv_scale),
		SCRATCH_TEST(test_bad_csv), SCRATCH_TEST(test_csv_numbers_for_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
