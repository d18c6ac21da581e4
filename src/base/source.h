/*
 * An input: a stream of bytes from a file or standard input ("-"), with gzip, xz and zstd taken off
 * (base/codec.h; several members, zero padding and dictzip included). A truncated or damaged stream is an
 * error, never a short text.
 */
#ifndef BASE_SOURCE_H
#define BASE_SOURCE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/codec.h"

struct source {
	const char *name;	/* kept: the caller's */
	int fd;
	long n_bytes;		/* as stored, read so far */
	struct hash *hash;	/* of those */
	uint8_t *raw;		/* stored bytes not used yet: raw[at .. n - 1] */
	size_t at, n;
	bool ended;		/* no stored bytes after raw */
	const struct codec *codec;	/* NULL: stored as it is */
	void *codec_state;
	bool in_member;
	const volatile sig_atomic_t *stop;	/* kept */
};

/* When *stop becomes non-zero, what waits for input ends within 0.1 s: -1, without a message (NULL:
   never). 0, or -1 after a message and nothing to close. */
int source_open(struct source *s, const char *name, const volatile sig_atomic_t *stop);
void source_close(struct source *s);
/* Up to n > 0 bytes of text; 0 at the end, -1 after a message or by a stop. */
long source_read(struct source *s, void *out, size_t n);

/* All of an input, as one terminated block of *n bytes (NULL: nobody asks); the caller frees. NULL after a
   message: also where it has more than `most` bytes. */
char *source_text(const char *name, size_t most, size_t *n);

struct source_size {
	long stored;		/* bytes on the disk; 0: unknown, as for a pipe */
	long text;		/* bytes of text: as many, or if packed three times that (a guess) */
};

/* Opens and closes the input, so a missing one is found before work begins. -1 after a message. */
int source_measure(const char *name, struct source_size *size);

#endif
