#include "data/task_shapes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { MOST_TOKENS = 1 << 24 };
static const long most_examples = 1L << 28;

/* Digits from *p on, which moves behind them. */
static bool read_number(const char **p, long *n)
{
	char *end;

	errno = 0;
	if (**p < '0' || **p > '9')
		return false;
	*n = strtol(*p, &end, 10);
	*p = end;
	return !errno;
}

/* LENGTH[-LENGTH][xITEMS]:N up to the end of the part. */
static bool read_shape(struct shape *s, const char *p, bool counted)
{
	const char *begin = p;

	*s = (struct shape){.items = 0};
	if (!read_number(&p, &s->least))
		return false;
	s->most = s->least;
	if (*p == '-' && (p++, !read_number(&p, &s->most)))
		return false;
	if (counted && (*p++ != 'x' || !read_number(&p, &s->items)))
		return false;
	if (*p != ':' || (size_t)(p - begin) >= sizeof s->name)
		return false;
	memcpy(s->name, begin, (size_t)(p - begin));
	p++;
	return read_number(&p, &s->n) && !*p;
}

static int check_shape(const struct shapes *all, const struct shape *s, const struct task *t,
	const double *value, const char *key)
{
	if (s->least > s->most || s->n < 1 || s->n > most_examples)
		return error("data make %s: %s=%s:%ld: lengths must rise, examples be 1 to %ld", t->name,
			key, s->name, s->n, most_examples);
	if (s->most > MOST_TOKENS || !t->tokens(value, s->least, s->items) ||
		!t->tokens(value, s->most, s->items) || t->tokens(value, s->most, s->items) > MOST_TOKENS)
		return error("data make %s: %s=%s: no such examples: %s, at most %d tokens", t->name, key,
			s->name, t->possible, MOST_TOKENS);
	for (int i = 0; i < all->n; i++)
		if (!strcmp(all->list[i].name, s->name))
			return error("data make %s: %s names %s twice", t->name, key, s->name);
	return 0;
}

int shapes_parse(struct shapes *s, const struct task *t, const double *value, const char *key,
	const char *text)
{
	bool counted = strchr(t->shape, 'x') != NULL;
	char *copy = xstrdup(text), *rest = copy, *part;
	int ret = 0;

	*s = (struct shapes){.n = 0};
	while (!ret && *copy && (part = strsep(&rest, ","))) {
		struct shape *shape = &s->list[s->n];
		if (s->n == MAX_TESTS)
			ret = error("data make %s: %s: more than %d shapes", t->name, key, MAX_TESTS);
		else if (!read_shape(shape, part, counted))
			ret = error("data make %s: %s=%s: expected %s:EXAMPLES, LENGTH a number or "
				"LEAST-MOST, such as %s", t->name, key, part, t->shape, t->train);
		else
			ret = check_shape(s, shape, t, value, key);
		s->n++;
		s->n_examples += ret ? 0 : shape->n;
	}
	free(copy);
	return ret;
}

const struct shape *shapes_at(const struct shapes *s, long i, long n)
{
	double at = ((double)i + 0.5) / (double)n * (double)s->n_examples;
	int k = 0;

	for (; k < s->n - 1 && at > (double)s->list[k].n; k++)
		at -= (double)s->list[k].n;
	return &s->list[k];
}

long shapes_row(const struct shapes *s, const struct task *t, const double *value)
{
	long row = 0;

	for (int k = 0; k < s->n; k++) {
		long n = t->tokens(value, s->list[k].most, s->list[k].items);
		row = n > row ? n : row;
	}
	return row;
}
