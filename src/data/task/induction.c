/*
 * Induction heads (Gu and Dao 2023, arXiv:2312.00752, sec. 4.1.2; Olsson et al. 2022): random tokens, among
 * them once at a random place a special one; it stands again at the end, and what followed it the first
 * time is asked for. Ids: the special token is vocab - 1.
 */
#include "data/task.h"

enum { VOCAB, SCORED };

static int vocab(const double *value)
{
	return (int)value[VOCAB] + 1;
}

static long tokens(const double *value, long length, long items)
{
	(void)value, (void)items;
	return length >= 3 ? length : 0;
}

static long make(struct example *e)
{
	long n = e->length, special = (long)e->value[VOCAB] - 1, at = draw_below(&e->draw, n - 2);

	for (long t = 0; t < n - 1; t++)
		e->tokens[t] = (uint16_t)draw_below(&e->draw, special);
	e->tokens[at] = e->tokens[n - 1] = (uint16_t)special;
	for (long t = 0; t < n - 1 && e->training && e->value[SCORED] > 0; t++)
		e->targets[t] = e->tokens[t + 1];
	e->targets[n - 1] = e->tokens[at + 1];
	return n;
}

const struct task task_induction = {
	.name = "induction",
	.help = "say what followed the special token when it was there before (Gu and Dao 2023)",
	.shape = "LENGTH",
	.train = "256:262144",
	.tests = "64:100,128:100,256:100,512:100,1024:100,2048:100,4096:100,8192:100,16384:100,32768:100,"
		"65536:100,131072:100,262144:100,524288:100,1048576:100",
	.settings = {{.key = "vocab", .help = "random tokens and the special one", .initial = 16, .min = 2,
			.max = 65535},
		{.key = "scored", .help = "training asks for the last token alone, or for all",
			.words = {"last", "all"}}},
	.vocab = vocab, .tokens = tokens, .make = make,
	.possible = "LENGTH >= 3",
};
