/* Compressed input: what the system's libraries pack is read, whole or not at all. */
#include <lzma.h>
#include <unistd.h>
#include <zstd.h>

#include "scratch.h"

/* --- a member of each codec, made by the library itself ------------------------------------ */

static void append(const char *name, const void *bytes, size_t n)
{
	FILE *f = fopen(at(name), "ab");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void put_xz(const char *name, const void *bytes, size_t n)
{
	size_t size = lzma_stream_buffer_bound(n), used = 0;
	uint8_t *out = xmalloc(size);

	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, bytes, n, out, &used,
		size), LZMA_OK);
	append(name, out, used);
	free(out);
}

static void put_zstd(const char *name, const void *bytes, size_t n)
{
	size_t size = ZSTD_compressBound(n), used;
	ZSTD_CCtx *z = ZSTD_createCCtx();
	uint8_t *out = xmalloc(size);

	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	used = ZSTD_compress2(z, out, size, bytes, n);
	assert_false(ZSTD_isError(used));
	append(name, out, used);
	ZSTD_freeCCtx(z);
	free(out);
}

static void put_gz(const char *name, const void *bytes, size_t n)
{
	put_gzip(name, bytes, n);
}

static const struct packer {
	const char *name, *truncated, *damaged;
	void (*put)(const char *name, const void *bytes, size_t n);	/* appends a member */
	bool padded;		/* zeros behind may follow */
	size_t checked;		/* from the end: a byte of a checksum or a size */
} packers[] = {
	{"gzip", "truncated gzip", "damaged gzip", put_gz, true, 5},
	{"xz", "truncated xz", "damaged xz", put_xz, true, 6},
	{"zstd", "truncated zstd", "damaged zstd", put_zstd, false, 2},
};

#define EACH(p) const struct packer *p = packers; p < packers + ARRAY_SIZE(packers); p++

/* --- tests --------------------------------------------------------------------------------- */

static void test_members(void **state)
{
	(void)state;
	for (EACH(p)) {
		const char *input = at(p->name);
		struct import_options o = import_of(&input, 1);
		char zeros[1000] = {0};
		p->put(p->name, "one\n\ntw", 7);
		p->put(p->name, "", 0);
		p->put(p->name, "o\n", 2);
		o.split = "blank:1";
		check_documents(&o, "one\n\n\x1etwo\n\x1e");
		if (p->padded) {		/* tar and tapes pad with zeros */
			append(p->name, zeros, sizeof zeros);
			check_documents(&o, "one\n\n\x1etwo\n\x1e");
		}
	}
}

/* Text of words that a generator draws: it does not compress to nothing. */
static char *draw_text(size_t n)
{
	struct rng_key key = {.seed = 3};
	char *text = xmalloc(n);

	for (size_t i = 0; i < n; i++)
		text[i] = " etaoinshrdlu\nETA"[rng_block(key, i).word[0] % 17];
	return text;
}

static void test_large_members(void **state)
{
	enum { N = 2000000, MEMBER = 400000 };
	char *text = draw_text(N);

	(void)state;
	for (EACH(p)) {
		const char *input = at(p->name);
		struct import_options o = import_of(&input, 1);
		struct dataset d;
		struct str got;
		for (size_t i = 0; i < N; i += MEMBER)
			p->put(p->name, text + i, MEMBER);
		o.split = "=@";		/* does not occur: one document */
		o.force = true;
		import_and_open(&d, &o);
		got = split_text(&d, SPLIT_TRAIN);
		assert_int_equal(got.length, N + 1);
		assert_memory_equal(got.text, text, N);
		str_release(&got);
		dataset_close(&d);
	}
	free(text);
}

/* Cut at every byte, and one bit turned; behind a whole member something else. */
static void test_bad_members(void **state)
{
	(void)state;
	for (EACH(p)) {
		const char *input = at(p->name);
		struct import_options o = import_of(&input, 1);
		size_t n, first;
		char *bytes;
		p->put(p->name, "The first member.\n", 18);
		free(path_read(input, &first));
		p->put(p->name, "The second member.\n", 19);
		bytes = path_read(input, &n);
		for (size_t cut = 2; cut < n; cut++) {
			if (cut == first)
				continue;	/* a whole member is a whole file */
			put(p->name, bytes, cut);
			check_fails(&o, p->truncated);
		}
		bytes[n - p->checked] ^= 1;
		put(p->name, bytes, n);
		check_fails(&o, p->damaged);
		bytes[n - p->checked] ^= 1;
		bytes[first] = 'x';	/* where the second member should begin */
		put(p->name, bytes, n);
		check_fails(&o, p->damaged);
		free(bytes);
	}
}

/* One frame of zstd without a checksum, which ends a block behind each of the lengths. */
static void put_blocks(const char *name, const char *text, const size_t *lengths, int n, int window)
{
	static char out[100000];
	ZSTD_CCtx *z = ZSTD_createCCtx();
	ZSTD_outBuffer to = {out, sizeof out, 0};

	if (window)
		ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, window);
	for (int i = 0; i < n; i++) {
		ZSTD_inBuffer in = {text, lengths[i], 0};
		assert_int_equal(ZSTD_compressStream2(z, &to, &in, ZSTD_e_flush), 0);
		text += lengths[i];
	}
	assert_int_equal(ZSTD_compressStream2(z, &to, &(ZSTD_inBuffer){0}, ZSTD_e_end), 0);
	ZSTD_freeCCtx(z);
	put(name, out, to.pos);
}

/* The last block is used up before all its text is out: 1 MiB is read at a time, it lies across. */
static void test_zstd_tail(void **state)
{
	static const size_t lengths[] = {1000, 1 << 20};
	enum { N = 1000 + (1 << 20) };
	const char *input = at("tail.zst");
	struct import_options o = import_of(&input, 1);
	char *text = xmalloc(N);
	struct dataset d;

	(void)state;
	memset(text, 'x', N);
	put_blocks("tail.zst", text, lengths, 2, 0);
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, N);
	dataset_close(&d);
	free(text);
}

/* A window of zstd --long=31. */
static void test_zstd_long(void **state)
{
	static const size_t length = 6;
	const char *input = at("long.zst");
	struct import_options o = import_of(&input, 1);

	(void)state;
	put_blocks("long.zst", "a text", &length, 1, 28);	/* libzstd's own limit is 27 */
	check_documents(&o, "a text\x1e");
}

static void test_everywhere(void **state)
{
	static const char json[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
	static const uint16_t tokens[] = {'h', 'i', 256, 'y', 'o', 256};
	const char *names[] = {"a.json.gz", "b.jsonl.xz", "C.JSON.ZST"}, *inputs[3];
	struct import_options o = import_of(inputs, 3);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(packers); i++) {	/* several at once */
		packers[i].put(names[i], json, strlen(json));
		inputs[i] = xstrdup(at(names[i]));
	}
	check_documents(&o, "one\x1etwo\x1eone\x1etwo\x1eone\x1etwo\x1e");
	for (int i = 0; i < 3; i++) {				/* standard input */
		const char *input = "-";
		struct import_options one = import_of(&input, 1);
		read_from(inputs[i], &one, "one\x1etwo\x1e");
		free((char *)inputs[i]);
	}
	for (EACH(p)) {						/* tokens of other programs */
		const char *input = at("tokens.bin");
		struct import_options one = import_of(&input, 1);
		unlink(input);
		p->put("tokens.bin", tokens, sizeof tokens);
		one.format = "nanogpt";
		check_documents(&one, "hi\x1eyo\x1e");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_members), SCRATCH_TEST(test_large_members),
		SCRATCH_TEST(test_bad_members), SCRATCH_TEST(test_zstd_tail),
		SCRATCH_TEST(test_zstd_long), SCRATCH_TEST(test_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
