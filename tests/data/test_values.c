/* Rows of values: drawn images, a made series, and images in IDX, good and bad; test_csv.c has series in CSV. */
#include <math.h>

#include "base/half.h"
#include "data/import_images.h"
#include "data/order.h"
#include "data/task.h"
#include "value_rows.h"

static void make(struct dataset *d, const char *task, const char *const *settings, int n)
{
	struct make_options o = {.folder = at("set"), .settings = settings, .n_settings = n, .force = true};

	assert_int_equal(data_make(task_find(task), &o), 0);
	assert_int_equal(dataset_open(d, at("set")), 0);
	assert_int_equal(dataset_verify(d), 0);
}

#define MAKE(d, task, ...) \
	make(d, task, (const char *const[]){__VA_ARGS__}, \
		(int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

/* --- images that are drawn ----------------------------------------------------------------- */

/* Each digit is as likely, asked for at the last pixel; bytes alone. Without noise and warp the middle of all
   images of a digit is inked or not as its strokes say: a nearest mean tells nearly all of them. */
static void test_figures(void **state)
{
	enum { SIDE = 12, PIXELS = SIDE * SIDE, N = 1000 };
	static double mean[10][PIXELS];
	long count[10] = {0}, right = 0;
	struct dataset d;

	(void)state;
	MAKE(&d, "figures", "train=12:1000", "tests=12:300", "noise=0.1", "warp=0.3");
	assert_int_equal(d.vocab, 267);
	assert_int_equal(d.splits[SPLIT_TRAIN].row, PIXELS);
	for (int pass = 0; pass < 2; pass++)
		for (long i = 0; i < (pass ? 300 : N); i++) {
			double least = INFINITY;
			int digit, best = 0;
			read_row(&d, pass ? (enum split)N_SPLITS : SPLIT_TRAIN, i);
			digit = targets[PIXELS - 1] - 256;
			assert_in_range(digit, 0, 9);
			for (int k = 0; k < PIXELS; k++) {
				assert_in_range(tokens[k], 0, 255);
				assert_true(k == PIXELS - 1 || targets[k] == d.eot);
				mean[digit][k] += pass ? 0 : tokens[k];
			}
			count[digit] += !pass;
			for (int c = 0; pass && c < 10; c++) {
				double far = 0;
				for (int k = 0; k < PIXELS; k++)
					far += pow(tokens[k] - mean[c][k] / (double)count[c], 2);
				best = far < least ? c : best;
				least = fmin(far, least);
			}
			right += pass && best == digit;
		}
	for (int c = 0; c < 10; c++)	/* 100 each, deviation 9.5 */
		assert_in_range(count[c], 65, 135);
	assert_true(right > 300 * 0.8);
	dataset_close(&d);
}

/* --- a series that is made ----------------------------------------------------------------- */

/* Of one channel without noise and regimes of one length all windows are parts of one function: values that are
   known in one and asked for in another must agree. */
static void test_series(void **state)
{
	enum { KNOWN = 48, HORIZON = 12, T = KNOWN + HORIZON };
	struct dataset d;

	(void)state;
	MAKE(&d, "series", "train=48x12:200", "tests=48x12:50,48x24:50", "channels=1", "noise=0", "steps=1000",
		"season=12", "regime=1000000");
	assert_int_equal(d.vocab, 65536);
	assert_int_equal(d.season, 12);
	assert_true(dataset_is_series(&d));
	assert_int_equal(d.splits[N_SPLITS + 1].row, KNOWN + 24);
	assert_int_equal(d.splits[N_SPLITS + 1].items, 24);
	for (long i = 0; i < 200; i++) {
		double worst = 0;
		read_row(&d, SPLIT_TRAIN, i);
		for (int t = 0; t < T; t++) {
			assert_true(half_is_missing(tokens[t]) == (t >= KNOWN));
			assert_true(half_is_missing(targets[t]) == (t < KNOWN));
		}
		/* Two seasons of sines of periods 12 and 6, a slow one and a line: what changes from season to season
		   is the slow one, by less than its double size. */
		for (int t = KNOWN; t < T; t++)
			worst = fmax(worst, fabs(half_value(targets[t]) - half_value(tokens[t - 12])));
		assert_true(worst < 2 * 0.8 + 0.1 && worst > 0);
	}
	dataset_close(&d);
}

/* What is asked for in one split is known at most in a later one: by time, with a channel of a value of its own at
   each step. The same settings make the same data, another seed others. */
static void test_series_by_time(void **state)
{
	static bool asked[N_SPLITS + 1][65536];
	struct dataset d;
	char hash[HASH_HEX];

	(void)state;
	for (int again = 0; again < 3; again++) {
		MAKE(&d, "series", "train=8x4:2000", "tests=8x4:500", "channels=1", "steps=400", "regime=50", "noise=1",
			again == 2 ? "seed=2" : "seed=1");
		assert_true(!again || !strcmp(hash, d.hash) == (again == 1));
		memcpy(hash, d.hash, sizeof hash);
		if (again)
			dataset_close(&d);
		if (again)
			continue;
		for (int s = 0; s <= N_SPLITS; s++)
			for (long i = 0; i < d.splits[s].n_documents; i++) {
				read_row(&d, (enum split)s, i);
				for (int t = 8; t < 12; t++)
					asked[s][targets[t]] = true;
			}
		dataset_close(&d);
	}
	for (int a = 0; a <= N_SPLITS; a++)
		for (int b = a + 1; b <= N_SPLITS; b++) {
			int both = 0;
			for (int v = 0; v < 65536; v++)
				both += asked[a][v] && asked[b][v];
			assert_in_range(both, 0, 12);	/* of hundreds of values few are equal by chance */
		}
}

/* --- IDX ----------------------------------------------------------------------------------- */

/* Images of 2 x 3 bytes, the first i, i + 1, ...; labels i mod 3. */
static void put_idx(const char *images, const char *labels, int n, bool zip)
{
	unsigned char image[16 + 6 * 64] = {0, 0, 8, 3, 0, 0, 0, (unsigned char)n, 0, 0, 0, 2, 0, 0, 0, 3};
	unsigned char label[8 + 64] = {0, 0, 8, 1, 0, 0, 0, (unsigned char)n};

	for (int i = 0; i < n; i++) {
		for (int k = 0; k < 6; k++)
			image[16 + 6 * i + k] = (unsigned char)(i + k);
		label[8 + i] = (unsigned char)(i % 3);
	}
	if (zip)
		put_gzip(images, image, (size_t)(16 + 6 * n));
	else
		put(images, image, (size_t)(16 + 6 * n));
	put(labels, label, (size_t)(8 + n));
}

static struct images_options images_of(void)
{
	return (struct images_options){.output = at("set"), .images = at("images"), .labels = at("labels"), .val = 0.2,
		.tune = 0.1, .force = true};
}

static void test_images(void **state)
{
	struct images_options o = images_of();
	struct dataset d;
	bool seen[60] = {false};

	(void)state;
	put_idx("images", "labels", 60, true);
	put_idx("test_images", "test_labels", 5, false);
	o.test_images = at("test_images");
	o.test_labels = at("test_labels");
	assert_int_equal(import_images(&o), 0);
	assert_int_equal(dataset_open(&d, o.output), 0);
	assert_int_equal(dataset_verify(&d), 0);
	assert_int_equal(d.vocab, 256 + 3 + 1);
	assert_int_equal(d.splits[N_SPLITS].n_documents, 5);
	assert_string_equal(d.splits[N_SPLITS].name, "test");
	for (int s = 0; s <= N_SPLITS; s++)
		for (long i = 0; i < d.splits[s].n_documents; i++) {
			int number;
			read_row(&d, (enum split)s, i);
			number = tokens[0];
			for (int k = 0; k < 6; k++) {
				assert_int_equal(tokens[k], number + k);
				assert_int_equal(targets[k], k < 5 ? d.eot : 256 + number % 3);
			}
			assert_false(s < N_SPLITS && seen[number]);
			seen[number] |= s < N_SPLITS;
		}
	for (int i = 0; i < 60; i++)
		assert_true(seen[i]);
	assert_in_range(d.splits[SPLIT_VAL].n_documents, 5, 20);
	dataset_close(&d);
}

/* IDX files of n images of two bytes, with labels below `classes`. */
static void put_small(const char *images, const char *labels, int n, int classes)
{
	unsigned char image[16 + 2 * 3000] = {0, 0, 8, 3, 0, 0, (unsigned char)(n >> 8), (unsigned char)n, 0, 0, 0, 1, 0, 0, 0, 2};
	unsigned char label[8 + 3000] = {0, 0, 8, 1, 0, 0, (unsigned char)(n >> 8), (unsigned char)n};

	for (int i = 0; i < n; i++) {
		image[16 + 2 * i] = (unsigned char)(2 * i);
		label[8 + i] = (unsigned char)(i % classes);
	}
	put(images, image, (size_t)(16 + 2 * n));
	put(labels, label, (size_t)(8 + n));
}

/* More images than are written at once, each counted once; a class that only the test set has. */
static void test_many_images(void **state)
{
	struct images_options o = images_of();
	struct dataset d;
	long n = 0;

	(void)state;
	put_small("images", "labels", 3000, 3);
	put_small("test_images", "test_labels", 10, 5);
	o.test_images = at("test_images");
	o.test_labels = at("test_labels");
	assert_int_equal(import_images(&o), 0);
	assert_int_equal(dataset_open(&d, o.output), 0);
	assert_int_equal(d.vocab, 256 + 5 + 1);
	for (int s = 0; s <= N_SPLITS; s++) {
		assert_int_equal(d.splits[s].n_tokens, 2 * 2 * d.splits[s].n_documents);
		n += s < N_SPLITS ? d.splits[s].n_documents : 0;
	}
	assert_int_equal(n, 3000);
	assert_in_range(d.splits[SPLIT_VAL].n_documents, 510, 690);	/* 600, deviation 22 */
	assert_in_range(d.splits[SPLIT_TUNE].n_documents, 235, 365);	/* 300, deviation 16 */
	dataset_close(&d);
}

static void images_fail(const char *why)
{
	struct images_options o = images_of();

	n_messages = 0;
	path_remove_tree(at("set"));
	assert_int_equal(import_images(&o), -1);
	assert_int_equal(n_messages, 1);
	SAID(why);
	assert_int_equal(n_entries("set"), 0);
}

static void test_bad_images(void **state)
{
	static const unsigned char floats[16] = {0, 0, 13, 3, 0, 0, 0, 1};
	static const unsigned char short_one[20] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4};

	(void)state;
	put_idx("images", "labels", 6, false);
	put_text("images", "PNG?");
	images_fail("images: not in IDX");
	put("images", floats, sizeof floats);
	images_fail("images: values of type 13 in 3 dimensions, expected bytes (8)");
	put("images", short_one, sizeof short_one);
	images_fail("images: has 20 bytes, but its header says 2 items of 3, 22 bytes: truncated?");
	put("images", short_one, 9);
	images_fail("holds no images");
	put_idx("images", "other", 5, false);
	images_fail("labels: has 6 labels, but");
	put_idx("images", "labels", 1, false);
	images_fail("to validate, drawn by --val 0.2 --tune 0.1: both need some");
	put("labels", short_one, sizeof short_one);
	images_fail("labels: values of type 8 in 3 dimensions, expected bytes (8) in 1, labels");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_figures), SCRATCH_TEST(test_series), SCRATCH_TEST(test_series_by_time),
		SCRATCH_TEST(test_images), SCRATCH_TEST(test_many_images), SCRATCH_TEST(test_bad_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
