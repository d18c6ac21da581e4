#include "store/foreign.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "base/str.h"
#include "store/record.h"
#include "store/run_dir.h"

#define NAME_CHARS                                                                                 \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-="
enum { MAX_NAME = 100 };

static int check_name(const char *what, const char *name, const char *allowed)
{
	size_t n = name ? strlen(name) : 0;

	if (n && n <= MAX_NAME && strspn(name, allowed) == n && *name != '.' && *name != '/' &&
		!strstr(name, ".."))
		return 0;
	return error("%s \"%s\": it becomes the name of a folder: letters, digits and "
		"_ . + - = only, and %d at most", what, name ? name : "", MAX_NAME);
}

/* --- metrics.jsonl ---------------------------------------------------------------------------- */

static void write_step(const double *p, struct str *out)
{
	struct record r = record_new(RECORD_IS_STEP);

	r.step.step = (long long)p[FOREIGN_STEP];
	r.step.tokens = (long long)p[FOREIGN_TOKENS];
	r.step.seconds = p[FOREIGN_SECONDS];
	r.step.flops = p[FOREIGN_FLOPS];
	r.step.ce = p[FOREIGN_TRAIN_LOSS];
	record_write(&r, out);
}

static void write_eval(const double *p, struct str *out)
{
	struct record r = record_new(RECORD_IS_EVAL);

	r.eval.kind = "val";
	r.eval.step = (long long)p[FOREIGN_STEP];
	r.eval.tokens = (long long)p[FOREIGN_TOKENS];
	r.eval.seconds = p[FOREIGN_SECONDS];
	r.eval.flops = p[FOREIGN_FLOPS];
	r.eval.loss = p[FOREIGN_LOSS];
	record_write(&r, out);
}

static void write_metrics(const struct foreign_points *p, struct str *out)
{
	for (int i = 0; i < p->n; i++) {
		if (!isnan(p->at[i][FOREIGN_TRAIN_LOSS]) && p->at[i][FOREIGN_STEP] > 0)
			write_step(p->at[i], out);
		if (!isnan(p->at[i][FOREIGN_LOSS]))
			write_eval(p->at[i], out);
	}
}

/* --- the directory ---------------------------------------------------------------------------- */

/* Is this the name of a run directory of LABEL-sSEED, whatever the hash behind it? */
static bool is_of(const char *name, const char *label_seed)
{
	size_t n = strlen(label_seed);

	return str_starts(name, label_seed) && name[n] == '-' && strlen(name + n + 1) == 8 &&
		strspn(name + n + 1, "0123456789abcdef") == 8;
}

/* Two runs of one label and seed would be taken for a pair twice. */
static int check_alone(const char *root, const struct foreign *f, const char *name,
	struct arena *a)
{
	const char *runs = arena_printf(a, "%s/runs", root), *other = NULL;
	const char *label_seed = arena_printf(a, "%s-s%ld", f->label, f->seed);

	for (const char *const *at = path_list(runs, a); *at; at++)
		if (is_of(*at, label_seed) && strcmp(*at, name))
			other = *at;
	return other ? error("%s/%s is there already, of the same label and seed: give another "
		"--label or --seed, or move it away", runs, other) : 0;
}

static int write_file(const char *dir, const char *name, const char *text, size_t n)
{
	char *path = path_join(dir, name);
	int ret = path_write(path, text, n);

	free(path);
	return ret;
}

/* A JSON object is YAML, too. */
static int write_config(const char *dir, const char *json)
{
	char *text = xasprintf("%s\n", json);
	int ret = write_file(dir, "config.yaml", text, strlen(text));

	free(text);
	return ret;
}

static char *config_of(const struct foreign *f, const char *hash)
{
	json_t *config = json_pack("{s:s, s:s}", "foreign", f->path, "foreign_hash", hash);
	char *text = config ? json_dumps(config, 0) : NULL;

	json_decref(config);
	if (!text)
		error("%s: the name of the file is no UTF-8", f->path);
	return text;
}

/* The marker comes last: a directory that was torn off is seen as a run that never began. */
static int write_run(const struct foreign *f, const char *dir, const struct run_info *info,
	const struct str *metrics, bool diverged)
{
	char *reason = xasprintf("%simported from %s", diverged ? "losses are not finite; " : "",
		f->path);
	int ret = path_mkdirs(dir) || run_info_write(info, dir) ||
		write_config(dir, info->config) ||
		write_file(dir, "metrics.jsonl", metrics->text, metrics->length) ||
		run_dir_mark(dir, diverged ? RUN_DIVERGED : RUN_DONE, reason) ? -1 : 0;

	free(reason);
	return ret;
}

static int import_points(const struct foreign *f, const struct foreign_points *p, const char *root,
	struct arena *a, const char **name)
{
	char identity[HASH_HEX], *config = NULL;
	struct str metrics;
	int ret = -1;

	str_init(&metrics);
	write_metrics(p, &metrics);
	const char *whole = arena_printf(a, "foreign/%s/%s/%ld/%s", f->sweep, f->label, f->seed,
		metrics.text);
	hash_bytes(whole, strlen(whole), identity);
	*name = run_dir_name(f->label, f->seed, identity, a);
	if (!check_alone(root, f, *name, a) && (config = config_of(f, p->hash))) {
		const struct run_info info = {.identity = identity, .label = f->label,
			.variant = f->variant, .sweep = f->sweep, .seed = f->seed,
			.steps = (long)p->at[p->n - 1][FOREIGN_STEP], .config = config};
		ret = write_run(f, arena_printf(a, "%s/runs/%s", root, *name), &info, &metrics,
			p->diverged);
		if (!ret && p->diverged)
			warning("%s: the loss is not finite at its end: taken in as diverged",
				f->path);
	}
	free(config);
	str_release(&metrics);
	return ret;
}

int foreign_import(const struct foreign *f, const char *root, struct arena *a, const char **name)
{
	struct foreign_points p;
	int ret;

	if (check_name("label", f->label, NAME_CHARS) ||
		(f->variant && check_name("variant", f->variant, NAME_CHARS)) ||
		check_name("sweep", f->sweep, NAME_CHARS "/"))
		return -1;
	ret = foreign_read(f, &p) || import_points(f, &p, root, a, name) ? -1 : 0;
	free(p.at);
	return ret;
}
