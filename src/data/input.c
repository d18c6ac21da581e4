#include "data/input.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/str.h"
#include "data/manifest.h"

/* By its ending, in any case, before that of a codec. */
static bool named_json(const char *name)
{
	static const char *const codecs[] = {".gz", ".xz", ".zst"};
	static const char *const ends[] = {".json", ".jsonl", ".ndjson"};
	size_t n = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
		size_t length = strlen(codecs[i]);
		if (n > length && !strcasecmp(name + n - length, codecs[i]))
			n -= length;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t length = strlen(ends[i]);
		if (n > length && !strncasecmp(name + n - length, ends[i], length))
			return true;
	}
	return false;
}

/* What content and name say, or that what the input is said to be cannot be so. */
static int choose_form(struct input *in)
{
	struct document_rule *rule = &in->reader.rule;
	const char *name = in->source.name;
	struct content content;

	if (form_is_tokens(rule->form))
		return 0;
	if (document_look(&in->reader, &content))
		return -1;
	if (!in->rule->form_by_content && rule->form == FORM_TEXT)
		return 0;
	if (content.kind == CONTENT_OTHER)
		return error("%s: not text but %s: %s (--format text takes its bytes as they are)",
			name, content.name, content.remedy);
	if (content.kind == CONTENT_JSON_LINES || named_json(name))
		rule->form = FORM_JSONL;
	return 0;
}

struct input *input_open(const char *name, const struct input_rule *rule, long text_bytes,
	bool whole_val)
{
	struct input *in = xcalloc(1, sizeof *in);

	if (source_open(&in->source, name, rule->stop)) {
		free(in);
		return NULL;
	}
	in->rule = rule;
	in->whole_val = whole_val;
	document_reader_init(&in->reader, &in->source, &rule->documents);
	if (choose_form(in)) {
		input_close(in);
		return NULL;
	}
	grouping_init(&in->grouping, rule->group, in->reader.rule.form, name, text_bytes);
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

/* Under each grouping. */
static void find_splits(struct input *in, const struct document *d, enum split split[GROUP_CHOICES])
{
	double position[GROUP_CHOICES] = {0};

	group_positions(&in->grouping, d, position);
	for (int i = 0; i < GROUP_CHOICES; i++)
		split[i] = in->whole_val ? SPLIT_VAL
			: group_split(position[i], in->rule->val, in->rule->tune);
}

int input_read(struct input *in, struct batch *b)
{
	const struct input_rule *rule = in->rule;
	bool tokens = form_is_tokens(in->reader.rule.form);
	enum split split[GROUP_CHOICES];
	struct document d;
	int more = 1;

	while (b->text.length < BATCH_BYTES && (more = document_next(&in->reader, &d)) > 0) {
		find_splits(in, &d, split);
		if (rule->stop && *rule->stop)
			return -1;
		if (tokens || has_text(&d))
			batch_add(b, &d, split);
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
