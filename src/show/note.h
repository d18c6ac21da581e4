/* Sentences that travel with a table or figure: how it was made, and what to mistrust in it. */
#ifndef SHOW_NOTE_H
#define SHOW_NOTE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

enum note_kind {
	NOTE_PLAIN,
	NOTE_WARNING,
	NOTE_STAMP,	/* forced against a refusal; stands above the table */
};

struct note {
	enum note_kind kind;
	const char *text;
};

struct notes {
	struct arena arena;
	struct note *items;
	int n, cap;
};

extern const char *const note_mark[];	/* by kind: "", "Warning: ", "FORCED: " */

/* In order; a note that is already there is not repeated. */
void notes_add(struct notes *n, enum note_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);
void notes_copy(struct notes *to, const struct notes *from);
int notes_count(const struct notes *n, enum note_kind kind);
/* With its mark, a capital letter and a full stop. */
void note_sentence(const struct note *n, struct str *out);
void notes_release(struct notes *n);

#endif
