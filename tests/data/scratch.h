/*
 * What the tests of this layer share: a folder of its own for each test, the last message, files
 * and datasets in one line. Include it once, in the test program.
 */
#ifndef TEST_DATA_SCRATCH_H
#define TEST_DATA_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/path.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/dataset.h"
#include "data/import.h"
#include "data/tokenizer.h"

#define HELPER static inline __attribute__((unused))

static char scratch[256];		/* the folder of the test that runs */
static char message[4096];		/* the last error or warning */
static char all_messages[16384];	/* one a line, since they were last cleared */
static int n_messages;

HELPER void keep_message(const char *line)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	snprintf(message, sizeof message, "%s", line);
	size_t n = strlen(all_messages);
	snprintf(all_messages + n, sizeof all_messages - n, "%s\n", line);
	n_messages++;
	pthread_mutex_unlock(&lock);
}

HELPER int scratch_setup(void **state)
{
	(void)state;
	message[0] = all_messages[0] = '\0';
	n_messages = 0;
	log_level = LOG_QUIET;
	error_sink = keep_message;
	return path_tmp_folder(scratch, sizeof scratch, "data");
}

HELPER int scratch_teardown(void **state)
{
	(void)state;
	return path_remove_tree(scratch);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

/* A path in the folder; valid for the next 15 calls. */
HELPER const char *at(const char *name)
{
	static char paths[16][384];
	static int next;
	char *path = paths[next++ % 16];

	snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
	return path;
}

HELPER const char *put(const char *name, const void *bytes, size_t n)
{
	const char *path = at(name);

	char *folder = path_folder(path);

	assert_int_equal(path_mkdirs(folder), 0);
	assert_int_equal(path_write(path, bytes, n), 0);
	free(folder);
	return path;
}

HELPER const char *put_text(const char *name, const char *text)
{
	return put(name, text, strlen(text));
}

/* Append one gzip member. */
HELPER const char *put_gzip(const char *name, const void *bytes, size_t n)
{
	gzFile f = gzopen(at(name), "ab");

	assert_non_null(f);
	assert_int_equal(gzwrite(f, bytes, (unsigned)n), (int)n);
	assert_int_equal(gzclose(f), Z_OK);
	return at(name);
}

/* Entries of the folder whose name begins with `prefix`. */
HELPER int n_entries(const char *prefix)
{
	DIR *folder = opendir(scratch);
	int n = 0;

	assert_non_null(folder);
	for (struct dirent *e; (e = readdir(folder));)
		n += e->d_name[0] != '.' && str_starts(e->d_name, prefix);
	closedir(folder);
	return n;
}

#define SAID(part) assert_non_null(strstr(message, (part)))

/* Defaults of the tests: bytes, all of it to train on. */
HELPER struct import_options import_of(const char *const *inputs, int n)
{
	static char output[384];

	snprintf(output, sizeof output, "%s/set", scratch);
	return (struct import_options){.inputs = inputs, .n_inputs = n, .output = output,
		.tokenizer = "byte"};
}

HELPER void import_and_open(struct dataset *d, const struct import_options *o)
{
	assert_int_equal(data_import(o), 0);
	assert_int_equal(dataset_open(d, o->output), 0);
}

/* A split as text, each end of text as '\x1e'. Caller releases. */
HELPER struct str split_text(const struct dataset *d, enum split split)
{
	long n = d->splits[split].n_tokens;
	int32_t *ids = xmalloc((size_t)n * sizeof *ids);
	struct tokenizer t;
	struct str s;

	str_init(&s);
	assert_int_equal(tokenizer_open(&t, d->tokenizer), 0);
	assert_int_equal(dataset_read(d, split, 0, n, ids), 0);
	for (long i = 0; i < n; i++) {
		tokenizer_decode(&t, &ids[i], 1, &s);
		if (ids[i] == d->eot)
			str_add(&s, "\x1e");
	}
	tokenizer_close(&t);
	free(ids);
	return s;
}

/* Import `input` with the options so far and compare: documents as text, each ended by '\x1e'. */
HELPER void check_documents(struct import_options *o, const char *expected)
{
	struct dataset d;
	struct str text;

	o->force = true;
	import_and_open(&d, o);
	text = split_text(&d, SPLIT_TRAIN);
	assert_string_equal(text.text, expected);
	str_release(&text);
	dataset_close(&d);
}

HELPER void check_fails(struct import_options *o, const char *why)
{
	n_messages = 0;
	assert_int_equal(data_import(o), -1);
	SAID(why);
	assert_int_equal(n_messages, 1);
	assert_int_equal(n_entries("set"), 0);	/* neither a dataset nor a temporary folder */
}

/* The same from a file on standard input, which o names. */
HELPER void read_from(const char *path, struct import_options *o, const char *expected)
{
	int kept = dup(STDIN_FILENO), fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && dup2(fd, STDIN_FILENO) >= 0);
	close(fd);
	check_documents(o, expected);
	dup2(kept, STDIN_FILENO);
	close(kept);
}

#endif
