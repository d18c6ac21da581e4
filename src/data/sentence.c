#include "data/sentence.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/words.h"

bool span_is(struct span s, const char *text)
{
	return !strncmp(s.at, text, s.n) && !text[s.n];
}

bool span_is_small(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!islower((unsigned char)s.at[i]))
			return false;
	return true;
}

bool span_is_text(struct span s)
{
	for (const char *p = s.at; p < s.at + s.n;)
		if (!*p || str_next_code(&p) < 0)
			return false;
	return true;
}

bool span_parted(struct span before, struct span word)
{
	return before.at + before.n + 1 == word.at && isspace((unsigned char)word.at[-1]);
}

char *span_text(struct span s)
{
	return xasprintf("%.*s", (int)s.n, s.at);
}

bool sentence_read(struct sentence *s, struct span text)
{
	s->text = text;
	s->n = 0;
	if (!span_is_text(text))
		return false;
	for (size_t at = 0; at < text.n;) {
		size_t begin = at;
		while (at < text.n && is_letter(text.at[at]))
			at++;
		if (at > begin && s->n == SENTENCE_MOST)
			return false;
		if (at > begin)
			s->words[s->n++] = (struct span){text.at + begin, at - begin};
		at += at == begin;
	}
	if (s->n < SENTENCE_LEAST)
		return false;
	const struct span *last = &s->words[s->n - 1];
	return last->at + last->n == text.at + text.n - 1;
}
