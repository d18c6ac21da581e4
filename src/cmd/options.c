#include "cmd/options.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { MAX_ROWS = 40, FIRST_CODE = 256 };

static bool quiet, loud, no_color, help;

static const struct option_row common[] = {
	{"quiet", 'q', NULL, "print errors only", .flag = &quiet},
	{"verbose", 'v', NULL, "print more", .flag = &loud},
	{"no-color", 0, NULL, "plain text on terminals", .flag = &no_color},
	{"help", 'h', NULL, "print this", .flag = &help},
	{0},
};

static void print_rows(const struct option_row *rows)
{
	for (; rows->name; rows++) {
		char left[64];
		snprintf(left, sizeof left, "--%s%s%s", rows->name, rows->value ? " " : "",
			rows->value ? rows->value : "");
		if (rows->letter)
			printf("  -%c, %-22s %s\n", rows->letter, left, rows->help);
		else
			printf("      %-22s %s\n", left, rows->help);
	}
}

static void options_help(const struct cmd *cmd, const struct option_row *rows)
{
	printf("usage: moelab %s %s\n%s\n\n", cmd->name, cmd->arguments, cmd->help);
	print_rows(rows);
	print_rows(common);
}

static bool names_file(const struct option_row *row)
{
	static const char *const values[] = {"FILE", "DIR", "FOLDER"};

	return str_index(row->value, values, ARRAY_SIZE(values)) >= 0;
}

static int set_value(const struct option_row *row, const char *text)
{
	long long n;

	if (row->flag) {
		*row->flag = true;
	} else if (names_file(row) ? !*text : !str_is_line(text)) {
		return error("--%s takes %s", row->name, *text ?
			"a line in valid UTF-8, without control characters" : "a name, not \"\"");
	} else if (row->text) {
		*row->text = row->letter == 'o' && names_file(row) && !strcmp(text, "-") ? "/dev/stdout" : text;
	} else if (row->texts) {
		if (row->texts->n == ARRAY_SIZE(row->texts->items))
			return error("--%s: given more than %d times", row->name, row->texts->n);
		row->texts->items[row->texts->n++] = text;
	} else if (row->number) {
		if (!str_to_long(text, &n) || n < 0)
			return error("--%s takes a whole number, not \"%s\"", row->name, text);
		*row->number = (long)n;
	} else if (!str_to_double(text, row->real) || !isfinite(*row->real)) {
		return error("--%s takes a number, not \"%s\"", row->name, text);
	}
	return 0;
}

/* getopt's two forms of the tables; all[] is the row of each code. */
struct scan {
	struct option longs[MAX_ROWS];
	char shorts[3 * MAX_ROWS];
	const struct option_row *all[MAX_ROWS];
	int n;
};

static void scan_add(struct scan *s, const struct option_row *rows)
{
	for (; rows->name; rows++) {
		size_t at = strlen(s->shorts);
		CHECK(s->n < MAX_ROWS - 1);
		s->all[s->n] = rows;
		s->longs[s->n] = (struct option){rows->name, rows->value ? required_argument : no_argument,
			NULL, FIRST_CODE + s->n};
		s->n++;
		if (rows->letter)
			snprintf(s->shorts + at, sizeof s->shorts - at, "%c%s", rows->letter,
				rows->value ? ":" : "");
	}
}

static const struct option_row *scan_row(const struct scan *s, int code)
{
	if (code >= FIRST_CODE)
		return s->all[code - FIRST_CODE];
	for (int i = 0; i < s->n; i++)
		if (s->all[i]->letter == code)
			return s->all[i];
	return NULL;
}

/* Keys hold neither "/" nor "-", unlike files and the labels of runs: "mamba-n_experts=8". */
static bool is_override(const char *word)
{
	const char *equals = strchr(word, '=');

	return equals && equals != word && strcspn(word, "/-") > (size_t)(equals - word);
}

/* Sorts what is no option within argv itself: words first, then key=value, each in order. */
static void split_words(int argc, char **argv, struct arguments *a)
{
	const char **rest = (const char **)argv + optind;
	const char **overrides = xcalloc((size_t)argc + 1, sizeof *overrides);

	a->words = rest;
	for (int i = 0; i < argc - optind; i++)
		if (is_override(rest[i]))
			overrides[a->n_overrides++] = rest[i];
		else
			rest[a->n_words++] = rest[i];
	a->overrides = rest + a->n_words;
	memcpy(a->overrides, overrides, sizeof *overrides * (size_t)a->n_overrides);
	free(overrides);
}

static void apply_common(void)
{
	if (quiet)
		log_level = LOG_QUIET;
	if (loud)
		log_level = LOG_VERBOSE;
	if (no_color)
		setenv("NO_COLOR", "1", 1);
}

int options_parse(const struct cmd *cmd, const struct option_row *rows, int argc, char **argv,
	struct arguments *a)
{
	struct scan s = {0};
	int code;

	scan_add(&s, rows);
	scan_add(&s, common);
	*a = (struct arguments){0};
	optind = 0;	/* glibc: begin anew */
	while ((code = getopt_long(argc, argv, s.shorts, s.longs, NULL)) != -1) {
		const struct option_row *row = scan_row(&s, code);
		if (!row)
			return error("see \"moelab %s --help\"", cmd->name), EXIT_USAGE;
		if (set_value(row, optarg))
			return EXIT_USAGE;
	}
	apply_common();
	if (help) {
		options_help(cmd, rows);
		return EXIT_DONE;
	}
	split_words(argc, argv, a);
	return GO_ON;
}
