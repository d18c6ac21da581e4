#include "data/group.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"

enum { BLOCK_MIN = 8 << 10, BLOCK_MAX = 1 << 20, BLOCK_UNKNOWN = 64 << 10, BLOCKS = 512 };
/* 2^64 / golden ratio: multiples of it, modulo 2^64, are spread as evenly as can be (Weyl), so even
   a hundred blocks give each split its share, from all parts of the input. */
static const uint64_t golden = 0x9E3779B97F4A7C15u;

int group_rule_parse(struct group_rule *rule, const char *text)
{
	static const char *const names[] = {[GROUP_BLOCK] = "block", [GROUP_FILE] = "file",
		[GROUP_URL_HOST] = "url-host", [GROUP_URL] = "url", [GROUP_DOCUMENT] = "document"};
	long long bytes;

	*rule = (struct group_rule){0};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], text)) {
			rule->by = (enum group)i;
			return 0;
		}
	if (!str_starts(text, "block:") || !str_to_long(text + strlen("block:"), &bytes) ||
		bytes < 1)
		return error("group-by \"%s\": not block[:BYTES], file, url-host, url or document",
			text);
	rule->by = GROUP_BLOCK;
	rule->block_bytes = (size_t)bytes;
	return 0;
}

void grouping_init(struct grouping *g, const struct group_rule *rule, const char *input,
	long input_bytes)
{
	size_t bytes = input_bytes > 0 ? (size_t)input_bytes / BLOCKS : BLOCK_UNKNOWN;

	*g = (struct grouping){.rule = *rule, .input = hash_u64(path_name(input))};
	if (!rule->block_bytes)
		g->rule.block_bytes = bytes < BLOCK_MIN ? BLOCK_MIN
			: bytes > BLOCK_MAX ? BLOCK_MAX : bytes;
}

static uint64_t hash_text(const char *text, size_t n)
{
	char hex[HASH_HEX];

	hash_bytes(text, n, hex);
	return hash_u64(hex);
}

/* "https://user@WWW.Example.org:80/a" -> "www.example.org" */
static uint64_t hash_host(const char *url)
{
	const char *scheme = strstr(url, "://");
	char host[256];
	size_t n = 0, end;

	if (scheme)
		url = scheme + 3;
	end = strcspn(url, "/?#");
	const char *user = memrchr(url, '@', end);
	if (user) {
		end -= (size_t)(user + 1 - url);
		url = user + 1;
	}
	for (; n < end && n < sizeof host && url[n] != ':'; n++)
		host[n] = (char)tolower((unsigned char)url[n]);
	return hash_text(host, n);
}

static uint64_t block(struct grouping *g, size_t n)
{
	if (!g->n_blocks || g->used_bytes >= g->rule.block_bytes) {
		g->n_blocks++;
		g->used_bytes = 0;
	}
	g->used_bytes += n;
	return g->input + g->n_blocks * golden;
}

double group_position(struct grouping *g, const struct document *d)
{
	uint64_t hash;

	if (g->rule.by == GROUP_BLOCK)
		hash = block(g, d->n);
	else if (g->rule.by == GROUP_FILE)
		hash = g->input;
	else if (g->rule.by == GROUP_URL_HOST && d->url)
		hash = hash_host(d->url);
	else if (g->rule.by == GROUP_URL && d->url)
		hash = hash_text(d->url, strlen(d->url));
	else
		hash = hash_text(d->text, d->n);
	return (double)(hash >> 11) * 0x1p-53;
}

enum split group_split(double position, double val, double tune)
{
	if (position < val)
		return SPLIT_VAL;
	return position < val + tune ? SPLIT_TUNE : SPLIT_TRAIN;
}
