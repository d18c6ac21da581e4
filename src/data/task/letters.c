#include "data/task/letters.h"

int letters_vocab(const double *value)
{
	return (int)value[LETTERS] + 4;
}

long letters_tokens(const double *value, long length, long items)
{
	(void)value, (void)items;
	return length > 0 ? 2 * length + 3 : 0;
}

void letters_draw(struct example *e, uint16_t *string)
{
	for (long i = 0; i < e->length; i++)
		string[i] = (uint16_t)draw_below(&e->draw, (long)e->value[LETTERS]);
}

static long add(struct example *e, long at, const uint16_t *letters, long n)
{
	for (long i = 0; i < n; i++)
		e->tokens[at + i] = letters[i];
	return at + n;
}

static long add_sign(struct example *e, long at, int sign)
{
	e->tokens[at] = (uint16_t)((long)e->value[LETTERS] + sign);
	return at + 1;
}

long letters_write(struct example *e, const uint16_t *string, const uint16_t *question, long n_question,
	const uint16_t *answer, long n_answer)
{
	enum { DOLLAR, BAR, STOP };
	long from, n = add_sign(e, 0, DOLLAR);

	n = add(e, n, string, e->length);
	n = add_sign(e, n, BAR);
	from = n = add(e, n, question, n_question);
	n = add(e, n, answer, n_answer);
	n = add_sign(e, n, STOP);
	for (long t = from; t < from + n_answer + e->training; t++)
		e->targets[t - 1] = e->tokens[t];
	return n;
}
