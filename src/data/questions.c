#include "data/questions.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/source.h"
#include "base/str.h"

void questions_add(struct questions *q, const struct question *one)
{
	struct question *to;

	GROW(q->list, q->n + 1, q->size);
	to = &q->list[q->n++];
	*to = *one;
	to->set = arena_strdup(&q->arena, one->set);
	to->context = arena_strdup(&q->arena, one->context);
	for (int i = 0; i < one->n_choices; i++)
		to->choices[i] = arena_strdup(&q->arena, one->choices[i]);
}

void questions_release(struct questions *q)
{
	free(q->list);
	arena_release(&q->arena);
	*q = (struct questions){0};
}

/* NULL: it is one. */
static const char *fault(const json_t *object, struct question *one)
{
	const json_t *choices = json_object_get(object, "choices"), *answer = json_object_get(object, "answer");

	*one = (struct question){.set = json_string_value(json_object_get(object, "set")),
		.context = json_string_value(json_object_get(object, "context")),
		.n_choices = (int)json_array_size(choices), .answer = (int)json_integer_value(answer)};
	if (!one->set || !*one->set || !one->context)
		return "set and context must be texts, set not empty";
	if (one->n_choices < 1 || one->n_choices > MAX_CHOICES)
		return "choices must be a list of 1 to 8 texts";
	for (int i = 0; i < one->n_choices; i++) {
		one->choices[i] = json_string_value(json_array_get(choices, (size_t)i));
		if (!one->choices[i] || !*one->choices[i])
			return "choices must be texts that are not empty";
	}
	return json_is_integer(answer) && one->answer >= 0 && one->answer < one->n_choices ? NULL
		: "answer must be the number of a choice, counted from 0";
}

static int read_line(struct questions *q, const char *path, long line, const char *text)
{
	struct question one;
	json_error_t detail;
	json_t *object = json_loads(text, 0, &detail);
	const char *why = !object ? detail.text : json_is_object(object) ? fault(object, &one)
		: "no object in braces";

	if (!why)
		questions_add(q, &one);
	else
		error("%s:%ld: %s: no question of `moelab data ask`", path, line, why);
	json_decref(object);
	return why ? -1 : 0;
}

int questions_read(struct questions *q, const char *path)
{
	char *text = source_text(path, SIZE_MAX, NULL), *at = text;
	int ret = text ? 0 : -1;

	*q = (struct questions){0};
	for (long line = 1; at && *at && !ret; line++) {
		char *end = strchrnul(at, '\n');
		bool more = *end;
		*end = '\0';
		if (*at)
			ret = read_line(q, path, line, at);
		at = end + more;
	}
	free(text);
	if (!ret && !q->n)
		ret = error("%s: holds no questions: `moelab data ask` makes some", path);
	if (ret)
		questions_release(q);
	return ret;
}

static json_t *object_of(const struct question *one)
{
	json_t *choices = json_array();

	for (int i = 0; i < one->n_choices; i++)
		json_array_append_new(choices, json_string(one->choices[i]));
	return json_pack("{s:s, s:s, s:o, s:i}", "set", one->set, "context", one->context, "choices", choices,
		"answer", one->answer);
}

int questions_write(const struct questions *q, const char *path)
{
	struct str out;
	int ret;

	str_init(&out);
	for (long i = 0; i < q->n; i++) {
		json_t *object = object_of(&q->list[i]);
		char *line = json_dumps(object, JSON_COMPACT);
		CHECK(line);
		str_printf(&out, "%s\n", line);
		free(line);
		json_decref(object);
	}
	ret = path_write(path, out.text, out.length);
	str_release(&out);
	return ret;
}
