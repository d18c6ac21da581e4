#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"

struct hash {
	XXH3_state_t *state;
};

static void to_hex(XXH128_hash_t digest, char hex[HASH_HEX])
{
	snprintf(hex, HASH_HEX, "%016llx%016llx", (unsigned long long)digest.high64,
		(unsigned long long)digest.low64);
}

struct hash *hash_open(void)
{
	struct hash *h = xcalloc(1, sizeof *h);

	h->state = XXH3_createState();
	if (!h->state)
		die("out of memory: hash state");
	XXH3_128bits_reset(h->state);
	return h;
}

void hash_add(struct hash *h, const void *bytes, size_t n)
{
	XXH3_128bits_update(h->state, bytes, n);
}

void hash_close(struct hash *h, char hex[HASH_HEX])
{
	to_hex(XXH3_128bits_digest(h->state), hex);
	XXH3_freeState(h->state);
	free(h);
}

void hash_bytes(const void *bytes, size_t n, char hex[HASH_HEX])
{
	to_hex(XXH3_128bits(bytes, n), hex);
}

int hash_file(const char *path, char hex[HASH_HEX])
{
	static _Thread_local char block[1 << 16];
	FILE *f = fopen(path, "rbe");
	struct hash *h;
	size_t n;
	int ret = 0;

	if (!f)
		return error_errno("cannot read %s", path);
	h = hash_open();
	while ((n = fread(block, 1, sizeof block, f)))
		hash_add(h, block, n);
	hash_close(h, hex);
	if (ferror(f))
		ret = error_errno("cannot read %s", path);
	fclose(f);
	return ret;
}

uint64_t hash_u64(const char *text)
{
	return XXH3_64bits(text, strlen(text));
}
