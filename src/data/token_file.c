#include "data/token_file.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "token files are little-endian and read by mapping"
#endif

enum { HEADER_INTS = TOKEN_FILE_HEADER / 4 };

long token_header_count(const int32_t *header, const char *path)
{
	if (header[0] != TOKEN_FILE_MAGIC)
		return error("%s: not a token file (begins with %d, not %d)", path, header[0],
			TOKEN_FILE_MAGIC);
	if (header[1] != TOKEN_FILE_VERSION)
		return error("%s: token file of version %d, only version %d can be read", path,
			header[1], TOKEN_FILE_VERSION);
	if (header[2] < 0)
		return error("%s: damaged: its header says %d tokens", path, header[2]);
	return header[2];
}

/* What of a mapped file can be wrong; the map is at least as long as a header. */
static int check(struct token_file *f, const char *path, int vocab)
{
	size_t expected;

	f->n = token_header_count(f->map, path);
	if (f->n < 0)
		return -1;
	expected = TOKEN_FILE_HEADER + 2 * (size_t)f->n;
	if (f->map_bytes != expected)
		return error("%s: has %zu bytes, but its header says %ld tokens (%zu bytes): "
			"truncated? import again", path, f->map_bytes, f->n, expected);
	for (long i = 0; i < f->n && i < TOKEN_FILE_CHECKED; i++)
		if (f->tokens[i] >= vocab)
			return error("%s: token %ld is %d, not below the vocabulary of %d", path, i,
				f->tokens[i], vocab);
	return 0;
}

int token_file_open(struct token_file *f, const char *path, int vocab)
{
	int ret = -1;

	*f = (struct token_file){0};
	f->map = path_map(path, &f->map_bytes);
	if (!f->map)
		return -1;
	if (f->map_bytes < TOKEN_FILE_HEADER) {
		error("%s: %zu bytes are too few for a token file", path, f->map_bytes);
	} else {
		f->tokens = (const uint16_t *)((const char *)f->map + TOKEN_FILE_HEADER);
		ret = check(f, path, vocab);
	}
	if (ret)
		token_file_close(f);
	return ret;
}

void token_file_close(struct token_file *f)
{
	path_unmap(f->map, f->map_bytes);
	*f = (struct token_file){0};
}

static int failed(const struct token_writer *w)
{
	return error_errno("cannot write %s", w->path);
}

static int write_header(struct token_writer *w)
{
	int32_t header[HEADER_INTS] = {TOKEN_FILE_MAGIC, TOKEN_FILE_VERSION, (int32_t)w->n};

	return fwrite(header, sizeof header, 1, w->file) == 1 ? 0 : failed(w);
}

int token_writer_open(struct token_writer *w, const char *path)
{
	*w = (struct token_writer){.path = xstrdup(path), .file = fopen(path, "wbe")};
	if (!w->file)
		return failed(w);
	setvbuf(w->file, NULL, _IOFBF, 1 << 20);
	return write_header(w);
}

int token_writer_add(struct token_writer *w, const uint16_t *tokens, size_t n)
{
	CHECK(w->n + (long)n <= INT32_MAX);
	if (fwrite(tokens, sizeof *tokens, n, w->file) != n)
		return failed(w);
	w->n += (long)n;
	return 0;
}

int token_writer_close(struct token_writer *w)
{
	if (fseek(w->file, 0, SEEK_SET))
		return failed(w);
	if (write_header(w))
		return -1;
	if (fflush(w->file) || fsync(fileno(w->file)))
		return failed(w);
	token_writer_abandon(w);
	return 0;
}

void token_writer_abandon(struct token_writer *w)
{
	if (w->file)
		fclose(w->file);
	free(w->path);
	*w = (struct token_writer){0};
}
