/* A dataset of synthetic text. */
#ifndef TESTS_SYNTHETIC_DATASET_H
#define TESTS_SYNTHETIC_DATASET_H

#include <stdlib.h>

#include "base/path.h"
#include "data/import.h"
#include "synthetic.h"

/* PARENT/data from n bytes, by byte, with these shares held out. 0, or -1 after a message. */
static inline int synthetic_dataset(const char *parent, size_t n, double val, double tune)
{
	char *input = path_join(parent, "text.txt"), *output = path_join(parent, "data");
	const char *inputs[] = {input};
	struct import_options o = {.tokenizer = "byte", .n_inputs = 1, .inputs = inputs, .output = output,
		.val = val, .tune = tune};
	struct str text;
	int ret;

	str_init(&text);
	synthetic_text(&text, 1, n);
	ret = path_write(input, text.text, text.length) || data_import(&o) ? -1 : 0;
	str_release(&text);
	free(input);
	free(output);
	return ret;
}

#endif
