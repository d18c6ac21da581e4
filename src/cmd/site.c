#include "cmd/site.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cluster/slurm.h"
#include "spec/sweep_file.h"

static const struct field rows[] = {
	FIELD(struct site, partition, "partition", TEXT, "", 0, 0),
	FIELD(struct site, account, "account", TEXT, "", 0, 0),
	FIELD(struct site, qos, "qos", TEXT, "", 0, 0),
	FIELD(struct site, constraint, "constraint", TEXT, "", 0, 0),
	FIELD(struct site, gpu_type, "gpu_type", TEXT, "", 0, 0),
	FIELD(struct site, time, "time", TEXT, "", 0, 0),
	FIELD(struct site, time_max, "time_max", TEXT, "", 0, 0),
	FIELD(struct site, tasks, "tasks", INT, "0", 0, 1e6),
	FIELD(struct site, parallel, "parallel", INT, "0", 0, 1e6),
	FIELD(struct site, jobs, "jobs", INT, "0", 0, 1e4),
	FIELD(struct site, threads, "threads", INT, "0", 0, 1e4),
	FIELD(struct site, gpus, "gpus", INT, "0", 0, 1e3),
	FIELD(struct site, memory_gib, "memory_gib", REAL, "0", 0, 1e6),
	FIELD(struct site, grace_s, "grace", REAL, "30", 0, 1e5),
};

/* A list of texts: "setup" and "sbatch". */
static int read_texts(const struct node *root, const char *key, const char ***texts, int *n, struct arena *a)
{
	const struct node *list = root ? node_get(root, key) : NULL;

	*n = 0;
	if (!list)
		return 0;
	if (list->kind != NODE_LIST)
		return node_error(list, "%s: a list must stand here, not %s", key, node_kind_name(list));
	*texts = ARENA_ARRAY(a, const char *, list->n);
	for (const struct node *item = list->first; item; item = item->next) {
		if (!node_is_scalar(item) || strchr(item->text, '\n'))
			return node_error(item, "%s: a line of text must stand here", key);
		(*texts)[(*n)++] = item->text;
	}
	return 0;
}

static int check_time(const struct node *root, const char *key, const char *time)
{
	if (!*time || !isnan(slurm_seconds(time)))
		return 0;
	return node_error(node_get(root, key), "%s: \"%s\" is no time; as sbatch takes it: minutes, "
		"hours:minutes:seconds, or days-hours", key, time);
}

/* root: NULL: there is no file, all is as it is without. */
static int read_root(struct site *s, const struct node *root, struct arena *a)
{
	const char *names[ARRAY_SIZE(rows) + 2] = {"setup", "sbatch"};
	struct config_value v;

	*s = (struct site){0};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		names[2 + i] = rows[i].key;
	if (root && root->kind != NODE_MAP)
		return node_error(root, "a map of keys must stand here, not %s", node_kind_name(root));
	if (root && check_entries(root, names, ARRAY_SIZE(names), NULL))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct node *n = root ? node_get(root, rows[i].key) : NULL;
		if (!n)
			value_set_own(a, &rows[i], "default", rows[i].initial, &v);
		else if (value_set(a, &rows[i], n, &v))
			return -1;
		value_store(&v, (char *)s + rows[i].offset);
	}
	return check_time(root, "time", s->time) || check_time(root, "time_max", s->time_max) ||
		read_texts(root, "setup", &s->setup, &s->n_setup, a) ||
		read_texts(root, "sbatch", &s->sbatch, &s->n_sbatch, a) ? -1 : 0;
}

int site_read(struct site *s, const char *file, struct arena *a)
{
	const struct node *root;

	if (!file)
		file = getenv("MOELAB_SLURM");
	if (!file && !path_exists("slurm.yaml"))
		return read_root(s, NULL, a);
	root = node_read(a, file ? file : "slurm.yaml");
	return root ? read_root(s, root, a) : -1;
}
