/* Copying: the answer is the string (data/task/letters.h). LENGTH is the string's. */
#include <stdlib.h>

#include "base/error.h"
#include "data/task/letters.h"

static long make(struct example *e)
{
	uint16_t *s = xmalloc((size_t)e->length * sizeof *s);
	long n;

	letters_draw(e, s);
	n = letters_write(e, s, NULL, 0, s, e->length);
	free(s);
	return n;
}

const struct task task_copy = {
	.name = "copy",
	.help = "repeat a string (Jelassi et al. 2024)",
	.shape = "LENGTH",
	.train = "5-20:16000",
	.tests = "10:1000,20:1000,30:1000,40:1000,50:1000,100:1000",
	.pack = 220,
	.settings = {SETTING_LETTERS},
	.vocab = letters_vocab, .tokens = letters_tokens, .make = make,
	.possible = "LENGTH > 0",
};
