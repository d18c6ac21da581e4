/*
 * Compressed streams: gzip (zlib), xz (liblzma) and zstd (libzstd), recognised by their first
 * bytes. A stream is one or several members (zstd and xz say frames and streams) one behind the
 * other, each with its own header and checksum.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include <stddef.h>
#include <stdint.h>

struct codec_step {			/* in and out move on, as bytes are used and made */
	const uint8_t *in;
	size_t n_in;
	uint8_t *out;
	size_t n_out;
	const char *why;		/* of damage */
};

enum codec_status { CODEC_GOES_ON, CODEC_MEMBER_ENDS, CODEC_DAMAGED };

struct codec {
	const char *name;
	const char *magic;		/* first bytes of a member */
	size_t n_magic;
	void *(*open)(void);		/* never fails: no memory is fatal */
	void (*begin)(void *state);	/* the next member */
	enum codec_status (*step)(void *state, struct codec_step *s);
	void (*close)(void *state);
};

/* The codec of a stream that begins so, NULL: none. All of a stream shorter than a codec's magic,
   but of at least two bytes, counts as that codec's: it is truncated. */
const struct codec *codec_find(const void *bytes, size_t n);

#endif
