#include "data/content.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"

#define TO_LINES "write its texts as JSON lines, {\"text\": ..} each"
#define UNPACK "unpack it"
#define TO_UTF8 "iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"

#define MAGIC(text) (text), sizeof text - 1

static const struct magic {
	const char *bytes;
	size_t n, at;
	const char *name, *remedy;
} magics[] = {
	{MAGIC("PAR1"), 0, "Parquet", TO_LINES},
	{MAGIC("ARROW1"), 0, "Arrow", TO_LINES},
	{MAGIC("\xff\xff\xff\xff"), 0, "Arrow", TO_LINES},
	{MAGIC("Obj\1"), 0, "Avro", TO_LINES},
	{MAGIC("\x93NUMPY"), 0, "a NumPy array", "--format nanogpt takes mere uint16"},
	{MAGIC("\x89HDF"), 0, "HDF5", TO_LINES},
	{MAGIC("SQLite format 3"), 0, "an SQLite database", TO_LINES},
	{MAGIC("%PDF-"), 0, "PDF", "pdftotext makes text of it"},
	{MAGIC("{\\rtf"), 0, "RTF", "unrtf --text makes text of it"},
	{MAGIC("1AY&SY"), 4, "bzip2", "pipe it through bzip2 -dc"},
	{MAGIC("LZIP"), 0, "lzip", "pipe it through lzip -dc"},
	{MAGIC("\x04\x22\x4d\x18"), 0, "lz4", "pipe it through lz4 -dc"},
	{MAGIC("\x1f\x9d"), 0, "compress", "pipe it through gzip -dc"},
	{MAGIC("\x5d\0\0"), 0, "lzma", "pipe it through xz -dc"},
	{MAGIC("PK\3\4"), 0, "zip", "unpack it; of docx, epub and the like export the text"},
	{MAGIC("7z\xbc\xaf\x27\x1c"), 0, "7z", UNPACK},
	{MAGIC("Rar!\x1a\7"), 0, "rar", UNPACK},
	{MAGIC("ustar"), 257, "a tar archive", "unpack it, or pipe its texts: tar -xOf"},
	{MAGIC("\x1f\x8b\x08"), 0, "packed twice (gzip)", UNPACK},
	{MAGIC("\xfd" "7zXZ"), 0, "packed twice (xz)", UNPACK},
	{MAGIC("\x28\xb5\x2f\xfd"), 0, "packed twice (zstd)", UNPACK},
	{MAGIC("\xff\xfe\0\0"), 0, "UTF-32", "iconv -f UTF-32 -t UTF-8 makes UTF-8 of it"},
	{MAGIC("\xff\xfe"), 0, "UTF-16", TO_UTF8},
	{MAGIC("\xfe\xff"), 0, "UTF-16", TO_UTF8},
};

size_t content_mark(const char *bytes, size_t n)
{
	return n >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;
}

static size_t skip_blanks(const char *bytes, size_t at, size_t n)
{
	while (at < n && isspace((unsigned char)bytes[at]))
		at++;
	return at;
}

/* '{' of an object with a member, '[' of an array that is not empty; else 0. */
static char json_start(const char *bytes, size_t n)
{
	size_t at = skip_blanks(bytes, content_mark(bytes, n), n);
	size_t next = at < n ? skip_blanks(bytes, at + 1, n) : n;

	if (next >= n)
		return 0;
	if (bytes[at] == '{' && bytes[next] == '"')
		return '{';
	return bytes[at] == '[' && bytes[next] == '{' ? '[' : 0;
}

/* NUL bytes: every second one is UTF-16 of a script whose characters mostly have a zero half. */
static struct content of_nul_bytes(const char *bytes, size_t n)
{
	size_t n_nul[2] = {0};

	for (size_t i = 0; i < n; i++)
		n_nul[i % 2] += !bytes[i];
	for (int half = 0; half < 2; half++)
		if (n_nul[half] > n / 4 && n_nul[!half] < n / 64 + 1)
			return (struct content){CONTENT_OTHER, "UTF-16 without a byte order mark",
				half ? "iconv -f UTF-16LE -t UTF-8 makes UTF-8 of it"
				: "iconv -f UTF-16BE -t UTF-8 makes UTF-8 of it"};
	return (struct content){CONTENT_OTHER, "binary (NUL bytes)",
		"export its text; tokens have formats of their own, --format nanogpt and llmc"};
}

struct content content_look(const char *bytes, size_t n)
{
	char start;

	n = n < CONTENT_LOOKED_AT ? n : CONTENT_LOOKED_AT;
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		const struct magic *m = &magics[i];
		if (n >= m->at + m->n && !memcmp(bytes + m->at, m->bytes, m->n))
			return (struct content){CONTENT_OTHER, m->name, m->remedy};
	}
	start = json_start(bytes, n);
	if (start == '{')
		return (struct content){.kind = CONTENT_JSON_LINES};
	if (start == '[')
		return (struct content){CONTENT_OTHER, "a JSON array",
			"jq -c '.[]' makes lines of it"};
	if (memchr(bytes, '\0', n))
		return of_nul_bytes(bytes, n);
	return (struct content){.kind = CONTENT_TEXT};
}
