#include "arch/refuse.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Does the text have the word by itself? in_full: also behind a dot. */
static bool names(const char *text, const char *word, bool in_full)
{
	for (const char *at = text; (at = strstr(at, word)); at++)
		if (!in_word(at[strlen(word)]) && (at == text || in_full || (!in_word(at[-1]) && at[-1] != '.')))
			return true;
	return false;
}

/* Tokens and a batch are no keys of training where they stand by themselves. */
static bool is_plain_word(const char *key, const char *last)
{
	return !str_starts(key, "model.") && !strchr(last, '_');
}

static bool names_key(const char *text, const char *key)
{
	const char *last = strrchr(key, '.');
	char group[128];

	if (names(text, key, true))
		return true;
	if (!last || (size_t)(last + 2 - key) > sizeof group || is_plain_word(key, last))
		return false;
	snprintf(group, sizeof group, "%.*s", (int)(last + 1 - key), key);
	return strstr(text, group) && names(text, last + 1, false);
}

/* "a/b.yaml:6" or "command line", no default and no recipe. */
static bool is_given(const char *origin)
{
	const char *line = strrchr(origin, ':');

	return str_starts(origin, "command line") || (line && isdigit((unsigned char)line[1]));
}

/* Of layers of a pattern each entry may have the keys. */
static bool is_about(const char *text, const char *key)
{
	return names_key(text, key) || (strstr(text, "model.") && !strcmp(key, "model.pattern"));
}

/* Does a value that the text is about come with this key ("model.moe.router: topk")? */
static bool brings_some(const struct config *c, const char *text, const char *key)
{
	size_t length = strlen(key);

	for (int i = 0; i < c->n; i++) {
		const char *origin = c->values[i].origin;
		if (!strncmp(origin, key, length) && origin[length] == ':' && is_about(text, c->values[i].field->key))
			return true;
	}
	return false;
}

int refuse(const struct config *c, const char *format, ...)
{
	char said[2048];
	struct str where;
	va_list args;

	va_start(args, format);
	vsnprintf(said, sizeof said, format, args);
	va_end(args);
	str_init(&where);
	for (int i = 0; i < c->n; i++) {
		const struct config_value *v = &c->values[i];
		if (is_given(v->origin) && (is_about(said, v->field->key) || brings_some(c, said, v->field->key)))
			str_printf(&where, "%s%s at %s", where.length ? ", " : " (", v->field->key, v->origin);
	}
	error("%s: %s%s%s", c->file, said, where.text, where.length ? ")" : "");
	str_release(&where);
	return -1;
}
