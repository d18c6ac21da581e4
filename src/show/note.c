#include "show/note.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const note_mark[] = {
	[NOTE_PLAIN] = "", [NOTE_WARNING] = "Warning: ", [NOTE_STAMP] = "FORCED: "};

void notes_add(struct notes *n, enum note_kind kind, const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	size_t size = (size_t)vsnprintf(NULL, 0, format, args) + 1;
	char *text = arena_get(&n->arena, size);
	vsnprintf(text, size, format, again);
	va_end(again);
	va_end(args);
	for (int i = 0; i < n->n; i++)
		if (!strcmp(n->items[i].text, text))
			return;
	GROW(n->items, n->n + 1, n->cap);
	n->items[n->n++] = (struct note){.kind = kind, .text = text};
}

void notes_copy(struct notes *to, const struct notes *from)
{
	for (int i = 0; i < from->n; i++)
		notes_add(to, from->items[i].kind, "%s", from->items[i].text);
}

int notes_count(const struct notes *n, enum note_kind kind)
{
	int count = 0;

	for (int i = 0; i < n->n; i++)
		count += n->items[i].kind == kind;
	return count;
}

void note_sentence(const struct note *n, struct str *out)
{
	size_t at = out->length, length = strlen(n->text);

	str_printf(out, "%s%s%s", note_mark[n->kind], n->text,
		length && !strchr(".?!", n->text[length - 1]) ? "." : "");
	out->text[at] = (char)toupper((unsigned char)out->text[at]);
}

void notes_release(struct notes *n)
{
	free(n->items);
	arena_release(&n->arena);
	*n = (struct notes){.n = 0};
}
