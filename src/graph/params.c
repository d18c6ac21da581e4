#include "graph/params.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/str.h"

enum { ALIGN_ELEMENTS = 16 };	/* on hosts: 64 bytes of float32 */

void params_init(struct params *p, struct arena *a, const struct device *d)
{
	long align = (long)(d->align / d->bytes[REAL]);

	*p = (struct params){.arena = a, .align = align > ALIGN_ELEMENTS ? align : ALIGN_ELEMENTS};
}

void params_release(struct params *p)
{
	free(p->list);
	free(p->places);
	*p = (struct params){0};
}

/* Where the name is, or would be. */
static int *place_of(const struct params *p, const char *name)
{
	uint64_t mask = (uint64_t)p->n_places - 1, at = hash_u64(name) & mask;

	while (p->places[at] && strcmp(p->list[p->places[at] - 1].name, name))
		at = (at + 1) & mask;
	return &p->places[at];
}

int params_find(const struct params *p, const char *name)
{
	return p->n_places ? *place_of(p, name) - 1 : -1;
}

static void make_place(struct params *p)
{
	if (2 * (p->n + 1) < p->n_places)
		return;
	p->n_places = p->n_places ? 2 * p->n_places : 64;
	free(p->places);
	p->places = xcalloc((size_t)p->n_places, sizeof *p->places);
	for (int i = 0; i < p->n; i++)
		*place_of(p, p->list[i].name) = i + 1;
}

static void add_group(struct params *p, const char *group)
{
	if (str_index(group, p->groups, p->n_groups) >= 0)
		return;
	CHECK(p->n_groups < PARAM_GROUPS_MAX);
	p->groups[p->n_groups++] = arena_strdup(p->arena, group);
}

int params_add(struct params *p, const char *name, const struct tensor *shape,
	const struct param_rule *rule)
{
	int i = params_find(p, name);
	long size = tensor_size(shape);

	if (i >= 0) {
		CHECK(tensor_same_shape(&p->list[i].shape, shape));
		return i;
	}
	GROW(p->list, p->n + 1, p->capacity);
	p->list[p->n] = (struct param){.name = arena_strdup(p->arena, name), .shape = *shape,
		.rule = *rule, .offset = p->blob_size};
	make_place(p);
	*place_of(p, name) = p->n + 1;
	add_group(p, rule->group);
	p->blob_size += (size + p->align - 1) / p->align * p->align;
	return p->n++;
}

long param_elements(const struct param *p)
{
	long rows = p->rule.used_rows ? p->rule.used_rows : tensor_rows(&p->shape);

	return rows * tensor_width(&p->shape);
}

double param_active(const struct param *p)
{
	double share = p->rule.of ? (double)p->rule.active / (double)p->rule.of : 1;

	return share * (double)param_elements(p);
}

static int number_of_group(const struct params *p, const char *group)
{
	int i = str_index(group, p->groups, p->n_groups);

	if (i < 0)
		BUG("no parameter group \"%s\"", group);
	return i;
}

const struct grad_norm_segment *params_segments(const struct params *p, int *n)
{
	struct grad_norm_segment *s = ARENA_ARRAY(p->arena, struct grad_norm_segment, p->n);

	*n = 0;
	for (int i = 0; i < p->n; i++) {
		const struct param *q = &p->list[i];
		long end = i + 1 < p->n ? q[1].offset : p->blob_size;
		struct grad_norm_segment one = {q->offset, end, number_of_group(p, q->rule.group),
			q->rule.decay};
		if (*n && s[*n - 1].group == one.group && s[*n - 1].decay == one.decay)
			s[*n - 1].end = end;
		else
			s[(*n)++] = one;
	}
	return s;
}
