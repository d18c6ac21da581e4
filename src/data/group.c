#include "data/group.h"

#include <ctype.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"

enum { BLOCK_MIN = 8 << 10, BLOCK_MAX = 1 << 20, BLOCK_UNKNOWN = 64 << 10, BLOCKS = 512 };
enum { DEPTH_MAX = 1000 };
/* 2^64 / golden ratio: multiples of it, modulo 2^64, are spread as evenly as can be (Weyl), so even
   a hundred blocks give each split its share, from all parts of the input. */
static const uint64_t golden = 0x9E3779B97F4A7C15u;

/* --- rules --------------------------------------------------------------------------------- */

static const struct group_name {
	const char *name;
	enum group by;
	bool number;		/* ":N" may follow */
	long long min, max;
} names[] = {
	{"block", GROUP_BLOCK, true, 1, LONG_MAX},
	{"file", GROUP_FILE, false, 0, 0},
	{"url-host", GROUP_URL_HOST, false, 0, 0},
	{"url", GROUP_URL, true, 0, DEPTH_MAX},
	{"document", GROUP_DOCUMENT, false, 0, 0},
};

/* A rule without pattern. False: there is none such. */
static bool parse_name(struct group_rule *rule, const char *text)
{
	size_t word = strcspn(text, ":");
	long long number;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct group_name *g = &names[i];
		if (strlen(g->name) != word || memcmp(g->name, text, word))
			continue;
		*rule = (struct group_rule){.by = g->by, .depth = -1};
		if (!text[word])
			return true;
		if (!g->number || !str_to_long(text + word + 1, &number) || number < g->min ||
			number > g->max)
			return false;
		if (g->by == GROUP_BLOCK)
			rule->block_bytes = (size_t)number;
		else
			rule->depth = (long)number;
		return true;
	}
	return false;
}

/* "PATTERN=NAME" or "NAME"; the text is changed. */
static int parse_rule(struct group_rules *rules, char *text)
{
	char *equals = strrchr(text, '=');
	struct group_rule rule;

	if (rules->n == GROUP_RULES)
		return error("group-by: more than %d rules", GROUP_RULES);
	if (!parse_name(&rule, equals ? equals + 1 : text))
		return error("group-by \"%s\": not block[:BYTES], file, url-host, url[:DEPTH] or "
			"document, each also behind PATTERN=", text);
	if (equals) {
		*equals = '\0';
		rule.pattern = xstrdup(text);
	}
	rules->rule[rules->n++] = rule;
	return 0;
}

int group_rules_parse(struct group_rules *rules, const char *text)
{
	char *copy = xstrdup(text), *next = copy, *one;
	int ret = 0;

	*rules = (struct group_rules){0};
	while (!ret && (one = strsep(&next, ",")))
		ret = parse_rule(rules, one);
	free(copy);
	if (!ret && rules->rule[rules->n - 1].pattern)
		ret = error("group-by \"%s\": the last rule is for all other documents: without "
			"PATTERN=", text);
	return ret;
}

void group_rules_release(struct group_rules *rules)
{
	for (int i = 0; i < rules->n; i++)
		free(rules->rule[i].pattern);
	*rules = (struct group_rules){0};
}

/* --- what a group is named by -------------------------------------------------------------- */

static uint64_t hash_text(const char *text, size_t n)
{
	char hex[HASH_HEX];

	hash_bytes(text, n, hex);
	return hash_u64(hex);
}

/* "https://user@WWW.Example.org:80/a" -> "www.example.org"; returns the rest, "/a". */
static const char *add_host(struct str *out, const char *url)
{
	const char *scheme = strstr(url, "://"), *user, *port;
	size_t end;

	if (scheme)
		url = scheme + 3;
	end = strcspn(url, "/?#");
	const char *rest = url + end;
	user = memrchr(url, '@', end);
	if (user)
		url = user + 1;
	port = memchr(url, ':', (size_t)(rest - url));
	if (port && port + 1 + strspn(port + 1, "0123456789") != rest)
		port = NULL;
	for (const char *c = url; c < (port ? port : rest); c++) {
		char small = (char)tolower((unsigned char)*c);
		str_add_bytes(out, &small, 1);
	}
	return rest;
}

/* Host and so many parts of the path: of "http://h.org/a/b/c", depth 2, "h.org/a/b". */
static uint64_t hash_url(const char *url, long depth)
{
	struct str name;
	uint64_t hash;

	if (depth < 0)
		return hash_text(url, strcspn(url, "#"));
	str_init(&name);
	const char *rest = add_host(&name, url);
	for (; depth > 0 && *rest == '/'; depth--) {
		size_t part = 1 + strcspn(rest + 1, "/?#");
		str_add_bytes(&name, rest, part);
		rest += part;
	}
	hash = hash_text(name.text, name.length);
	str_release(&name);
	return hash;
}

static uint64_t block(struct grouping *g, const struct group_rule *rule, size_t n)
{
	size_t full = rule->block_bytes ? rule->block_bytes : g->block_bytes;

	if (!g->n_blocks || g->used_bytes >= full) {
		g->n_blocks++;
		g->used_bytes = 0;
	}
	g->used_bytes += n;
	return g->input + g->n_blocks * golden;
}

static bool by_url(const struct group_rule *rule)
{
	return rule->by == GROUP_URL_HOST || rule->by == GROUP_URL;
}

static double position(struct grouping *g, const struct group_rule *rule,
	const struct document *d)
{
	uint64_t hash;

	if (rule->by == GROUP_BLOCK)
		hash = block(g, rule, d->n);
	else if (rule->by == GROUP_FILE)
		hash = g->input;
	else if (by_url(rule) && d->url)
		hash = hash_url(d->url, rule->by == GROUP_URL ? rule->depth : 0);
	else
		hash = hash_text(d->text, d->n);
	return (double)(hash >> 11) * 0x1p-53;
}

/* --- the documents of an input ------------------------------------------------------------- */

const char *group_choice_name(enum form form, int choice)
{
	static const char *const json[GROUP_CHOICES] = {"url-host", "url", "document"};
	static const char *const other[GROUP_CHOICES] = {"block", "document", "document"};

	return form == FORM_JSONL ? json[choice] : other[choice];
}

void grouping_init(struct grouping *g, const struct group_rules *rules, enum form form,
	const char *input, long input_bytes)
{
	size_t bytes = input_bytes > 0 ? (size_t)input_bytes / BLOCKS : BLOCK_UNKNOWN;

	*g = (struct grouping){.rules = rules, .input = hash_u64(path_name(input)),
		.block_bytes = bytes < BLOCK_MIN ? BLOCK_MIN : bytes > BLOCK_MAX ? BLOCK_MAX
			: bytes};
	for (int i = 0; i < GROUP_CHOICES; i++)
		parse_name(&g->choices[i], group_choice_name(form, i));
}

static const struct group_rule *first_that_fits(const struct group_rules *rules, const char *url)
{
	const struct group_rule *rule = rules->rule;

	while (rule->pattern && fnmatch(rule->pattern, url ? url : "", FNM_EXTMATCH))
		rule++;
	return rule;
}

void group_positions(struct grouping *g, const struct document *d,
	double positions[GROUP_CHOICES])
{
	const struct group_rule *rule = g->rules ? first_that_fits(g->rules, d->url) : g->choices;

	positions[0] = position(g, rule, d);
	g->n_without_url += !d->url && by_url(rule);
	for (int i = 1; i < GROUP_CHOICES && !g->rules; i++)
		positions[i] = position(g, &g->choices[i], d);
}

enum split group_split(double place, double val, double tune)
{
	if (place < val)
		return SPLIT_VAL;
	return place < val + tune ? SPLIT_TUNE : SPLIT_TRAIN;
}
