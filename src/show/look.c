#include "show/look.h"

#include "base/error.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "8.5x6cm": two numbers and a unit. */
static int read_size(struct look *look, const char *text)
{
	double unit = str_ends(text, "cm") ? 72 / 2.54 : str_ends(text, "in") ? 72 : NAN;
	double width = 0, height = 0;
	int end = 0;

	if (isfinite(unit) && sscanf(text, "%lfx%lf%n", &width, &height, &end) == 2 &&
		strlen(text) == (size_t)end + 2) {
		look->width_pt = width * unit;
		look->height_pt = height * unit;
	}
	if (!(look->width_pt >= 72 && look->width_pt <= 7200 && look->height_pt >= 72 &&
		    look->height_pt <= 7200))
		return error("--size takes WIDTHxHEIGHT with its unit, 1 to 100 inches,"
			     " as 8.5x6cm or 3.3x2.5in, not \"%s\"",
			text);
	return 0;
}

/* The name goes into gnuplot's font syntax and into a shell's quotes, so no marks in it. */
static bool is_font_name(const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr(" -_.", name[i]))
			return false;
	return true;
}

static int read_font(struct look *look, const char *text)
{
	size_t length = strcspn(text, ",");
	bool sized = text[length] == ',';

	if (length >= sizeof look->font || !is_font_name(text, length) || (!length && !sized) ||
		(sized &&
			(!str_to_double(text + length + 1, &look->font_pt) ||
				!(look->font_pt >= 3 && look->font_pt <= 72))))
		return error("--font takes NAME,SIZE with a size of 3 to 72 points,"
			     " as Times,9 or Times or ,9, not \"%s\"",
			text);
	snprintf(look->font, sizeof look->font, "%.*s", (int)length, text);
	return 0;
}

/* "A:B"; an empty part leaves that end to the data. */
static int read_range(const char *option, const char *text, double *low, double *high)
{
	const char *colon = strchr(text, ':');
	char first[32];
	bool good = colon && colon[0] && (colon > text || colon[1]) && colon - text < 32;

	if (good && colon > text) {
		snprintf(first, sizeof first, "%.*s", (int)(colon - text), text);
		good = str_to_double(first, low) && isfinite(*low);
	}
	if (good && colon[1])
		good = str_to_double(colon + 1, high) && isfinite(*high);
	if (!good || *low >= *high)
		return error(
			"--%s takes A:B with A below B, as 1e5:2e6 or 1e5: or :2e6, not \"%s\"",
			option, text);
	return 0;
}

static int read_log(struct look *look, const char *text)
{
	static const char *const names[] = {"none", "x", "y", "xy"};

	look->log = str_index(text, names, ARRAY_SIZE(names));
	return look->log >= 0 ? 0 : error("--log takes x, y, xy or none, not \"%s\"", text);
}

static const char *title_of(const char *word)
{
	return word && !strcmp(word, "none") ? "" : word;
}

int look_read(struct look *look, const struct look_words *words)
{
	*look = LOOK_USUAL;
	look->title = title_of(words->title);
	look->x_title = title_of(words->x_title);
	look->y_title = title_of(words->y_title);
	if ((words->size && read_size(look, words->size)) ||
		(words->font && read_font(look, words->font)) ||
		(words->x_range &&
			read_range("xrange", words->x_range, &look->x_low, &look->x_high)) ||
		(words->y_range &&
			read_range("yrange", words->y_range, &look->y_low, &look->y_high)) ||
		(words->log && read_log(look, words->log)))
		return -1;
	return 0;
}

/* fontconfig's own program, which stands wherever gnuplot draws with cairo; silent where it lacks. */
void look_check_font(const struct look *look)
{
	char family[256] = "";

	if (!*look->font)
		return;
	char *command = xasprintf("fc-match -f '%%{family}' '%s' 2>/dev/null", look->font);
	FILE *f = popen(command, "r");
	free(command);
	if (!f)
		return;
	if (fgets(family, sizeof family, f) && !strcasestr(family, look->font) &&
		!str_starts(look->font, "sans") && strcmp(look->font, "serif") &&
		strcmp(look->font, "monospace"))
		warning("font %s is not installed: %s stands in its place", look->font, family);
	pclose(f);
}
