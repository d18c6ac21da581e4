#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

void str_init(struct str *s)
{
	*s = (struct str){.text = xcalloc(1, 16), .size = 16};
}

void str_release(struct str *s)
{
	free(s->text);
	*s = (struct str){0};
}

void str_clear(struct str *s)
{
	s->length = 0;
	s->text[0] = '\0';
}

static void reserve(struct str *s, size_t more)
{
	GROW(s->text, s->length + more + 1, s->size);
}

void str_add_bytes(struct str *s, const void *bytes, size_t n)
{
	reserve(s, n);
	memcpy(s->text + s->length, bytes, n);
	s->length += n;
	s->text[s->length] = '\0';
}

void str_add(struct str *s, const char *text)
{
	str_add_bytes(s, text, strlen(text));
}

static void add_formatted(struct str *s, const char *format, va_list args)
{
	va_list again;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	reserve(s, (size_t)n);
	vsnprintf(s->text + s->length, (size_t)n + 1, format, again);
	s->length += (size_t)n;
	va_end(again);
}

void str_printf(struct str *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_formatted(s, format, args);
	va_end(args);
}

void str_add_item(struct str *s, const char *format, ...)
{
	va_list args;

	str_add(s, s->length ? ", " : "");
	va_start(args, format);
	add_formatted(s, format, args);
	va_end(args);
}

char *str_keep(struct str *s, struct arena *a)
{
	char *kept = arena_strdup(a, s->text);

	str_release(s);
	return kept;
}

void str_add_printable(struct str *s, const void *bytes, size_t n)
{
	const unsigned char *c = bytes;

	for (size_t i = 0; i < n; i++)
		str_printf(s, isprint(c[i]) ? "%c" : "\\x%02x", c[i]);
}

static bool is_plain(const char *word)
{
	const char *const plain =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-/=,:@%";

	return *word && strspn(word, plain) == strlen(word);
}

void str_add_word(struct str *s, const char *word)
{
	if (is_plain(word)) {
		str_printf(s, " %s", word);
		return;
	}
	str_add(s, " '");
	for (; *word; word++)
		if (*word == '\'')
			str_add(s, "'\\''");
		else
			str_add_bytes(s, word, 1);
	str_add(s, "'");
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

bool str_ends_nocase(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcasecmp(s + n - m, suffix) == 0;
}

int str_index(const char *s, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(s, list[i]))
			return i;
	return -1;
}

long str_next_code(const char **p)
{
	const unsigned char *s = (const unsigned char *)*p;
	int more = s[0] < 0x80       ? 0
		   : s[0] >> 5 == 6  ? 1
		   : s[0] >> 4 == 14 ? 2
		   : s[0] >> 3 == 30 ? 3
				     : -1;
	static const long least[] = {0, 0x80, 0x800, 0x10000};
	long code = more == 0 ? s[0] : s[0] & (0x3f >> (more < 0 ? 0 : more));

	for (int i = 1; i <= more; i++) {
		if (s[i] >> 6 != 2)
			return -1;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (more < 0 || code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return -1;
	*p += more + 1;
	return code;
}

/* XML knows none of these characters but tab and line feed; nor do names in a table. */
static bool is_control(long code)
{
	return (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7f && code < 0xa0) ||
		code == 0xfffe || code == 0xffff;
}

bool str_is_text(const char *s)
{
	while (*s) {
		long code = str_next_code(&s);
		if (code < 0 || is_control(code))
			return false;
	}
	return true;
}

bool str_is_line(const char *s)
{
	return str_is_text(s) && !strpbrk(s, "\t\n");
}

/* Levenshtein distance; words here are keys of a spec, so short. */
static int edit_distance(const char *a, const char *b)
{
	int n = (int)strlen(a), m = (int)strlen(b), row[128];

	if (n > 100 || m > 100)
		return 100;
	for (int j = 0; j <= m; j++)
		row[j] = j;
	for (int i = 1; i <= n; i++) {
		int diagonal = row[0];
		row[0] = i;
		for (int j = 1; j <= m; j++) {
			int best = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[m];
}

/* People rarely get the beginning of a word wrong: of equally near words that with more of it. */
static int common_prefix(const char *a, const char *b)
{
	int n = 0;

	while (a[n] && a[n] == b[n])
		n++;
	return n;
}

const char *str_nearest(const char *word, const char *const *candidates, int n)
{
	const char *nearest = NULL;
	int best = 2 + (int)strlen(word) / 8;

	for (int i = 0; i < n; i++) {
		int distance = edit_distance(word, candidates[i]);
		if (distance < best || (distance == best && (!nearest ||
			common_prefix(word, candidates[i]) > common_prefix(word, nearest)))) {
			best = distance;
			nearest = candidates[i];
		}
	}
	return nearest;
}

bool str_to_long(const char *s, long long *value)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(s, &end, 10);
	if (end == s || *end || errno)
		return false;
	*value = v;
	return true;
}

bool str_to_double(const char *s, double *value)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(s, &end);
	if (end == s || *end || (errno && v != 0))
		return false;
	*value = v;
	return true;
}

const char *str_bytes(double bytes, char *buffer)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	int u = 0;

	while (bytes >= 1024 && u < 4) {
		bytes /= 1024;
		u++;
	}
	snprintf(buffer, 32, u ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
	return buffer;
}

const char *str_count(long long n, char *buffer)
{
	char digits[32];
	int length = snprintf(digits, sizeof digits, "%lld", n), out = 0;

	for (int i = 0; i < length; i++) {
		buffer[out++] = digits[i];
		if (digits[i] != '-' && (length - 1 - i) % 3 == 0 && i != length - 1)
			buffer[out++] = ',';
	}
	buffer[out] = '\0';
	return buffer;
}

const char *str_duration(double seconds, char *buffer)
{
	long s = (long)(seconds + 0.5);

	if (seconds < 10)
		snprintf(buffer, 32, "%.1f s", seconds);
	else if (s < 120)
		snprintf(buffer, 32, "%ld s", s);
	else if (s < 7200)
		snprintf(buffer, 32, "%ld min %ld s", s / 60, s % 60);
	else if (s < 48 * 3600)
		snprintf(buffer, 32, "%ld h %ld min", s / 3600, s / 60 % 60);
	else
		snprintf(buffer, 32, "%ld d %ld h", s / 86400, s / 3600 % 24);
	return buffer;
}
