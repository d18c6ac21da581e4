/*
 * Selective copying (Gu and Dao 2023, arXiv:2312.00752, sec. 4.1.1; Jing et al. 2019): ITEMS data tokens
 * stand at random places among noise, then come as many markers, at which they are asked for in order.
 * LENGTH counts all tokens, the markers too. Ids: 0 noise, vocab - 1 marker, the rest data.
 */

#include "base/error.h"
#include "data/task.h"

enum { VOCAB };

static int vocab(const double *value)
{
	return (int)value[VOCAB] + 1;
}

static long tokens(const double *value, long length, long items)
{
	(void)value;
	return items > 0 && 2 * items <= length ? length : 0;
}

/* Which of the `left` places still to come has the next of `items` tokens: each set of places is as likely
   (Knuth, Algorithm S). */
static long make(struct example *e)
{
	long before = e->length - e->items, marker = (long)e->value[VOCAB] - 1, left = e->items;

	for (long t = 0; t < before; t++) {
		e->tokens[t] = 0;
		if (draw_below(&e->draw, before - t) >= left)
			continue;
		e->tokens[t] = (uint16_t)(1 + draw_below(&e->draw, marker - 1));
		e->targets[e->length - left--] = e->tokens[t];
	}
	for (long t = before; t < e->length; t++)
		e->tokens[t] = (uint16_t)marker;
	return e->length;
}

const struct task task_selective_copy = {
	.name = "selective_copy",
	.help = "say the data tokens among noise in order, at the markers behind (Gu and Dao 2023)",
	.shape = "LENGTHxITEMS",
	.train = "4096x16:65536",
	.tests = "4096x16:1000",
	.settings = {{.key = "vocab", .help = "noise, marker and data tokens", .initial = 16, .min = 3,
		.max = 65535}},
	.vocab = vocab, .tokens = tokens, .make = make,
	.possible = "ITEMS > 0, LENGTH >= 2 ITEMS",
};
