/*
 * Images with labels as rows of bytes, like those of the task figures (data/task/figures.c): from files in IDX, the
 * form of MNIST (LeCun, Cortes and Burges 1998: two bytes 0, a type, here 8, bytes; a number of dimensions; each as
 * four bytes, the greatest first; then the values), plain or compressed. An image of any dimensions is its bytes in
 * their order; behind the last one its label is asked for, as id 256 + label.
 */
#ifndef DATA_IMPORT_IMAGES_H
#define DATA_IMPORT_IMAGES_H

#include <stdbool.h>

struct images_options {
	const char *output;
	const char *images, *labels;
	const char *test_images, *test_labels;	/* or both NULL */
	double val, tune;			/* shares of the images, held out by chance */
	bool force;				/* replace an existing dataset */
};

/* 0; or after a message and with nothing left behind, -1 for wrong files and DATASET_UNWRITTEN (data/dataset.h). */
int import_images(const struct images_options *o);

#endif
