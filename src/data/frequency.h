/* How often each token occurs in the training split. */
#ifndef DATA_FREQUENCY_H
#define DATA_FREQUENCY_H

#include "data/dataset.h"

/*
 * counts_V[id] for the d->vocab ids. Counted on first use (on all threads, about a nanosecond a token)
 * and kept as train_counts.json beside the token files, under the split's hash; a folder that cannot
 * be written is counted anew each time. 0, or -1 after a message: a damaged token file.
 */
int dataset_frequency(const struct dataset *d, long *counts_V);

#endif
