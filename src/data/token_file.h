/*
 * A token file in the form of karpathy/llm.c: 256 little-endian int32 (20240520, 1, number of
 * tokens, zeros), then the tokens as little-endian uint16. The count is an int32, so a file holds
 * at most 2^31 - 1 tokens and longer sequences are cut into several files.
 */
#ifndef DATA_TOKEN_FILE_H
#define DATA_TOKEN_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	TOKEN_FILE_MAGIC = 20240520,
	TOKEN_FILE_VERSION = 1,
	TOKEN_FILE_HEADER = 1024,	/* bytes */
	TOKEN_FILE_CHECKED = 1 << 16,	/* tokens compared with the vocabulary on opening */
};

/* Number of tokens that a header says, or -1 after a message, which names the file. */
long token_header_count(const int32_t *header, const char *path);

struct token_file {		/* a mapped file */
	const uint16_t *tokens;
	long n;
	const void *map;
	size_t map_bytes;
};

/* Map and check a file; see dataset_open(). 0, or -1 after a message and nothing to close. */
int token_file_open(struct token_file *f, const char *path, int vocab);
void token_file_close(struct token_file *f);

struct token_writer {		/* a file being written */
	FILE *file;
	char *path;
	long n;
};

/* 0, or -1 after a message. After a failure call token_writer_abandon, which keeps no file open. */
int token_writer_open(struct token_writer *w, const char *path);
int token_writer_add(struct token_writer *w, const uint16_t *tokens, size_t n);
int token_writer_close(struct token_writer *w);	/* writes the count, waits for the disk */
void token_writer_abandon(struct token_writer *w);

#endif
