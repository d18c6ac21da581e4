#include "data/input.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/manifest.h"

static bool named_json(const char *name)
{
	static const char *const ends[] = {".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz",
		".ndjson.gz"};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (str_ends(name, ends[i]))
			return true;
	return false;
}

static enum form form_by_name(const struct source *source)
{
	bool json = strcmp(source->name, "-") ? named_json(source->name)
		: source_starts(source, "{\"");

	return json ? FORM_JSONL : FORM_TEXT;
}

struct input *input_open(const char *name, const struct input_rule *rule, long text_bytes,
	bool whole_val)
{
	struct input *in = xcalloc(1, sizeof *in);
	struct document_rule documents = rule->documents;
	struct group_rule group = rule->group;

	if (source_open(&in->source, name, rule->stop)) {
		free(in);
		return NULL;
	}
	in->rule = rule;
	in->whole_val = whole_val;
	if (rule->form_by_name)
		documents.form = form_by_name(&in->source);
	if (rule->group_by_form && documents.form == FORM_JSONL)
		group.by = GROUP_URL_HOST;
	grouping_init(&in->grouping, &group, name, text_bytes);
	document_reader_init(&in->reader, &in->source, &documents);
	return in;
}

void input_close(struct input *in)
{
	document_reader_release(&in->reader);
	source_close(&in->source);
	free(in);
}

static bool has_text(const struct document *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!isspace((unsigned char)d->text[i]))
			return true;
	return false;
}

int input_read(struct input *in, struct batch *b)
{
	const struct input_rule *rule = in->rule;
	bool tokens = form_is_tokens(in->reader.rule.form);
	struct document d;
	int more = 1;

	while (b->text.length < BATCH_BYTES && (more = document_next(&in->reader, &d)) > 0) {
		double position = group_position(&in->grouping, &d);
		if (rule->stop && *rule->stop)
			return -1;
		if (tokens || has_text(&d))
			batch_add(b, &d, in->whole_val ? SPLIT_VAL
				: group_split(position, rule->val, rule->tune));
	}
	b->n_stored = in->source.n_bytes - in->n_stored;
	in->n_stored = in->source.n_bytes;
	return more < 0 ? -1 : b->n_documents > 0;
}

json_t *input_origin(struct input *in)
{
	char hex[HASH_HEX];

	hash_close(in->source.hash, hex);
	in->source.hash = NULL;
	return json_pack("{so sI ss}", "name", manifest_text(in->source.name), "bytes",
		(json_int_t)in->source.n_bytes, "hash", hex);
}
