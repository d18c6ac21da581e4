#include "train/feed.h"

#include "train/setup.h"

int feed_open(struct feed *f, const struct run_spec *s, const struct dataset *d)
{
	enum sampling how;

	*f = (struct feed){.batch = s->batch, .micro_batch = s->micro_batch};
	if ((d->splits[SPLIT_TRAIN].row && setup_check_rows(s)) || sampling_parse(&how, s->sampling) ||
		sequences_init(&f->sequences, d, SPLIT_TRAIN, (int)s->context, (uint64_t)s->data_seed))
		return -1;
	return sequences_sample(&f->sequences, how, s->batch);
}

void feed_close(struct feed *f)
{
	sequences_release(&f->sequences);
}

bool feed_begins(const struct feed *f, long step)
{
	return f->sequences.sampling == SAMPLING_STREAM && step % f->sequences.length == 0;
}

int feed_read(const struct feed *f, long step, long micro, int *tokens_BT, int *targets_BT)
{
	return sequences_read(&f->sequences, step * f->batch + micro * f->micro_batch,
		(int)f->micro_batch, tokens_BT, targets_BT);
}
