#include "data/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define X(name) extern const struct task task_##name;
#include "task.inc"
#undef X

const struct task *const tasks[] = {
#define X(name) &task_##name,
#include "task.inc"
#undef X
	NULL,
};

const struct task *task_find(const char *name)
{
	struct str names;

	for (int i = 0; tasks[i]; i++)
		if (!strcmp(tasks[i]->name, name))
			return tasks[i];
	str_init(&names);
	for (int i = 0; tasks[i]; i++)
		str_add_item(&names, "%s", tasks[i]->name);
	error("unknown task \"%s\" (there is: %s)", name, names.text);
	str_release(&names);
	return NULL;
}

/* --- random numbers ------------------------------------------------------------------------ */

struct draw draw_begin(struct rng_key key, uint64_t first)
{
	return (struct draw){.key = key, .next = first};
}

double draw_uniform(struct draw *d)
{
	if (!d->half)
		d->block = rng_block(d->key, d->next++);
	d->half = !d->half;
	return rng_uniform(d->block, !d->half);
}

double draw_between(struct draw *d, double least, double most)
{
	return least + (most - least) * draw_uniform(d);
}

long draw_below(struct draw *d, long n)
{
	CHECK(n > 0);
	return (long)(draw_uniform(d) * (double)n);
}

/* Fisher and Yates, of a table that only says where it is not the identity. Open addressing; a slot
   holds place + 1 and the number there. */
void draw_distinct(struct draw *d, long n, long k, long *out)
{
	long size = 16;

	CHECK(k <= n);
	while (size < 4 * k)
		size *= 2;
	long (*moved)[2] = xcalloc((size_t)size, sizeof *moved);
	for (long i = 0; i < k; i++) {
		long places[2] = {i + draw_below(d, n - i), i}, *slot[2], value[2];
		for (int s = 0; s < 2; s++) {
			long at = (places[s] * 0x9E3779B1L) & (size - 1);
			while (moved[at][0] && moved[at][0] != places[s] + 1)
				at = (at + 1) & (size - 1);
			slot[s] = moved[at];
			value[s] = moved[at][0] ? moved[at][1] : places[s];
			slot[s][0] = places[s] + 1;
			slot[s][1] = value[s];
		}
		out[i] = value[0];
		slot[0][1] = value[1];
	}
	free(moved);
}
