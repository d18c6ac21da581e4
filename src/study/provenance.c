#include "study/provenance.h"

#include "base/str.h"

#include <string.h>

const struct provenance provenances[] = {
	{"host", offsetof(struct run_data, host)},
	{"device", offsetof(struct run_data, device)},
	{"processor", offsetof(struct run_data, cpu)},
	{"BLAS core", offsetof(struct run_data, blas_core)},
	{"source revision", offsetof(struct run_data, git)},
	{"build", offsetof(struct run_data, build)},
	{NULL, 0},
};

/* Folders, warnings and what debuggers want change no number. */
static bool is_idle(const char *word)
{
	return !*word || *word == '/' || str_starts(word, "-I") || str_starts(word, "-W") || !strcmp(word, "-g") ||
		!strcmp(word, "-isystem");
}

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += n)
		if ((at == text || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
			return true;
	return false;
}

static bool all_have(const struct study *s, const char *word)
{
	for (int i = 0; i < s->n_runs; i++)
		if (s->runs[i].build && !has_word(s->runs[i].build, word))
			return false;
	return true;
}

/* The options in which a build is other than some. */
static const char *own_options(struct study *s, const char *build)
{
	char *words = arena_strdup(&s->arena, build);
	const char *own = "";

	for (char *word = strsep(&words, " "); word; word = strsep(&words, " "))
		if (!is_idle(word) && !all_have(s, word))
			own = arena_printf(&s->arena, "%s%s%s", own, *own ? " " : "", word);
	return *own ? own : "none of these";
}

/* NULL: none, or as of the run before. */
static const char *next_value(struct study *s, const struct provenance *p, int run)
{
	const char *value = run_member_text(&s->runs[run], p->member);
	const char *before = run ? run_member_text(&s->runs[run - 1], p->member) : NULL;

	if (!value || (before && !strcmp(before, value)))
		return NULL;
	return p->member == offsetof(struct run_data, build) ? own_options(s, value) : value;
}

/* All values that there are, in the order of the runs. */
static void note_provenance(struct study *s, const struct provenance *p)
{
	const char **values = ARENA_ARRAY(&s->arena, const char *, s->n_runs);
	struct str all;
	int n = 0;

	str_init(&all);
	for (int i = 0; i < s->n_runs; i++) {
		const char *value = next_value(s, p, i);
		if (!value || str_index(value, values, n) >= 0)
			continue;
		str_printf(&all, "%s%s", n ? "; " : "", value);
		values[n++] = value;
	}
	if (n > 1)
		notes_add(&s->notes, NOTE_PLAIN, "rows differ in %s: %s", p->what, all.text);
	str_release(&all);
}

void note_provenances(struct study *s)
{
	for (const struct provenance *p = provenances; p->what; p++)
		note_provenance(s, p);
}
