/*
 * The reader works on libyaml's events: they bring every scalar's place and never build the cyclic
 * graphs that libyaml's own documents can hold.
 */
#include "spec/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/path.h"

struct anchor {
	const char *name;
	const struct node *node;
	bool open; /* still being read: an alias to it would be a cycle */
	struct anchor *older;
};

struct reader {
	struct arena *arena;
	const char *file, *text;
	size_t n_bytes;
	yaml_parser_t parser;
	struct anchor *anchors; /* newest first, as a name may be given again */
	int n_nodes;
};

static int place_error(const char *file, int line, int column, const char *format, va_list ap)
{
	char text[2048];

	vsnprintf(text, sizeof text, format, ap);
	return error_at(file, line, column, "%s", text);
}

int node_error(const struct node *n, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	place_error(n->file, n->line, n->column, format, ap);
	va_end(ap);
	return -1;
}

int node_key_error(const struct node *n, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	place_error(n->file, n->key_line ? n->key_line : n->line,
		n->key_line ? n->key_column : n->column, format, ap);
	va_end(ap);
	return -1;
}

static int mark_error(const struct reader *r, yaml_mark_t mark, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	place_error(r->file, (int)mark.line + 1, (int)mark.column + 1, format, ap);
	va_end(ap);
	return -1;
}

static int offset_error(const struct reader *r, size_t offset, const char *what)
{
	int line = 1;
	size_t start = 0;

	for (size_t i = 0; i < offset && i < r->n_bytes; i++) {
		if (r->text[i] == '\n') {
			line++;
			start = i + 1;
		}
	}
	return error_at(r->file, line, (int)(offset - start) + 1, "%s", what);
}

/* Is there a tab in the indentation of this line (from 0)? libyaml's own words do not say so. */
static bool indented_by_tab(const struct reader *r, size_t line)
{
	const char *p = r->text, *end = r->text + r->n_bytes;

	for (; line; line--) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (!p)
			return false;
		p++;
	}
	p += strspn(p, " ");
	return *p == '\t';
}

static int syntax_error(const struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "syntax error";

	if (p->error == YAML_MEMORY_ERROR)
		die("out of memory: reading %s", r->file);
	if (p->error == YAML_READER_ERROR)
		return offset_error(r, p->problem_offset, problem);
	if (indented_by_tab(r, p->problem_mark.line))
		return mark_error(r, p->problem_mark, "tab in the indentation: use spaces");
	if (p->context)
		return mark_error(r, p->problem_mark, "%s (%s that began in line %d)", problem,
			p->context, (int)p->context_mark.line + 1);
	return mark_error(r, p->problem_mark, "%s", problem);
}

static int next_event(struct reader *r, yaml_event_t *event)
{
	return yaml_parser_parse(&r->parser, event) ? 0 : syntax_error(r);
}

static struct node *new_node(struct reader *r, yaml_mark_t mark, enum node_kind kind, int depth)
{
	if (depth > NODE_MAX_DEPTH) {
		mark_error(r, mark, "nested more than %d levels deep", NODE_MAX_DEPTH);
		return NULL;
	}
	if (++r->n_nodes > NODE_MAX_NODES) {
		mark_error(
			r, mark, "more than %d values, copies by aliases counted", NODE_MAX_NODES);
		return NULL;
	}
	struct node *n = ARENA_NEW(r->arena, struct node);
	*n = (struct node){.kind = kind,
		.file = r->file,
		.line = (int)mark.line + 1,
		.column = (int)mark.column + 1};
	return n;
}

static void append(struct node *parent, struct node ***end, struct node *child)
{
	**end = child;
	*end = &child->next;
	parent->n++;
}

static struct node *copy_node(
	struct reader *r, yaml_mark_t alias, const struct node *from, int depth)
{
	struct node *n = new_node(r, alias, from->kind, depth), **end;

	if (!n)
		return NULL;
	*n = *from;
	n->first = n->next = NULL;
	n->n = 0;
	end = &n->first;
	for (const struct node *child = from->first; child; child = child->next) {
		struct node *copy = copy_node(r, alias, child, depth + 1);
		if (!copy)
			return NULL;
		append(n, &end, copy);
	}
	return n;
}

static struct node *read_alias(struct reader *r, const yaml_event_t *event, int depth)
{
	const char *name = (const char *)event->data.alias.anchor;

	for (const struct anchor *a = r->anchors; a; a = a->older) {
		if (strcmp(a->name, name))
			continue;
		if (!a->open)
			return copy_node(r, event->start_mark, a->node, depth);
		mark_error(r, event->start_mark,
			"cyclic alias: \"*%s\" stands inside its own anchor "
			"of line %d",
			name, a->node->line);
		return NULL;
	}
	mark_error(r, event->start_mark, "unknown alias \"*%s\"", name);
	return NULL;
}

static struct anchor *add_anchor(struct reader *r, const yaml_char_t *name, const struct node *n)
{
	struct anchor *a;

	if (!name)
		return NULL;
	a = ARENA_NEW(r->arena, struct anchor);
	*a = (struct anchor){arena_strdup(r->arena, (const char *)name), n, true, r->anchors};
	return r->anchors = a;
}

static struct node *read_scalar(struct reader *r, const yaml_event_t *event, int depth)
{
	const char *text = (const char *)event->data.scalar.value;
	struct node *n = new_node(r, event->start_mark, NODE_TEXT, depth);

	if (!n)
		return NULL;
	if (strlen(text) != event->data.scalar.length) {
		node_error(n, "NUL character in a text");
		return NULL;
	}
	n->text = arena_strdup(r->arena, text);
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		node_set_plain(n, n->text);
	return n;
}

static struct node *read_event(struct reader *r, yaml_event_t *event, int depth);

/* The key of the next entry: 1, or 0 at the end of the map, or -1. */
static int read_key(struct reader *r, const struct node *map, struct node *entry)
{
	yaml_event_t event;
	int ret = -1;

	if (next_event(r, &event))
		return -1;
	entry->key_line = (int)event.start_mark.line + 1;
	entry->key_column = (int)event.start_mark.column + 1;
	const char *text = (const char *)event.data.scalar.value;
	if (event.type == YAML_MAPPING_END_EVENT)
		ret = 0;
	else if (event.type != YAML_SCALAR_EVENT || event.data.scalar.tag || !*text ||
		 strlen(text) != event.data.scalar.length)
		mark_error(r, event.start_mark, "a key must be a plain word");
	else if (!strcmp(text, "<<"))
		mark_error(r, event.start_mark, "merge keys (<<) are not supported: use \"base:\"");
	else if (node_get(map, text))
		mark_error(r, event.start_mark, "duplicate key \"%s\" (first in line %d)", text,
			node_get(map, text)->key_line);
	else
		ret = 1;
	if (ret == 1)
		entry->key = arena_strdup(r->arena, text);
	yaml_event_delete(&event);
	return ret;
}

static int read_map(struct reader *r, struct node *map, int depth)
{
	struct node **end = &map->first;

	for (;;) {
		struct node entry = {0}, *value;
		yaml_event_t event;
		int more = read_key(r, map, &entry);
		if (more <= 0)
			return more;
		if (next_event(r, &event) || !(value = read_event(r, &event, depth + 1)))
			return -1;
		value->key = entry.key;
		value->key_line = entry.key_line;
		value->key_column = entry.key_column;
		append(map, &end, value);
	}
}

static int read_list(struct reader *r, struct node *list, int depth)
{
	struct node **end = &list->first;

	for (;;) {
		struct node *value;
		yaml_event_t event;
		if (next_event(r, &event))
			return -1;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		if (!(value = read_event(r, &event, depth + 1)))
			return -1;
		value->key = NULL; /* an alias may have copied one */
		value->key_line = 0;
		append(list, &end, value);
	}
}

static struct node *read_collection(struct reader *r, const yaml_event_t *event, int depth)
{
	bool is_map = event->type == YAML_MAPPING_START_EVENT;
	struct node *n = new_node(r, event->start_mark, is_map ? NODE_MAP : NODE_LIST, depth);
	struct anchor *anchor;

	if (!n)
		return NULL;
	anchor = add_anchor(r,
		is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor, n);
	if (is_map ? read_map(r, n, depth) : read_list(r, n, depth))
		return NULL;
	if (anchor)
		anchor->open = false;
	return n;
}

static const yaml_char_t *event_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag;
	default:
		return NULL;
	}
}

/* The value that begins with this event. The event is released. */
static struct node *read_event(struct reader *r, yaml_event_t *event, int depth)
{
	struct node *n = NULL;

	if (event_tag(event)) {
		mark_error(r, event->start_mark, "tag \"%s\": tags are not supported",
			(const char *)event_tag(event));
	} else if (event->type == YAML_ALIAS_EVENT) {
		n = read_alias(r, event, depth);
	} else if (event->type == YAML_SCALAR_EVENT) {
		n = read_scalar(r, event, depth);
		struct anchor *anchor = n ? add_anchor(r, event->data.scalar.anchor, n) : NULL;
		if (anchor)
			anchor->open = false;
	} else {
		n = read_collection(r, event, depth);
	}
	yaml_event_delete(event);
	return n;
}

/* Stream start, [document start, value, document end], stream end. */
static struct node *read_stream(struct reader *r)
{
	struct node *root = NULL;

	for (;;) {
		yaml_event_t event;
		if (next_event(r, &event))
			return NULL;
		yaml_event_type_t type = event.type;
		yaml_mark_t mark = event.start_mark;
		if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_END_EVENT ||
			type == YAML_STREAM_END_EVENT ||
			(type == YAML_DOCUMENT_START_EVENT && !root))
			yaml_event_delete(&event);
		else if (type == YAML_DOCUMENT_START_EVENT) {
			yaml_event_delete(&event);
			mark_error(r, mark, "a second document: one file holds one");
			return NULL;
		} else if (!(root = read_event(r, &event, 1))) {
			return NULL;
		}
		if (type != YAML_STREAM_END_EVENT)
			continue;
		if (!root)
			error_at(r->file, 1, 1, "empty: no value in this file");
		return root;
	}
}

struct node *node_parse(struct arena *a, const char *name, const char *text, size_t n)
{
	struct reader r = {.arena = a, .file = name, .text = text, .n_bytes = n};
	const char *nul = memchr(text, '\0', n);
	struct node *root;

	if (nul) {
		offset_error(&r, (size_t)(nul - text), "NUL byte: this is no text file");
		return NULL;
	}
	if (!yaml_parser_initialize(&r.parser))
		die("out of memory: reading %s", name);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	root = read_stream(&r);
	yaml_parser_delete(&r.parser);
	return root;
}

struct node *node_read(struct arena *a, const char *path)
{
	struct stat st;
	struct node *root;
	size_t n;
	char *text;

	if (stat(path, &st)) {
		error_errno("cannot read %s", path);
		return NULL;
	}
	if (S_ISDIR(st.st_mode)) {
		error("cannot read %s: it is a folder", path);
		return NULL;
	}
	if (st.st_size > NODE_MAX_BYTES) {
		error("cannot read %s: %lld bytes are too many for a spec", path,
			(long long)st.st_size);
		return NULL;
	}
	text = path_read_most(path, NODE_MAX_BYTES, &n);
	if (text && !n && !S_ISREG(st.st_mode)) {
		error("cannot read %s: nothing comes from it; a pipe can be read once: where more "
			"is needed, give a file", path);
		free(text);
		text = NULL;
	}
	if (!text)
		return NULL;
	root = node_parse(a, arena_strdup(a, path), text, n);
	free(text);
	return root;
}

const struct node *node_get(const struct node *map, const char *key)
{
	for (const struct node *n = map->first; n; n = n->next)
		if (!strcmp(n->key, key))
			return n;
	return NULL;
}

bool node_is_scalar(const struct node *n)
{
	return n->kind != NODE_NULL && n->kind != NODE_LIST && n->kind != NODE_MAP;
}

const char *node_kind_name(const struct node *n)
{
	static const char *const names[] = {[NODE_NULL] = "nothing",
		[NODE_BOOL] = "a truth value",
		[NODE_INT] = "a number",
		[NODE_REAL] = "a number",
		[NODE_TEXT] = "a text",
		[NODE_LIST] = "a list",
		[NODE_MAP] = "a map"};

	return names[n->kind];
}
