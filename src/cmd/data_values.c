/* moelab data images IMAGES LABELS [TEST_IMAGES TEST_LABELS] -o DIR; moelab data series FILE -o DIR */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cmd/data.h"
#include "cmd/options.h"
#include "data/dataset.h"
#include "data/import_images.h"
#include "data/import_series.h"

int data_images_run(const struct cmd *cmd, int argc, char **argv)
{
	struct images_options o = {.val = 0.05, .tune = 0.05};
	const char *val = NULL, *tune = NULL;
	const struct option_row rows[] = {
		{"output", 'o', "DIR", "the dataset to make", .text = &o.output},
		{"val", 0, "SHARE", "of the images, held out for evaluation (default 0.05)", .text = &val},
		{"tune", 0, "SHARE", "held out for choosing learning rates (default 0.05)", .text = &tune},
		{"force", 0, NULL, "replace an existing dataset", .flag = &o.force},
		{0},
	};
	struct arguments a;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if ((a.n_words != 2 && a.n_words != 4) || a.n_overrides || !o.output)
		return error("data images: needs IMAGES LABELS, or these and TEST_IMAGES TEST_LABELS, and -o DIR"),
			EXIT_USAGE;
	if (data_read_share(cmd, "--val", val, &o.val) || data_read_share(cmd, "--tune", tune, &o.tune))
		return EXIT_USAGE;
	if (o.val == 0 || o.val + o.tune >= 1)
		return error("data images: --val %g --tune %g: some images must validate, and some train", o.val,
			o.tune), EXIT_USAGE;
	o.images = a.words[0];
	o.labels = a.words[1];
	o.test_images = a.n_words > 2 ? a.words[2] : NULL;
	o.test_labels = a.n_words > 2 ? a.words[3] : NULL;
	return data_exit(import_images(&o));
}

static int read_horizons(struct series_options *o, const char *text)
{
	char *copy = xstrdup(text), *rest = copy, *part;
	long long n;
	int ret = 0;

	while (!ret && (part = strsep(&rest, ","))) {
		if (o->n_horizons == MOST_HORIZONS || !str_to_long(part, &n) || n < 1 || n > 1 << 20)
			ret = error("data series: --horizon %s: not 1 to %d numbers of steps, such as 96,192", text,
				MOST_HORIZONS);
		else
			o->horizons[o->n_horizons++] = n;
		for (int i = 0; !ret && i < o->n_horizons - 1; i++)
			if (o->horizons[i] == n)
				ret = error("data series: --horizon names %lld twice", n);
	}
	free(copy);
	return ret;
}

static int read_head(struct series_options *o, const char *text)
{
	if (text && strcmp(text, "yes") && strcmp(text, "no"))
		return error("data series: --header %s: not yes or no", text);
	o->head = !text ? CSV_HEAD_SEEN : !strcmp(text, "yes") ? CSV_HEAD_NAMES : CSV_HEAD_VALUES;
	return 0;
}

static int check_series(const struct series_options *o)
{
	if (o->known < 1 || o->known > 1 << 20 || o->stride < 1 || o->season < 0)
		return error("data series: --known must be 1 to %d, --stride 1 or more, --season 0 or more", 1 << 20);
	if (o->val == 0 || o->val + o->tune + o->test >= 1)
		return error("data series: --tune %g --val %g --test %g: some steps must validate, and some train",
			o->tune, o->val, o->test);
	return 0;
}

int data_series_run(const struct cmd *cmd, int argc, char **argv)
{
	struct series_options o = {.known = 96, .stride = 1, .tune = 0.05, .val = 0.05, .test = 0.2};
	const char *horizons = "96", *tune = NULL, *val = NULL, *test = NULL, *head = NULL;
	const struct option_row rows[] = {
		{"output", 'o', "DIR", "the dataset to make", .text = &o.output},
		{"known", 0, "STEPS", "values in front of those asked for (default 96)", .number = &o.known},
		{"horizon", 0, "H,...", "steps asked for (default 96): a test set each, the first is trained on",
			.text = &horizons},
		{"stride", 0, "STEPS", "between windows to train and validate (default 1)", .number = &o.stride},
		{"season", 0, "STEPS", "after which values are likely to come again, for a rule to compare with",
			.number = &o.season},
		{"header", 0, "yes|no", "whether the first line names columns (default: if it is no numbers)",
			.text = &head},
		{"tune", 0, "SHARE", "of the time, behind that to train (default 0.05)", .text = &tune},
		{"val", 0, "SHARE", "behind that (default 0.05)", .text = &val},
		{"test", 0, "SHARE", "the last (default 0.2)", .text = &test},
		{"force", 0, NULL, "replace an existing dataset", .flag = &o.force},
		{0},
	};
	struct arguments a;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || a.n_overrides || !o.output)
		return error("data series: needs one FILE and -o DIR"), EXIT_USAGE;
	if (data_read_share(cmd, "--tune", tune, &o.tune) || data_read_share(cmd, "--val", val, &o.val) ||
		data_read_share(cmd, "--test", test, &o.test) || read_horizons(&o, horizons) ||
		read_head(&o, head) || check_series(&o))
		return EXIT_USAGE;
	o.input = a.words[0];
	return data_exit(import_series(&o));
}
