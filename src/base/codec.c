#include "base/codec.h"

#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/error.h"

/* --- gzip ---------------------------------------------------------------------------------- */

enum { GZIP_ONLY = 15 + 16 };	/* windowBits of zlib: largest window, gzip header required */

static void *gzip_open(void)
{
	z_stream *z = xcalloc(1, sizeof *z);

	if (inflateInit2(z, GZIP_ONLY) != Z_OK)
		die("out of memory: gzip decoder");
	return z;
}

static void gzip_begin(void *state)
{
	inflateReset(state);
}

static enum codec_status gzip_step(void *state, struct codec_step *s)
{
	z_stream *z = state;
	int status;

	z->next_in = (uint8_t *)s->in;	/* zlib without ZLIB_CONST writes so what it only reads */
	z->avail_in = (uInt)s->n_in;
	z->next_out = s->out;
	z->avail_out = (uInt)s->n_out;
	status = inflate(z, Z_NO_FLUSH);
	s->in = z->next_in;
	s->n_in = z->avail_in;
	s->out = z->next_out;
	s->n_out = z->avail_out;
	s->why = z->msg ? z->msg : "a preset dictionary is needed";
	if (status == Z_OK || status == Z_BUF_ERROR)	/* the latter: nothing to do */
		return CODEC_GOES_ON;
	return status == Z_STREAM_END ? CODEC_MEMBER_ENDS : CODEC_DAMAGED;
}

static void gzip_close(void *state)
{
	inflateEnd(state);
	free(state);
}

/* --- xz ------------------------------------------------------------------------------------ */

static void xz_begin(void *state)
{
	if (lzma_stream_decoder(state, UINT64_MAX, 0) != LZMA_OK)
		die("out of memory: xz decoder");
}

static void *xz_open(void)
{
	lzma_stream *z = xmalloc(sizeof *z);

	*z = (lzma_stream)LZMA_STREAM_INIT;
	xz_begin(z);
	return z;
}

static const char *xz_why(lzma_ret status)
{
	switch (status) {
	case LZMA_FORMAT_ERROR:
		return "no xz header";
	case LZMA_OPTIONS_ERROR:
		return "a filter that liblzma does not know";
	case LZMA_MEM_ERROR:
		die("out of memory: xz decoder");
	default:
		return "data do not fit their checksum";
	}
}

static enum codec_status xz_step(void *state, struct codec_step *s)
{
	lzma_stream *z = state;
	lzma_ret status;

	z->next_in = s->in;
	z->avail_in = s->n_in;
	z->next_out = s->out;
	z->avail_out = s->n_out;
	status = lzma_code(z, LZMA_RUN);
	s->in = z->next_in;
	s->n_in = z->avail_in;
	s->out = z->next_out;
	s->n_out = z->avail_out;
	if (status == LZMA_OK || status == LZMA_BUF_ERROR)	/* the latter: nothing to do */
		return CODEC_GOES_ON;
	if (status == LZMA_STREAM_END)
		return CODEC_MEMBER_ENDS;
	s->why = xz_why(status);
	return CODEC_DAMAGED;
}

static void xz_close(void *state)
{
	lzma_end(state);
	free(state);
}

/* --- zstd ---------------------------------------------------------------------------------- */

enum { WINDOW_LOG_MAX = 31 };	/* of zstd --long=31, as large as there is */

static void *zstd_open(void)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();

	if (!z || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		die("out of memory: zstd decoder");
	return z;
}

static void zstd_begin(void *state)
{
	ZSTD_DCtx_reset(state, ZSTD_reset_session_only);
}

static enum codec_status zstd_step(void *state, struct codec_step *s)
{
	ZSTD_inBuffer in = {.src = s->in, .size = s->n_in};
	ZSTD_outBuffer out = {.dst = s->out, .size = s->n_out};
	size_t left = ZSTD_decompressStream(state, &out, &in);

	s->in += in.pos;
	s->n_in -= in.pos;
	s->out += out.pos;
	s->n_out -= out.pos;
	if (!ZSTD_isError(left))
		return left ? CODEC_GOES_ON : CODEC_MEMBER_ENDS;
	s->why = ZSTD_getErrorName(left);
	return CODEC_DAMAGED;
}

static void zstd_close(void *state)
{
	ZSTD_freeDCtx(state);
}

/* ------------------------------------------------------------------------------------------- */

#define MAGIC(text) .magic = text, .n_magic = sizeof text - 1

static const struct codec codecs[] = {
	{.name = "gzip", MAGIC("\x1f\x8b\x08"), .open = gzip_open, .begin = gzip_begin,
		.step = gzip_step, .close = gzip_close},
	{.name = "xz", MAGIC("\xfd" "7zXZ\0"), .open = xz_open, .begin = xz_begin,
		.step = xz_step, .close = xz_close},
	{.name = "zstd", MAGIC("\x28\xb5\x2f\xfd"), .open = zstd_open, .begin = zstd_begin,
		.step = zstd_step, .close = zstd_close},
};

const struct codec *codec_find(const void *bytes, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
		size_t known = n < codecs[i].n_magic ? n : codecs[i].n_magic;
		if (known >= 2 && !memcmp(bytes, codecs[i].magic, known))
			return &codecs[i];
	}
	return NULL;
}
